"""Which candidate comes next, and how long it is trained."""
