"""Choice of the next candidate, and of how long it is trained."""
