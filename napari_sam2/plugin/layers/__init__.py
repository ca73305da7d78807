"""Layers to data and back: napari's coordinates end here."""
