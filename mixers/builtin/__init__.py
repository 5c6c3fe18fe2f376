"""The mixers that ship with the project, one a file."""
