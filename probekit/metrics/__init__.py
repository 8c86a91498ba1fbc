"""Metrics, bootstrap intervals, significance tests and scores per class."""
