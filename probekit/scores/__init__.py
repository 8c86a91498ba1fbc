"""Stored results: runs, predictions, scores and comparisons between runs."""
