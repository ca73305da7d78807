"""The documents of a project: what its frames, its model and its objects are; layout and version."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey

FORMAT = "napari-sam2-project"
VERSION = 1
MAX_FRAMES = 2**31
MAX_PIXELS = 2**31  # no frame is larger; a damaged document must not make us allocate
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class SourceDescription:
    """Where the frames come from and how they are read, so that the same frames can be found again.

    Parameters
    ----------
    path : str, optional
        File, folder or pattern; None for arrays in memory.
    fingerprint : str, optional
        Content of the frames as :func:`napari_sam2.storage.frames_fingerprint.frames_hash` sees it. Names of layers
        and files are no identity, this is.
    kind : str
        Which reader: "video", "tiff", "zarr", "images", "array" …
    reading : mapping
        JSON-ready options of the reader: axis, positions on other axes, contrast …
    calibration : mapping
        JSON-ready scale, units and times.
    """

    path: str | None = None
    fingerprint: str | None = None
    kind: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "path": self.path,
            "fingerprint": self.fingerprint,
            "kind": self.kind,
            "reading": dict(self.reading),
            "calibration": dict(self.calibration),
        }

    @classmethod
    def from_json(cls, data: Any) -> SourceDescription:
        """Read what :meth:`to_json` wrote; ValueError when it is something else."""
        data = _mapping(data, "source")
        return cls(
            _text_or_none(data.get("path"), "the path of the source"),
            _text_or_none(data.get("fingerprint"), "the fingerprint of the source"),
            _text_or_none(data.get("kind"), "the kind of the source") or "",
            _mapping(data.get("reading", {}), "reading"),
            _mapping(data.get("calibration", {}), "calibration"),
        )


@dataclass(frozen=True)
class ModelDescription:
    """Which network: its name or path, and the hash of its weights.

    Parameters
    ----------
    name : str
        What ``load_model`` was given: "nano", "tiny", a path …
    weights_hash : str, optional
        Hash of the weights; two models of one name and different hashes are different models.
    """

    name: str
    weights_hash: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"name": self.name, "weights_hash": self.weights_hash}

    @classmethod
    def from_json(cls, data: Any) -> ModelDescription:
        """Read what :meth:`to_json` wrote; ValueError when it is something else."""
        data = _mapping(data, "model")
        name = _text_or_none(data.get("name"), "the name of the model")
        if name is None:
            raise ValueError("a model needs a name")
        return cls(name, _text_or_none(data.get("weights_hash"), "the hash of the model's weights"))


@dataclass(frozen=True)
class ProjectHeader:
    """What a project says about itself before anything was tracked.

    Parameters
    ----------
    shape : tuple of int
        (number of frames, height, width).
    source, model : SourceDescription, ModelDescription
        Where the frames come from, and which network.
    options : mapping
        JSON-ready options of the session.
    created : str
        ISO date and time.
    software : str
        Version that created the project.
    """

    shape: tuple[int, int, int]
    source: SourceDescription
    model: ModelDescription
    options: Mapping[str, Any]
    created: str = ""
    software: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        frames, height, width = self.shape
        return {
            "format": FORMAT,
            "version": VERSION,
            "created": self.created,
            "software": self.software,
            "frames": frames,
            "height": height,
            "width": width,
            "source": self.source.to_json(),
            "model": self.model.to_json(),
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProjectHeader:
        """Read what :meth:`to_json` wrote; ValueError when it is something else."""
        shape = (
            whole_number(data.get("frames"), "frames", 1),
            whole_number(data.get("height"), "height", 1),
            whole_number(data.get("width"), "width", 1),
        )
        if shape[0] > MAX_FRAMES or shape[1] * shape[2] > MAX_PIXELS:
            raise ValueError(f"{shape[0]} frames of {shape[1]} × {shape[2]} pixels are too large")
        return cls(
            shape,
            SourceDescription.from_json(data.get("source")),
            ModelDescription.from_json(data.get("model")),
            _mapping(data.get("options", {}), "options"),
            str(data.get("created", "")),
            str(data.get("software", "")),
        )


def whole_number(value: Any, what: str, least: int = 0) -> int:
    """Return ``value`` when it is a whole number of at least ``least``; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise ValueError(f"{what} must be a whole number from {least} on, not {value!r}")
    return value


def prompts_to_json(prompts: Mapping[PromptKey, Prompt]) -> list[dict[str, Any]]:
    """Return prompts as a list for people, in the order in which they were made."""
    return [{"frame": t, "object_id": i, "prompt": p.to_json()} for (t, i), p in prompts.items()]


def prompts_from_json(data: Any, frames: int) -> dict[PromptKey, Prompt]:
    """Read what :func:`prompts_to_json` wrote; ValueError naming what is wrong."""
    out = {}
    for item in _list(data, "prompts"):
        item = _mapping(item, "a prompt's entry")
        frame = whole_number(item.get("frame"), "a prompt's frame")
        if frame >= frames:
            raise ValueError(f"a prompt is on frame {frame}, but there are only {frames} frames")
        out[frame, checked_object_id(item.get("object_id"))] = Prompt.from_json(item.get("prompt"))
    return out


def objects_to_json(objects: Iterable[ObjectInfo]) -> list[dict[str, Any]]:
    """Return objects as a list for people."""
    return [
        {"id": o.object_id, "name": o.name, "color": None if o.color is None else color_text(o.color)}
        | ({"locked": True} if o.locked else {})
        for o in objects
    ]


def objects_from_json(data: Any) -> dict[int, ObjectInfo]:
    """Read what :func:`objects_to_json` wrote; ValueError naming what is wrong."""
    out = {}
    for item in _list(data, "objects"):
        item = _mapping(item, "an object's entry")
        object_id = checked_object_id(item.get("id"))
        color = item.get("color")
        out[object_id] = ObjectInfo(
            object_id,
            _text_or_none(item.get("name"), "an object's name") or "",
            None if color is None else checked_color(color),
            item.get("locked") is True,
        )
    return out


def checked_color(value: Any) -> tuple[int, int, int]:
    """Return a colour as 8-bit RGB; takes "#rrggbb" or three whole numbers from 0 to 255."""
    if isinstance(value, str) and _COLOR.fullmatch(value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, (tuple, list)) and len(value) == 3:
        numbers = [int(v) if hasattr(v, "__index__") else -1 for v in value]
        if all(0 <= n <= 255 for n in numbers):
            return numbers[0], numbers[1], numbers[2]
    raise ValueError(f"a colour is '#rrggbb' or three whole numbers from 0 to 255, not {value!r}")


def color_text(color: tuple[int, int, int]) -> str:
    """Return "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def packed(data: Any) -> tuple[str, int]:
    """Return JSON text and its checksum, as rows of the database keep them."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text, zlib.crc32(text.encode("utf-8", "surrogatepass"))


def unpacked(text: Any, checksum: int | None) -> Any:
    """Return what :func:`packed` packed; ValueError when it is damaged.

    Whoever changes a row by hand sets its checksum to NULL.
    """
    if not isinstance(text, str):
        raise ValueError("it is no text")
    if checksum is not None and checksum != zlib.crc32(text.encode("utf-8", "surrogatepass")):
        raise ValueError("its checksum does not fit its content")
    return json.loads(text)


def _mapping(data: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be a JSON object, not {type(data).__name__}")
    return data


def _list(data: Any, what: str) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"{what} must be a list, not {type(data).__name__}")
    return data


def _text_or_none(value: Any, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{what} must be text, not {value!r}")
    return value
