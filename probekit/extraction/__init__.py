"""Stage 1, extraction: embeddings of recordings, stored in a cache."""
