"""What a study would be, before it is run: its space, its feasible share, its cost."""
