"""Preview of a study before it is run: its space, its feasible share, its cost."""
