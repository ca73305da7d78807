"""The command line, ``napari-sam2``; a command is imported when it runs, so that help is instant."""

from napari_sam2.cli.main import main

__all__ = ["main"]
