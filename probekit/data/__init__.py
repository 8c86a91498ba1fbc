"""Clip tables: manifests, and readers that make them from folders and CSV files."""
