"""Learning targets made from other data than labels: factors of listening logs."""
