"""Token mixers that are wrong in one way each; README.md says what is answered."""
