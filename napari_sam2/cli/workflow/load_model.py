"""Loading networks for commands."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from threading import Lock

from cachetools import LRUCache, cached

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import DownloadProgress
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.model.weights.image_models import load_image_model
from napari_sam2.storage.project import Project
from napari_sam2.storage.schema import ModelDescription
from napari_sam2.storage.sessions import describe_model


def _identity(name: str, device: str, console: Console, image_size: int | None = None) -> Hashable:
    path = Path(name).expanduser()
    found = path.stat() if path.is_file() else None
    return _lasting_name(name), device, image_size, found and (found.st_size, found.st_mtime_ns)


# the jobs of a batch use one network, one after another in a process
_loaded: LRUCache[Hashable, Sam | Sam2] = LRUCache(maxsize=1)
_lock = Lock()


@cached(_loaded, key=_identity, lock=_lock)
def load_network(name: str, device: str, console: Console, image_size: int | None = None) -> Sam2:
    """Load a network, or return the one that was loaded last; a download shows its progress."""
    progress = DownloadProgress(console, name)
    return load_model(_lasting_name(name), device=device, progress=progress, image_size=image_size)


@cached(_loaded, key=lambda *asked: ("image", _identity(*asked)), lock=_lock)
def load_image_network(name: str, device: str, console: Console, image_size: int | None = None) -> Sam | Sam2:
    """Load a network for single images, which may be a Segment Anything 1; a download shows its progress."""
    progress = DownloadProgress(console, name)
    return load_image_model(_lasting_name(name), device=device, progress=progress, image_size=image_size)


def load_following_network(
    name: str, device: str, console: Console, frame_by_frame: bool, image_size: int | None = None
) -> Sam | Sam2:
    """Load a network that follows objects; a Segment Anything 1 only where ``--frame-by-frame`` was given."""
    if not frame_by_frame:
        return load_network(name, device, console, image_size)
    model = load_image_network(name, device, console, image_size)
    if isinstance(model, Sam2):
        raise UsageError(f"--frame-by-frame is for Segment Anything 1, and {name} is a SAM 2: leave it out")
    return model


def load_for(project: Project, device: str, console: Console) -> Sam | Sam2:
    """Load the network that a project was made with."""
    name = project.model.name
    if not name:
        raise CommandError(
            f"{project.path} does not say which model it was made with: it can't be computed again"
        )
    return load_image_network(name, device, console, project.model.image_size)


def describe(model: Sam | Sam2, name: str) -> ModelDescription:
    """Return what a project keeps of a network; the path of a file is made absolute."""
    return describe_model(model, _lasting_name(name))


def _lasting_name(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_file() else name
