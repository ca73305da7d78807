"""Sampling of a frame: crops, grids of points, and their decoding."""
