"""Pure functions of arrays: grid, crop, surfaces, meshes. No network, no files."""
