"""Weights of networks: sources, downloads, readers of checkpoint formats."""
