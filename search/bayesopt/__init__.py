"""Constrained Bayesian optimisation over define-by-run spaces. Knows numbers only."""
