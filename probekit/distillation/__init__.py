"""Stage 3: small networks that inherit from embeddings in the cache."""
