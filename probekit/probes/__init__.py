"""Stage 2: probes on cached embeddings, scored under the task's own protocol."""
