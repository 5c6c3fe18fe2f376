"""Processes that evaluate candidates, so that what a mixer's code does ends one trial only."""
