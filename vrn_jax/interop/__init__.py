"""Weights files and the names of layers in them."""
