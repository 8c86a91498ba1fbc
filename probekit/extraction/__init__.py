"""Stage 1: recordings become embeddings in a cache."""
