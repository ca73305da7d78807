"""The command line: ``napari-sam2``. Modules are imported when their command runs, so that help is instant."""

from napari_sam2.cli.main import main

__all__ = ["main"]
