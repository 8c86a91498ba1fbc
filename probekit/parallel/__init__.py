"""Processor cores, devices, process pools and Dask clusters."""
