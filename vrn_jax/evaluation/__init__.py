"""Faces with a known shape, methods that guess it, and the tables of how far off they are."""
