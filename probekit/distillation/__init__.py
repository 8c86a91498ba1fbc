"""Stage 3: training of student networks, with cached embeddings as teachers."""
