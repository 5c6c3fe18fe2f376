"""Measuring, as a search and `search measure` do it.

What is measured, again until the answer is clear, its record, what is on file, figures beside.
"""
