"""Measurements of this package on a user's own files; plain numbers that can be written as JSON."""
