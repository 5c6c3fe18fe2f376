"""The folder of a study: records, journal, lock, and the files derived from them."""
