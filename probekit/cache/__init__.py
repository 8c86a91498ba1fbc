"""The embedding cache: HDF5 parts that are written whole or not at all, and can prove it."""
