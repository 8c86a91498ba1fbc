"""The embedding cache: HDF5 parts that are written atomically and hold their own digest."""
