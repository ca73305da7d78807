"""Readers, writers and sample data that the manifest (napari.yaml) points to."""
