"""Tasks: dataset layouts become manifests, with their splits and metrics."""
