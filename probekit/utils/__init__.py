"""Atomic writes, hashing, locking, prefetching and name suggestions."""
