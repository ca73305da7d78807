"""Contributions that the manifest (napari.yaml) names: readers, sample data, writers."""
