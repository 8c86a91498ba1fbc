"""Timings of the real thing beside its peers, both sides in one run."""
