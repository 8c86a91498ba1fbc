"""Simulations of level, power and coverage: do the tests and intervals keep what they promise?"""
