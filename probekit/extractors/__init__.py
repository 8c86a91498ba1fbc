"""Waveforms become embeddings: networks with their front-ends and weights."""
