"""Files that are either old or new, never half: atomic replacement, checksums, zarr v3 metadata."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import google_crc32c

from napari_sam2.storage.errors import ProjectDamagedError, file_errors

METADATA = "zarr.json"
_PARTIAL = ".partial"
_CHECKSUM = "checksum"
_WINDOWS_ATTEMPTS = 20


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: a reader, or a crash, sees the old content or the new one."""
    partial = path.with_name(path.name + _PARTIAL)
    with file_errors(path):
        try:
            with open(partial, "wb") as file:
                file.write(data)
            _swap(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _swap(partial: Path, path: Path) -> None:
    # Windows refuses to replace a file while somebody reads it: that lasts for milliseconds.
    for attempt in range(_WINDOWS_ATTEMPTS):
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _WINDOWS_ATTEMPTS - 1:
                raise
            time.sleep(0.01)


def read_file(path: Path) -> bytes | None:
    """Return the content of a file, None when there is none."""
    with file_errors(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError as error:
            raise ProjectDamagedError(f"{path} is damaged: it is a folder and should be a file") from error


def remove_file(path: Path) -> None:
    """Remove a file that may be missing."""
    with file_errors(path):
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder with its parents; an existing one is fine."""
    with file_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def sealed(data: bytes) -> bytes:
    """Append the checksum that zarr's ``crc32c`` codec appends (4 bytes, little endian)."""
    return data + int(google_crc32c.value(data)).to_bytes(4, "little")


def unsealed(data: bytes, path: Path) -> bytes:
    """Check and remove the checksum; raises ProjectDamagedError when it does not fit."""
    if len(data) < 4 or int(google_crc32c.value(data[:-4])) != int.from_bytes(data[-4:], "little"):
        raise ProjectDamagedError(f"{path} is damaged (its checksum does not fit its content)")
    return data[:-4]


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document that people can read."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, text.encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when the file is missing, ProjectDamagedError when it is not one."""
    data = read_file(path)
    if data is None:
        return None
    return parsed_json(data, path)


def parsed_json(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object; ProjectDamagedError when it is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProjectDamagedError(f"{path} is damaged: it is not valid JSON") from error
    if not isinstance(document, dict):
        raise ProjectDamagedError(f"{path} is damaged: it should hold a JSON object")
    return document


def signed(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with their checksum, for documents that only software writes."""
    plain = {k: v for k, v in attributes.items() if k != _CHECKSUM}
    return plain | {_CHECKSUM: _checksum(plain)}


def verified(attributes: Any, path: Path) -> dict[str, Any]:
    """Check and remove the checksum of attributes; whoever edits them by hand deletes it first."""
    if not isinstance(attributes, dict):
        raise ProjectDamagedError(f"{path} is damaged: it should hold attributes")
    plain = {k: v for k, v in attributes.items() if k != _CHECKSUM}
    if attributes.get(_CHECKSUM, _checksum(plain)) != _checksum(plain):
        raise ProjectDamagedError(f"{path} is damaged (its checksum does not fit its content)")
    return plain


def _checksum(attributes: dict[str, Any]) -> str:
    text = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
    return f"crc32c:{int(google_crc32c.value(text.encode())):08x}"


def group_document(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the ``zarr.json`` of a zarr v3 group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def array_document(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    data_type: str,
    compressor: dict[str, Any],
    names: tuple[str, ...],
    attributes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the ``zarr.json`` of a zarr v3 array whose chunks are files ``c.I.J…`` ending in a crc32c."""
    text = data_type == "string"
    serializer = (
        {"name": "vlen-utf8", "configuration": {}}
        if text
        else {"name": "bytes", "configuration": {"endian": "little"}}
    )
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "" if text else 0,
        "codecs": [serializer, compressor, {"name": "crc32c"}],
        "attributes": attributes or {},
        "dimension_names": list(names),
        "storage_transformers": [],
    }


def remove_partial_files(folder: Path) -> None:
    """Remove what an interrupted write left behind."""
    with file_errors(folder):
        for name in os.listdir(folder):
            if name.endswith(_PARTIAL):
                (folder / name).unlink(missing_ok=True)
