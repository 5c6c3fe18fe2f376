"""Token mixers of a third party; `pyproject.toml` says which."""
