"""What to try next, from parameters, constraints and values only: no torch, no backbones."""
