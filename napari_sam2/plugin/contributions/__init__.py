"""What the manifest (napari.yaml) points at: readers, sample data, writers."""
