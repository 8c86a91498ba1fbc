"""Drawings, one module a kind of figure: an analysis in, a matplotlib figure out."""
