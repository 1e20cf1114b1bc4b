"""Faces made on the device: morphable heads, rendered and voxelised as training data."""
