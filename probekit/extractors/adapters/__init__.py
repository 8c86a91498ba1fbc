"""Adapters for embedding modules of other projects."""
