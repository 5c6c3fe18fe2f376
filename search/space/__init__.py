"""The search space: its syntax, its size, and which of its networks can be built."""
