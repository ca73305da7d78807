"""Damage in a TIFF that its reader would follow for minutes: looked for before any page is interpreted."""

from __future__ import annotations

import re
import struct
from typing import Any

from napari_sam2.frames.errors import SourceError

# An OME-XML may announce planes that were never acquired, or that lie in other files; but not without end.
_MOST_PLANES = 4_000_000


def check_structure(file: Any, path: str) -> None:
    """Refuse a ``tifffile.TiffFile`` whose pages come round in a circle or whose OME-XML announces absurd numbers.

    Reads two numbers of each page.

    Raises
    ------
    SourceError
        If it is damaged like that.
    """
    if _comes_round(file):
        raise SourceError(f"{path} is damaged: its list of pages never ends.")
    announced = _most_announced(file.ome_metadata or "")
    if announced > _MOST_PLANES:
        raise SourceError(f"{path} is damaged: its OME-XML announces {announced} planes.")


def _comes_round(file: Any) -> bool:
    # tifffile notices circles of up to 100 pages.
    tiff, stream = file.tiff, file.filehandle
    offset, seen = int(file.pages.first.offset), set[int]()
    while 0 < offset < stream.size:
        if offset in seen:
            return len(seen) >= 100
        seen.add(offset)
        try:
            stream.seek(offset)
            (tags,) = struct.unpack(tiff.tagnoformat, stream.read(tiff.tagnosize))
            stream.seek(offset + tiff.tagnosize + tags * tiff.tagsize)
            (offset,) = struct.unpack(tiff.offsetformat, stream.read(tiff.offsetsize))
        except (struct.error, OSError, OverflowError, ValueError):
            return False  # cut off: tifffile says so itself
    return False


def _most_announced(xml: str) -> int:
    """The largest number of planes that an element of an OME-XML speaks of."""
    most = 0
    for element in re.findall(r"<(?:\w+:)?(?:Pixels|TiffData)\b([^>]*)", xml):
        numbers = {name: int(n) for name, n in re.findall(r"\b(\w+)\s*=\s*[\"'](\d{1,30})[\"']", element)}
        planes = 1
        for name in ("SizeC", "SizeZ", "SizeT"):
            planes *= max(1, numbers.get(name, 1))
        places = (numbers.get(name, 0) for name in ("PlaneCount", "IFD", "FirstC", "FirstZ", "FirstT"))
        most = max(most, planes, *places)
    return most
