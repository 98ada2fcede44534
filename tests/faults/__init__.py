"""Faults of all kinds, and a model of what callers may see of them."""
