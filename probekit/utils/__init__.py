"""Atomic writes, hashing, locking, prefetching, name suggestions and short texts."""
