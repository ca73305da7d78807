"""A note of which objects have results where, so that opening a long project does not read every frame."""

from __future__ import annotations

import json
from pathlib import Path

from napari_sam2.storage.cell_index import CellIndex
from napari_sam2.storage.codecs import decode_text, encode_text
from napari_sam2.storage.errors import ProjectError
from napari_sam2.storage.files import read_file, replace_file


def write_index(path: Path, state: str, index: CellIndex) -> None:
    """Write an index that holds for the files of the table as they are now (``state``)."""
    text = json.dumps({"state": state, "cells": index.to_json()}, separators=(",", ":"))
    replace_file(path, encode_text(text))


def read_index(path: Path, state: str) -> CellIndex | None:
    """Return a noted index; None when there is none, when it is damaged, or when a file changed since."""
    try:
        data = read_file(path)
        if data is None:
            return None
        document = json.loads(decode_text(data, path))
        if document["state"] != state:
            return None
        return CellIndex.from_json(document["cells"])
    except (ProjectError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # it only saves time
