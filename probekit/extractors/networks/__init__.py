"""The networks: one module each, named as the card says."""
