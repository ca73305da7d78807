"""Fingerprint of a recording: recognised by its content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from napari_sam2.frames.contrast import check_dtype
from napari_sam2.frames.stack import full_resolution

_SAMPLES = 4


def fingerprint(array: Any) -> str:
    """Return a short text that is equal for arrays of the same content, whatever they are called and wherever they lie.

    Shape, dtype and the pixels of four planes (the first, the last, and two between) go into it; the rest is not read,
    so that it takes no longer for a long recording.

    Parameters
    ----------
    array : array-like with shape, dtype and [], or a multiscale sequence of such
        Of a multiscale image level 0 is taken.

    Returns
    -------
    str
        40 hexadecimal digits.
    """
    array = full_resolution(array)
    dtype = check_dtype(array.dtype)
    shape = tuple(int(n) for n in array.shape)
    digest = hashlib.sha256(f"{shape}|{dtype.kind}{dtype.itemsize}".encode())
    for index in _sampled(shape):
        try:
            plane = np.ascontiguousarray(np.asarray(array[index]))
        except MemoryError:
            raise
        except Exception:  # arrays of other readers raise whatever their codecs raise
            digest.update(b"unreadable")  # the rest of a damaged recording can still be recognised
            continue
        digest.update(plane.astype(dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()[:40]


def _sampled(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Indices of a few planes: positions on all axes but the last two (three where the last holds RGB samples)."""
    inner = 3 if len(shape) >= 3 and shape[-1] in (3, 4) else 2
    leading = shape[: max(0, len(shape) - inner)]
    count = int(np.prod(leading, dtype=np.int64))
    if count == 0:
        return []
    places = np.unique(np.linspace(0, count - 1, min(_SAMPLES, count)).round().astype(np.int64))
    return [tuple(int(i) for i in np.unravel_index(place, leading)) if leading else () for place in places]
