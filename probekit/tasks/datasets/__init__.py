"""Readers of datasets, one module each, and writers of stand-ins for rehearsals."""
