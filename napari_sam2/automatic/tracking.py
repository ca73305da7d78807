"""From masks on one frame to objects through time: seed and track, then add what is new on later frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

import numpy as np

from napari_sam2.automatic.mask_generator import BoolArray, MaskFinder
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposals import Progress
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import MAX_OBJECT_ID
from napari_sam2.prompts import Prompt
from napari_sam2.session.video import VideoSession


class SeededObjects(Protocol):
    """Objects that masks are added to: those of a session, or those of a project."""

    @property
    def object_ids(self) -> Sequence[int]:
        """Ids of all objects."""
        ...

    def covered(self, frame: int) -> BoolArray | None:
        """Return the pixels (H, W) of all objects on a frame; None when there is no object yet."""
        ...

    def add(self, frame: int, prompts: Mapping[int, Prompt]) -> None:
        """Add new objects with their prompts on a frame."""
        ...


@dataclass(frozen=True)
class SessionObjects:
    """The objects of a session.

    Parameters
    ----------
    session : VideoSession
        The session.
    """

    session: VideoSession

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of all objects."""
        return self.session.object_ids

    def covered(self, frame: int) -> BoolArray | None:
        """Return the pixels (H, W) of all objects on a frame; None when there is no object yet."""
        return pixels_of(self.session.masks(frame)) if self.object_ids else None

    def add(self, frame: int, prompts: Mapping[int, Prompt]) -> None:
        """Add new objects with their prompts on a frame."""
        for object_id, prompt in prompts.items():
            self.session.set_prompt(frame, object_id, prompt)


def pixels_of(masks: FrameMasks) -> BoolArray:
    """Return the pixels (H, W) that any object of a frame has."""
    return np.asarray(masks.masks.any(axis=0), bool)


def seed(
    objects: SeededObjects, frame: int, result: AutomaticResult, overlapping: bool = False
) -> tuple[int, ...]:
    """Make an object of each mask of a frame, numbered from the highest id on; return the new ids.

    Raises
    ------
    ValueError
        When there would be more objects than labels can hold.
    """
    prompts = result.prompts(1 + max(objects.object_ids, default=0), overlapping=overlapping)
    if max(prompts, default=0) > MAX_OBJECT_ID:
        raise ValueError(
            f"there can be at most {MAX_OBJECT_ID} objects: raise min_area or the thresholds to keep fewer masks"
        )
    if prompts:
        objects.add(frame, prompts)
    return tuple(prompts)


def seed_new(
    objects: SeededObjects, finder: MaskFinder, frame: int
) -> tuple[tuple[int, ...], AutomaticResult]:
    """Find what no object covers on a frame, and make objects of it; return their ids, and what was found."""
    find = finder.find_if_readable if objects.object_ids else finder.find
    result = find(frame, objects.covered(frame))
    return seed(objects, frame, result), result


def add_objects(
    session: VideoSession, frame: int, result: AutomaticResult, overlapping: bool = False
) -> tuple[int, ...]:
    """Turn masks of a frame into objects of a session, with their masks as prompts.

    Parameters
    ----------
    session : VideoSession
        Gets one new object for each mask; its other objects stay as they are.
    frame : int
        The frame on which the masks were found.
    result : AutomaticResult
        The masks; :meth:`AutomaticResult.keep` leaves out those that are not wanted.
    overlapping : bool
        Let objects share pixels. Otherwise the smaller mask gets them.

    Returns
    -------
    tuple of int
        The new object ids.
    """
    return seed(SessionObjects(session), frame, result, overlapping)


def add_new_objects(
    session: VideoSession,
    frame: int,
    options: AutomaticOptions | None = None,
    region: BoolArray | None = None,
    progress: Progress | None = None,
) -> tuple[int, ...]:
    """Find what no object of the session covers on a frame, and add it.

    ``options.max_overlap`` is the part of a new object that may lie on known objects; where it is 1, 0.2 is used.

    Returns
    -------
    tuple of int
        The new object ids; often none.
    """
    return seed_new(SessionObjects(session), session_finder(session, options, region, progress), frame)[0]


def track_everything(
    session: VideoSession,
    options: AutomaticOptions | None = None,
    start: int = 0,
    new_objects_every: int = 0,
    progress: Progress | None = None,
) -> Iterator[FrameMasks]:
    """Find everything on a frame and follow it to the end of the video.

    Parameters
    ----------
    session : VideoSession
        May have objects already; only what they do not cover on ``start`` is added.
    options : AutomaticOptions, optional
        Options of the search.
    start : int
        The frame to begin with.
    new_objects_every : int
        Look for new objects again after this many frames, again and again; 0 never does.
    progress : callable, optional
        Called with (points done, points in total) while objects are searched; what it raises ends the search.

    Yields
    ------
    FrameMasks
        One for each frame from ``start`` on, all objects at once; nothing when there is nothing to follow.
    """
    finder = session_finder(session, options, None, progress)
    yield from seed_and_track(session, finder, search_frames([start], new_objects_every, len(session.frames)))


def session_finder(
    session: VideoSession,
    options: AutomaticOptions | None,
    region: BoolArray | None = None,
    progress: Progress | None = None,
) -> MaskFinder:
    """Return a finder that uses a session's network and frames."""
    report = None if progress is None else lambda frame, done, total: progress(done, total)
    return MaskFinder(
        session.runner.model, session.frames, options or AutomaticOptions(), region, progress=report
    )


def search_frames(frames: Sequence[int], every: int, count: int) -> list[int]:
    """Return the frames to search, in order: those given, and every so many after the first of them; 0 adds none."""
    if every < 0:
        raise ValueError(f"new_objects_every must not be negative, got {every}")
    first = min(frames)
    return sorted({*frames, *(range(first, count, every) if every else ())})


def seed_and_track(session: VideoSession, finder: MaskFinder, frames: Sequence[int]) -> Iterator[FrameMasks]:
    """Find new objects on each of ``frames`` (in order), and yield all objects of every frame from the first one on."""
    objects, last = SessionObjects(session), len(session.frames) - 1
    for frame, following in zip_longest(frames, frames[1:], fillvalue=last + 1):
        seed_new(objects, finder, frame)
        # Known objects are followed onto the next frame that is searched: else all of them would be new there.
        if session.object_ids:
            for masks in session.propagate(frame, min(following, last)):
                if masks.frame < following:
                    yield masks
