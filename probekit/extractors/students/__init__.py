"""Small networks that can be trained as students, and their cards."""
