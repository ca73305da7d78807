"""The napari plugin: the only folder that imports napari and Qt. Nothing else imports this folder."""
