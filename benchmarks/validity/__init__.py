"""Simulations of level, power and coverage: whether tests and intervals keep their promise."""
