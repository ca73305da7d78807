"""Naming the axes of an array about which its file says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_sam2.frames.errors import SourceError

_USUAL = {2: "yx", 3: "tyx", 4: "tzyx", 5: "tczyx", 6: "ptczyx"}


def guessed_axes(shape: Sequence[int], dtype: Any) -> tuple[str, ...]:
    """Axes by number: ``tyx``, ``tzyx``, ``tczyx``; a last axis of 3 or 4 bytes is RGB(A)."""
    rgb = len(shape) >= 3 and shape[-1] in (3, 4) and np.dtype(dtype) == np.uint8
    count = len(shape) - int(rgb)
    if count not in _USUAL:
        raise SourceError(f"An array of shape {tuple(shape)} can't be read as frames; give axes.")
    return tuple(_USUAL[count]) + (("s",) if rgb else ())


def checked_axes(
    given: tuple[str, ...] | None, found: tuple[str, ...], shape: Sequence[int]
) -> tuple[str, ...]:
    """The axes that the user gave, if there are as many as the array has; otherwise those that were found."""
    if given is None:
        return found
    if len(given) != len(shape):
        raise SourceError(
            f"axes {''.join(given)!r} names {len(given)} axes, but the array has {len(shape)}: shape {tuple(shape)}."
        )
    if given[-1] == "s" and shape[-1] not in (3, 4):
        raise SourceError(
            f"RGB samples (s) are 3 or 4, but the last axis of shape {tuple(shape)} has {shape[-1]}."
        )
    return given
