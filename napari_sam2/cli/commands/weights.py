"""``napari-sam2 weights``: which models there are, and where their files lie."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import DownloadProgress
from napari_sam2.model.weights.download import cached_file, cached_sam1, fetch_released, fetch_sam1
from napari_sam2.model.weights.registry import NANO_FILE, PUBLISHED_SAM1, RELEASED, ReleasedModel

NANO = "nano"
_NAMES = (NANO, *RELEASED, *PUBLISHED_SAM1)


@dataclass(frozen=True)
class Availability:
    """One model: its name, size in megabytes, and its file where it is on this machine."""

    name: str
    megabytes: float
    release: str
    path: Path | None
    licence: str = "Apache-2.0"
    sha256: str | None = None


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    if args.action == "list":
        _list(args, console)
        return
    if args.model is None:
        raise UsageError(f"weights {args.action} needs a model: {', '.join(_NAMES)}")
    path = _download(args.model, console) if args.action == "download" else _present(args.model)
    console.result({"model": args.model, "path": path}, str(path))


def available() -> list[Availability]:
    """Return all models that can be asked for by name."""
    nano = NANO_FILE if NANO_FILE.is_file() else None
    size = NANO_FILE.stat().st_size / 1e6 if nano else 0.0
    released = [
        Availability(
            m.name, m.megabytes, f"SAM {m.version}", cached_file(m), sha256=m.sha256.get(m.pickle_file)
        )
        for m in RELEASED.values()
    ]
    first = [
        Availability(m.name, m.megabytes, "SAM 1", cached_sam1(m), m.licence, m.sha256)
        for m in PUBLISHED_SAM1.values()
    ]
    return [Availability(NANO, size, "embedded", nano), *released, *first]


def _list(args: Namespace, console: Console) -> None:
    if args.model is not None:
        raise UsageError("weights list takes no model")
    found = available()
    absent = {NANO: "missing from this installation"}
    lines = [
        f"{m.name:19} {m.release:8} {m.megabytes:5.0f} MB  {m.licence:24}  "
        f"{m.path or absent.get(m.name, 'not downloaded')}"
        for m in found
    ]
    data = [
        {
            "name": m.name,
            "release": m.release,
            "megabytes": round(m.megabytes, 1),
            "licence": m.licence,
            "sha256": m.sha256,
            "path": None if m.path is None else str(m.path),
        }
        for m in found
    ]
    console.result({"models": data}, "\n".join(lines))


def _download(name: str, console: Console) -> Path:
    if name == NANO:
        return _present(name)
    progress = DownloadProgress(console, name)
    if name in PUBLISHED_SAM1:
        return fetch_sam1(PUBLISHED_SAM1[name], progress)
    return fetch_released(_released(name), progress)


def _present(name: str) -> Path:
    if name == NANO:
        path = NANO_FILE if NANO_FILE.is_file() else None
    else:
        path = cached_sam1(PUBLISHED_SAM1[name]) if name in PUBLISHED_SAM1 else cached_file(_released(name))
    if path is None and name == NANO:
        raise CommandError("the embedded model is missing from this installation: install napari-sam2 again")
    if path is None:
        raise CommandError(f"{name} is not downloaded: get it with 'napari-sam2 weights download {name}'")
    return path


def _released(name: str) -> ReleasedModel:
    if name not in RELEASED:
        raise UsageError(f"there is no model {name!r}: use one of {', '.join(_NAMES)}")
    return RELEASED[name]
