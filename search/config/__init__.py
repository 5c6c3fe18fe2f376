"""A study as data: its settings, its file, and fingerprints of the code and data it uses."""
