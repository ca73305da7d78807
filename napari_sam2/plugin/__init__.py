"""The napari plugin: the only folder that imports napari and Qt, and that no other folder imports."""
