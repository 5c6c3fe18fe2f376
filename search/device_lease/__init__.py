"""Locks that keep measurements and trainings of several processes on one device apart."""
