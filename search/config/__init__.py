"""What a study is: its settings, its file, and the fingerprints of what it began with."""
