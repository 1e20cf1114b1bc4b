"""Photos, landmarks and meshes from and to files."""
