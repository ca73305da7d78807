"""Documents of a project: descriptions of frames, model, objects and an interrupted run; layout and version."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from napari_sam2.objects import ObjectInfo, Parent, Stretches, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey

FORMAT = "napari-sam2-project"
VERSION = 1
# A damaged document must not make us allocate: no recording has more frames, and no frame is larger.
MAX_FRAMES = 2**24
MAX_PIXELS = 2**31
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_KINDS: dict[Any, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "Mapping[str, Any]": (Mapping,),
}
T = TypeVar("T")


@dataclass(frozen=True)
class SourceDescription:
    """Origin of the frames and how they are read, so that the same frames can be found again.

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


@dataclass(frozen=True)
class ModelDescription:
    """Name or path of the network, as given to ``load_model``, hash of its weights and side of its input in pixels."""

    name: str = ""
    weights_hash: str | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class ProjectHeader:
    """Facts about a project from before anything was tracked.

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
    source: SourceDescription = SourceDescription()
    model: ModelDescription = ModelDescription()
    options: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    software: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        plain = asdict(self)
        sizes = zip(("frames", "height", "width"), plain.pop("shape"))
        return {"format": FORMAT, "version": VERSION, **dict(sizes), **plain}

    @classmethod
    def from_json(cls, data: Any) -> ProjectHeader:
        """Read a dict of :meth:`to_json`; ValueError when it is something else."""
        data = _checked(data, Mapping, "a project")
        frames, height, width = (whole_number(data.get(k), k, 1) for k in ("frames", "height", "width"))
        if frames > MAX_FRAMES or height * width > MAX_PIXELS:
            raise ValueError(f"{frames} frames of {height} × {width} pixels are too large")
        return cls(
            (frames, height, width),
            _described(SourceDescription, data.get("source"), "source"),
            _described(ModelDescription, data.get("model"), "model"),
            _checked(data.get("options", {}), Mapping, "options"),
            str(data.get("created", "")),
            str(data.get("software", "")),
        )


@dataclass(frozen=True)
class PendingRun:
    """Arguments of a propagation that has not reached its end, and how far it came.

    Parameters
    ----------
    start, stop : int or None
        As given to ``propagate``.
    reverse : bool
        Backwards in time.
    objects : tuple of int, optional
        Only these objects; None for all.
    done : int or None
        The last frame that is on disk; None before the first one.
    """

    start: int | None = None
    stop: int | None = None
    reverse: bool = False
    objects: tuple[int, ...] | None = None
    done: int | None = None

    @property
    def next_frame(self) -> int | None:
        """Where to start to go on; None: where it was to start."""
        if self.done is None:
            return self.start
        return self.done - 1 if self.reverse else self.done + 1

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PendingRun:
        """Read the fields of a run; ValueError, KeyError or TypeError when they are something else."""
        frames = (
            None if data[k] is None else whole_number(data[k], "a frame") for k in ("start", "stop", "done")
        )
        start, stop, done = frames
        objects = None if data["objects"] is None else tuple(checked_object_id(i) for i in data["objects"])
        return cls(start, stop, bool(data["reverse"]), objects, done)


def whole_number(value: Any, what: str, least: int = 0) -> int:
    """Return ``value`` when it is a whole number of at least ``least``; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise ValueError(f"{what} must be a whole number from {least} on, not {value!r}")
    return value


def prompts_to_json(prompts: Mapping[PromptKey, Prompt]) -> list[dict[str, Any]]:
    """Return prompts as a list for people, in the order in which they were made."""
    return [{"frame": t, "object_id": i, "prompt": p.to_json()} for (t, i), p in prompts.items()]


def prompts_from_json(data: Any, frames: int) -> dict[PromptKey, Prompt]:
    """Read a list of :func:`prompts_to_json`; ValueError naming what is wrong."""
    out = {}
    for item in _checked(data, list, "prompts"):
        item = _checked(item, Mapping, "a prompt's entry")
        frame = whole_number(item.get("frame"), "a prompt's frame")
        if frame >= frames:
            raise ValueError(f"a prompt is on frame {frame}, but there are only {frames} frames")
        out[frame, checked_object_id(item.get("object_id"))] = Prompt.from_json(item.get("prompt"))
    return out


def objects_to_json(objects: Iterable[ObjectInfo]) -> list[dict[str, Any]]:
    """Return objects as a list for people."""
    return [_object_to_json(o) for o in objects]


def _object_to_json(info: ObjectInfo) -> dict[str, Any]:
    color = None if info.color is None else color_text(info.color)
    data: dict[str, Any] = {"id": info.object_id, "name": info.name, "color": color}
    if info.locked:
        data["locked"] = True
    if info.parent is not None:
        data["parent"] = {"id": info.parent.object_id, "frame": info.parent.frame}
    for key, stretches in (("accepted", info.accepted), ("absent", info.absent)):
        if stretches:
            data[key] = [list(stretch) for stretch in stretches]
    return data


def objects_from_json(data: Any) -> dict[int, ObjectInfo]:
    """Read a list of :func:`objects_to_json`; ValueError naming what is wrong."""
    out = {}
    for item in _checked(data, list, "objects"):
        item = _checked(item, Mapping, "an object's entry")
        object_id = checked_object_id(item.get("id"))
        color = item.get("color")
        out[object_id] = ObjectInfo(
            object_id,
            _checked(item.get("name") or "", str, "an object's name"),
            None if color is None else checked_color(color),
            item.get("locked") is True,
            _parent(item.get("parent")),
            _stretches(item.get("accepted", [])),
            _stretches(item.get("absent", [])),
        )
    return out


def _parent(data: Any) -> Parent | None:
    if data is None:
        return None
    data = _checked(data, Mapping, "a parent")
    return Parent(checked_object_id(data.get("id")), whole_number(data.get("frame"), "a parent's frame"))


def _stretches(data: Any) -> Stretches:
    found: list[tuple[int, int]] = []
    for pair in _checked(data, list, "a list of stretches"):
        frames = [whole_number(frame, "a frame of a stretch") for frame in _checked(pair, list, "a stretch")]
        after = found[-1][1] + 1 if found else 0
        if len(frames) != 2 or not after <= frames[0] <= frames[1] < MAX_FRAMES:
            raise ValueError(f"stretches are pairs of first and last frames in order, {pair!r} is none")
        found.append((frames[0], frames[1]))
    return tuple(found)


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
    """Return the data of :func:`packed`; ValueError when it is damaged. A checksum of None fits everything."""
    if not isinstance(text, str):
        raise ValueError("it is no text")
    if checksum is not None and checksum != zlib.crc32(text.encode("utf-8", "surrogatepass")):
        raise ValueError("its checksum does not fit its content")
    return json.loads(text)


def _checked(data: Any, kind: Any, what: str) -> Any:
    if not isinstance(data, kind):
        name = {Mapping: "a JSON object", list: "a list", _KINDS["int | None"]: "a whole number"}.get(
            kind, "text"
        )
        raise ValueError(f"{what} must be {name}, not {data!r:.50}")
    return data


def _described(cls: type[T], data: Any, what: str) -> T:
    """Return a description whose fields have the kinds that it declares; unknown keys are passed over."""
    kinds = {name: _KINDS[kind] for name, kind in cls.__annotations__.items()}
    data = _checked(data, Mapping, what)
    return cls(
        **{k: _checked(data[k], kinds[k], f"the {k} of the {what}") for k in data.keys() & kinds.keys()}
    )
