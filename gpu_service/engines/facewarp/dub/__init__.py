"""Dubbing: another mouth in the moving head of a video."""
