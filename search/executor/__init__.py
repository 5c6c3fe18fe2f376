"""Where trials run: in a process of their own, so that what a mixer's code does ends one trial."""
