"""How well a network does, against baselines."""
