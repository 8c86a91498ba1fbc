"""Datasets, one module each: ``load`` reads the folder, ``make_standin`` writes synthetic data."""
