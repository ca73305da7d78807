"""Results of a tracking run as the exports read them: masks frame by frame, objects, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.calibration import Calibration
from napari_sam2.masks import FrameMasks, Masklet
from napari_sam2.objects import ObjectInfo


def printable_text(text: str) -> str:
    """Return a name with spaces for control characters, line ends and what reorders or hides text."""
    return "".join(character if character.isprintable() else " " for character in text)


@dataclass(frozen=True)
class TrackingResults:
    """A tracking run as the exports see it; nothing of it is held in memory but one frame at a time.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frames.
    n_frames : int
        Number of frames of the source; exports have exactly this many.
    masks : callable
        ``masks(frame) -> FrameMasks``; frames on which nothing was tracked give no objects.
    objects : tuple of ObjectInfo
        Every object that appears anywhere.
    calibration : Calibration
        Frame axis, scale, units, times.
    intensity : callable, optional
        ``intensity(frame)`` gives the source's own numbers, (H, W) or (H, W, C), for measurements.
    channels : tuple of str
        Names of the channels of ``intensity``.
    picture : callable, optional
        ``picture(frame)`` gives what is seen, uint8 (H, W, 3), for the overlay video.
    name : str
        Name of the source, written where a format has a place for it.
    frame_names : tuple of str
        File name of each frame, where the source is a sequence of images; empty otherwise.
    """

    size: tuple[int, int]
    n_frames: int
    masks: Callable[[int], FrameMasks]
    objects: tuple[ObjectInfo, ...]
    calibration: Calibration = field(default_factory=Calibration)
    intensity: Callable[[int], NDArray[Any]] | None = None
    channels: tuple[str, ...] = ()
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    name: str = "results"
    frame_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.n_frames < 1:
            raise ValueError(
                f"there is nothing to export: {self.n_frames} frames of "
                f"{self.size[0]} × {self.size[1]} pixels"
            )
        ids = [o.object_id for o in self.objects]
        if len(set(ids)) != len(ids):
            raise ValueError(f"object ids must be unique, got {ids}")

    @property
    def frame_stems(self) -> tuple[str, ...]:
        """File names of the frames without folder and ending; empty where there are none, or two are equal."""
        stems = tuple(Path(name).stem for name in self.frame_names)
        return stems if len({stem.casefold() for stem in stems}) == self.n_frames else ()

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of all objects, in order."""
        return tuple(sorted(o.object_id for o in self.objects))

    def info(self, object_id: int) -> ObjectInfo:
        """Return name and colour of an object."""
        for known in self.objects:
            if known.object_id == object_id:
                return known
        raise KeyError(f"object {object_id} is not one of the objects {self.object_ids}")

    def frames(self, first: int = 0, end: int | None = None) -> Iterator[FrameMasks]:
        """Read the masks of the frames from ``first`` to before ``end``, one at a time, objects ordered by id."""
        end = self.n_frames if end is None else end
        if not 0 <= first < end <= self.n_frames:
            raise ValueError(f"there are no frames {first}:{end}, only 0:{self.n_frames}")
        known = set(self.object_ids)
        for frame in range(first, end):
            found = self.masks(frame)
            if found.object_ids and found.size != self.size:
                raise ValueError(
                    f"masks of frame {frame} are {found.size[0]} × {found.size[1]} pixels, "
                    f"the frames are {self.size[0]} × {self.size[1]}"
                )
            wanted = tuple(sorted(known.intersection(found.object_ids)))
            # Selecting copies the masks; mostly there is nothing to leave out.
            yield found if wanted == found.object_ids else found.select(wanted)

    def select(self, object_ids: Iterable[int]) -> TrackingResults:
        """Return the same run with only some objects; KeyError for an id that is not there."""
        return replace(self, objects=tuple(self.info(i) for i in dict.fromkeys(object_ids)))

    def watched(self, on_frame: Callable[[int], None]) -> TrackingResults:
        """Return the same run; ``on_frame(frame)`` is called after each frame is read (for progress)."""
        read = self.masks

        def read_and_tell(frame: int) -> FrameMasks:
            found = read(frame)
            on_frame(frame)
            return found

        return replace(self, masks=read_and_tell)

    @classmethod
    def from_frames(
        cls, frames: Sequence[FrameMasks], objects: Sequence[ObjectInfo] = (), **rest: Any
    ) -> TrackingResults:
        """Make results of masks in memory: ``frames[t]`` belongs to frame ``t``."""
        if not frames:
            raise ValueError("there is nothing to export: no frame was given")
        ids = sorted({i for f in frames for i in f.object_ids})
        named = {o.object_id: o for o in objects}
        infos = tuple(named.get(i, ObjectInfo(i)) for i in ids)
        return cls(frames[0].size, len(frames), frames.__getitem__, infos, **rest)

    @classmethod
    def from_masklets(
        cls,
        masklets: Mapping[int, Masklet],
        size: tuple[int, int],
        n_frames: int,
        objects: Sequence[ObjectInfo] = (),
        **rest: Any,
    ) -> TrackingResults:
        """Make results of masklets; scores are unknown: 1 where the object is, -1 where it is not."""
        named = {o.object_id: o for o in objects}
        infos = tuple(named.get(i, ObjectInfo(i)) for i in sorted(masklets))

        def read(frame: int) -> FrameMasks:
            return _frame_of_masklets(masklets, size, frame)

        return cls(size, n_frames, read, infos, **rest)


def _frame_of_masklets(masklets: Mapping[int, Masklet], size: tuple[int, int], frame: int) -> FrameMasks:
    ids = tuple(i for i in sorted(masklets) if frame in masklets[i].masks)
    if not ids:
        return FrameMasks.empty(frame, size)
    masks = np.stack([masklets[i].mask(frame) for i in ids])  # (N, H, W)
    there = np.array([mask.any() for mask in masks])  # (N,)
    scores = np.where(there, np.float32(1), np.float32(-1))
    return FrameMasks(frame, ids, masks, scores, np.asarray(there, np.float32), np.zeros(len(ids), bool))
