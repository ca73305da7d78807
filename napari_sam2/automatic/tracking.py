"""From masks on one frame to objects through time: track everything, and pick up newcomers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_sam2.automatic.mask_generator import generate_masks
from napari_sam2.automatic.options import AutomaticOptions
from napari_sam2.automatic.proposals import Progress
from napari_sam2.automatic.result import AutomaticResult
from napari_sam2.automatic.spatial_filter import SpatialFilter
from napari_sam2.masks import FrameMasks
from napari_sam2.session.video import VideoSession

# A mask of which more than this part lies on known objects is not new.
NEWCOMER_OVERLAP = 0.2


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
    first = max(session.object_ids, default=0) + 1
    prompts = result.prompts(first, overlapping=overlapping)
    # Numbered without gaps, also when a mask was left without a pixel of its own.
    numbered = dict(enumerate(prompts.values(), start=first))
    for object_id, prompt in numbered.items():
        session.set_prompt(frame, object_id, prompt)
    return tuple(numbered)


def add_new_objects(
    session: VideoSession,
    frame: int,
    options: AutomaticOptions | None = None,
    region: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> tuple[int, ...]:
    """Find what no object of the session covers on a frame, and add it.

    ``options.max_overlap`` says how much of a newcomer may lie on known objects; where it is 1, 0.2 is used.

    Returns
    -------
    tuple of int
        The new object ids; often none.
    """
    options = options or AutomaticOptions()
    if options.max_overlap == 1:
        options = options.changed(max_overlap=NEWCOMER_OVERLAP)
    known = session.masks(frame).masks.any(axis=0) if session.object_ids else np.zeros(session.size, bool)
    surroundings = SpatialFilter(region, known)
    image = session.frames.frame(frame)
    result = generate_masks(session.runner.model, image, options, surroundings, progress)
    return add_objects(session, frame, result)


def track_everything(
    session: VideoSession,
    options: AutomaticOptions | None = None,
    start: int = 0,
    newcomers_every: int = 0,
    progress: Progress | None = None,
) -> Iterator[FrameMasks]:
    """Find everything on a frame and follow it to the end of the video.

    Parameters
    ----------
    session : VideoSession
        May have objects already; only what they do not cover on ``start`` is added.
    options : AutomaticOptions, optional
        How objects are found.
    start : int
        The frame to begin with.
    newcomers_every : int
        Look for new objects again after this many frames, again and again; 0 never does.
    progress : callable, optional
        Called with (points done, points in total) while objects are searched.

    Yields
    ------
    FrameMasks
        One for each frame from ``start`` on, all objects at once; nothing when there is nothing to follow.
    """
    if newcomers_every < 0:
        raise ValueError(f"newcomers_every must not be negative, got {newcomers_every}")
    last = len(session.frames) - 1
    frame = start
    step = newcomers_every or last + 1
    while frame <= last:
        add_new_objects(session, frame, options, progress=progress)
        # Known objects are followed onto the next frame that is searched: else all of them would be new there.
        following = frame + step
        if session.object_ids:
            for masks in session.propagate(frame, min(following, last)):
                if masks.frame < following:
                    yield masks
        frame = following
