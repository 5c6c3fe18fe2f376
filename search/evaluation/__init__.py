"""One candidate: built, checked against the budget, measured, trained and scored."""
