"""What the worker's thread owns: a session with its undo and its project, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import HistoryState, UndoGroup
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.session import Alternatives


@dataclass(frozen=True)
class InterruptedRun:
    """A propagation that was stopped or killed: its last frame, and what is left of the way."""

    done: int | None
    start: int | None
    stop: int | None
    reverse: bool
    objects: tuple[int, ...] | None


class SessionBackend(Protocol):
    """A session that saves as it goes and can undo. Used by one thread; results are on disk before they return."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        ...

    @property
    def path(self) -> Path | None:
        """Where the project is; None when nothing is saved."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether the project was there before."""
        ...

    @property
    def temporary(self) -> bool:
        """Whether the project is deleted when the session ends."""
        ...

    @property
    def interrupted(self) -> InterruptedRun | None:
        """A propagation that did not reach its end; None when there is none."""
        ...

    @property
    def message(self) -> str:
        """One sentence when autosave is not what the user expects, else empty."""
        ...

    @property
    def runs_on(self) -> tuple[str, str]:
        """Device and precision that are used."""
        ...

    @property
    def prompts(self) -> Mapping[PromptKey, Prompt]:
        """All prompts by (frame, object id)."""
        ...

    @property
    def objects(self) -> Mapping[int, ObjectInfo]:
        """All objects with names and colours."""
        ...

    @property
    def history(self) -> HistoryState:
        """What can be undone and redone; a propagation that is going on is the last step."""
        ...

    def step(self, gesture: UndoGroup) -> AbstractContextManager[None]:
        """Make everything inside one step of undo, together with what was done of the same gesture just before.

        An error takes back what was done inside.
        """
        ...

    @property
    def model(self) -> Any:
        """The network (:class:`napari_sam2.model.sam2.Sam2`)."""
        ...

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """Return a frame as the model sees it, uint8 (H, W, 3)."""
        ...

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        """Say all there is to say about one object on one frame; returns all masks of this frame."""
        ...

    def clear_prompt(self, frame: int, object_id: int) -> FrameMasks:
        """Take back what was said; returns all masks of this frame."""
        ...

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object, or change its name and colour, lock or unlock it."""
        ...

    def remove_objects(self, object_ids: Iterable[int]) -> None:
        """Remove objects with all they have."""
        ...

    def propagate(
        self,
        start: int | None,
        stop: int | None,
        reverse: bool,
        objects: Iterable[int] | None,
        gesture: UndoGroup,
        joins: bool,
    ) -> Iterator[FrameMasks]:
        """Carry objects through time, as one step of undo; closing the generator keeps what is done.

        ``joins``: it is part of the last step, which is called as the gesture is from now on. So it is, too, when
        that step is of the same gesture.

        Yields all masks of each visited frame, also those of other objects.
        """
        ...

    def masks(self, frame: int) -> FrameMasks:
        """Return all masks of a frame."""
        ...

    @property
    def labels(self) -> Callable[[int], NDArray[np.uint16]]:
        """``labels(frame)`` gives the label image (H, W); any thread may ask, also after closing."""
        ...

    def tracked_frames(self) -> Iterable[int]:
        """Return the frames with any result, in order."""
        ...

    def alternatives(self, frame: int, object_id: int) -> Alternatives:
        """Return the masks that the network offered for a prompt."""
        ...

    def warm(self, frame: int) -> None:
        """Compute the image features of a frame ahead of time."""
        ...

    def undo(self) -> str:
        """Take back the last step; returns its label."""
        ...

    def redo(self) -> str:
        """Do the last undone step again; returns its label."""
        ...

    def results(self) -> TrackingResults:
        """Return what the exports read."""
        ...

    def tidy(self) -> None:
        """Write what could wait until nobody waits for an answer."""
        ...

    def close(self) -> None:
        """Write what is left, and let go of files and memory."""
        ...
