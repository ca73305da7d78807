"""A dask array over anything that can read one plane at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class PlaneReader(Protocol):
    """Reads one plane. Safe to use from several threads; can be pickled (and then opens its file again)."""

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """The plane at an index on all leading axes."""

    def close(self) -> None:
        """Give back files and processes; reading again opens them again."""


def lazy_array(
    reader: PlaneReader, leading: Sequence[int], plane: Sequence[int], dtype: Any, name: str
) -> Any:
    """A dask array with one chunk per plane, of which nothing is read yet.

    Parameters
    ----------
    reader : PlaneReader
        Where planes come from.
    leading, plane : sequence of int
        Shape of the axes over which planes lie, and of one plane.
    dtype : dtype
        Of the pixels.
    name : str
        Names the array in dask: the same for the same content.

    Returns
    -------
    dask.array.Array, shape (*leading, *plane)
    """
    from dask.array import map_blocks

    build: Any = map_blocks  # dask has no types for it
    chunks = tuple((1,) * n for n in leading) + tuple((n,) for n in plane)
    # map_blocks makes one small task per plane; stacking delayed arrays would take seconds for a long video.
    return build(
        _read_block,
        reader=reader,
        leading=len(leading),
        chunks=chunks,
        dtype=np.dtype(dtype),
        meta=np.empty((0,) * len(chunks), dtype),
        name=name,
    )


def _read_block(reader: PlaneReader, leading: int, block_id: tuple[int, ...]) -> NDArray[Any]:
    pixels = reader.read(tuple(int(i) for i in block_id[:leading]))
    return pixels[(np.newaxis,) * leading]
