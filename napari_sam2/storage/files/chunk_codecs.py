"""The encodings of chunks, byte for byte those of zarr v3's codecs of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_sam2.storage.errors import ProjectDamagedError
from napari_sam2.storage.files.atomic_files import sealed, unsealed

ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}


def blosc(typesize: int) -> dict[str, Any]:
    """Return the zarr codec that floating point chunks are compressed with."""
    return {
        "name": "blosc",
        "configuration": {
            "typesize": typesize,
            "cname": "zstd",
            "clevel": 1,
            "shuffle": "shuffle",
            "blocksize": 0,
        },
    }


def encode_text(text: str) -> bytes:
    """Encode one string as a chunk of a ``vlen-utf8`` array with one element per chunk."""
    data = text.encode()
    body = (1).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    return sealed(bytes(numcodecs.Zstd(level=1).encode(body)))


def decode_text(data: bytes, path: Path) -> str:
    """Decode what :func:`encode_text` wrote; ProjectDamagedError when it is something else."""
    body = _decompressed(numcodecs.Zstd(), unsealed(data, path), path)
    if body[:4] != b"\1\0\0\0" or int.from_bytes(body[4:8], "little") != len(body) - 8:
        raise ProjectDamagedError(f"{path} is damaged: it should hold one text")
    try:
        return body[8:].decode()
    except UnicodeDecodeError as error:
        raise ProjectDamagedError(f"{path} is damaged: it should hold one text") from error


def encode_labels(labels: NDArray[np.uint16]) -> bytes:
    """Encode a label image as a chunk (little endian, zstd, crc32c)."""
    return sealed(bytes(numcodecs.Zstd(level=1).encode(np.ascontiguousarray(labels, "<u2"))))


def decode_labels(data: bytes, shape: tuple[int, int], path: Path) -> NDArray[np.uint16]:
    """Decode a label image (H, W); ProjectDamagedError when it does not fit."""
    return _array(_decompressed(numcodecs.Zstd(), unsealed(data, path), path), shape, "<u2", path)


def encode_floats(values: NDArray[Any]) -> bytes:
    """Encode floating point values as a chunk (little endian, blosc, crc32c)."""
    array = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    codec = numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE)
    return sealed(bytes(codec.encode(array)))


def decode_floats(data: bytes, shape: tuple[int, ...], dtype: DTypeLike, path: Path) -> NDArray[Any]:
    """Decode floating point values; ProjectDamagedError when they do not fit."""
    return _array(_decompressed(numcodecs.Blosc(), unsealed(data, path), path), shape, dtype, path)


def _decompressed(codec: Any, data: bytes, path: Path) -> bytes:
    try:
        return bytes(codec.decode(data))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise ProjectDamagedError(f"{path} is damaged: it cannot be decompressed") from error


def _array(data: bytes, shape: tuple[int, ...], dtype: DTypeLike, path: Path) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if len(data) != int(np.prod(shape)) * kind.itemsize:
        raise ProjectDamagedError(f"{path} is damaged: it should hold {shape} values of {kind}")
    return np.frombuffer(data, kind).reshape(shape)
