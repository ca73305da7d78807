"""Layers of napari as data and back: its coordinates are used nowhere else."""
