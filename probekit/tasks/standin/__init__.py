"""Synthetic stand-in datasets: sounds, corpus and files in a dataset's own layout."""
