"""A study from its first trial to its summary, and what is done with one that has ended."""
