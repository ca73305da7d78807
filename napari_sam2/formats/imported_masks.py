"""Imported masks of objects through time, to be used as prompts or as finished masklets."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import Masklet, Rle, encode_rle
from napari_sam2.objects import Color, ObjectInfo
from napari_sam2.prompts import MaskPrompt, Prompt


class ImportProblem(ValueError):
    """A file can't be read as masks; the message says why and what to do."""


@dataclass(frozen=True)
class ImportedMasks:
    """Masks read from a file, as run lengths.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the frames.
    n_frames : int
        Number of frames of the file; frames may have no mask.
    masklets : mapping of int to Masklet
        Object id to its masks; only frames on which the object has pixels have an entry.
    names, colors : mapping
        Names and colours of the objects in the file, by id.
    frame_names : mapping of int to str
        Name of the image of each frame, where the file has names.
    numbered : bool
        Whether the file's numbers are frame indices by definition (COCO's ``frame_index``, the images of the Cell
        Tracking Challenge), and hold where the names differ from the source's.
    """

    size: tuple[int, int]
    n_frames: int
    masklets: Mapping[int, Masklet]
    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, Color] = field(default_factory=dict)
    frame_names: Mapping[int, str] = field(default_factory=dict)
    numbered: bool = False

    def on_frames(self, source_names: Sequence[str]) -> ImportedMasks:
        """Return the masks on the frames of a source whose frames have names, such as a folder of images.

        An image is matched by the stem of its name, else by the number in it; see :func:`match_names`. A file without
        names, or a source without, keeps the positions.

        Raises
        ------
        ImportProblem
            When the names do not fit; both lists' beginnings are shown.
        """
        if not self.frame_names or not source_names:
            return self
        frames = sorted(self.frame_names)
        names = [self.frame_names[frame] for frame in frames]
        places = match_names(names, source_names)
        if places is None and self.numbered:
            return self
        if places is None:
            raise ImportProblem(
                f"the names of the masks do not fit those of the frames: masks {_beginning(names)}; frames "
                f"{_beginning(source_names)}: name each mask like its frame"
            )
        moved = dict(zip(frames, places, strict=True))
        masklets = {
            i: Masklet(i, masklet.size, {moved[frame]: rle for frame, rle in masklet.masks.items()})
            for i, masklet in self.masklets.items()
        }
        named = {moved[frame]: name for frame, name in self.frame_names.items()}
        return replace(self, n_frames=len(source_names), masklets=masklets, frame_names=named)

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """Ids, names and colours of the objects, in the order of their ids."""
        return tuple(ObjectInfo(i, self.names.get(i, ""), self.colors.get(i)) for i in sorted(self.masklets))

    def prompts(self, on: Literal["all", "first"] = "all", shift: int = 0) -> dict[tuple[int, int], Prompt]:
        """Return the masks as mask prompts, ``{(frame, object_id): Prompt}``, ordered by frame.

        Parameters
        ----------
        on : {"all", "first"}
            Every mask is a prompt, or only the first one of each object.
        shift : int
            Added to each frame index.
        """
        found = [
            (frame + shift, object_id, masklet.masks[frame])
            for object_id, masklet in self.masklets.items()
            for frame in (masklet.frames if on == "all" else masklet.frames[:1])
        ]
        return {
            (frame, object_id): Prompt(mask=MaskPrompt(rle.size, rle.counts))
            for frame, object_id, rle in sorted(found, key=lambda f: f[:2])
        }

    def results(self, **rest: Any) -> TrackingResults:
        """Return the masks as something that can be exported again; ``rest`` goes to :class:`TrackingResults`."""
        return TrackingResults.from_masklets(self.masklets, self.size, self.n_frames, self.objects, **rest)


@dataclass
class Collector:
    """Gather the masks of an import frame by frame.

    Parameters
    ----------
    source : str
        Named in errors.
    """

    source: str
    size: tuple[int, int] | None = None
    masks: dict[int, dict[int, Rle]] = field(default_factory=lambda: defaultdict(dict))

    def add_labels(self, frame: int, labels: NDArray[Any]) -> None:
        """Add a label image (H, W); pixels that are not zero belong to the object with that id."""
        self._check(frame, labels)
        boxes: list[Any] = find_objects(labels.astype(np.int64, copy=False))  # None for unused ids
        for index, box in enumerate(boxes):
            if box is None:
                continue
            mask = np.zeros(labels.shape, bool)
            mask[box] = labels[box] == index + 1
            self.masks[index + 1][frame] = encode_rle(mask)

    def add(self, frame: int, object_id: int, rle: Rle) -> None:
        """Add one mask; two masks of one object on one frame are united."""
        self._same_size(frame, rle.size)
        earlier = self.masks[object_id].get(frame)
        self.masks[object_id][frame] = rle if earlier is None else encode_rle(earlier.decode() | rle.decode())

    def finished(
        self,
        n_frames: int,
        names: Mapping[int, str] | None = None,
        colors: Mapping[int, Color] | None = None,
        frame_names: Mapping[int, str] | None = None,
        numbered: bool = False,
    ) -> ImportedMasks:
        """Return what was gathered; an import without a single frame is an error."""
        if self.size is None:
            raise ImportProblem(f"{self.source} has no frames: nothing can be imported from it")
        masklets = {i: Masklet(i, self.size, dict(found)) for i, found in sorted(self.masks.items())}
        return ImportedMasks(
            self.size, n_frames, masklets, names or {}, colors or {}, frame_names or {}, numbered
        )

    def _check(self, frame: int, labels: NDArray[Any]) -> None:
        if labels.ndim != 2:
            raise ImportProblem(
                f"{self.source}: a label image has two axes (height, width), frame {frame} has shape "
                f"{labels.shape}: colours are not labels, save it as a label or palette image"
            )
        if labels.dtype.kind not in "iub":
            raise ImportProblem(
                f"{self.source}: labels are whole numbers, not {labels.dtype}: convert the image to integers"
            )
        if labels.size and (labels.min() < 0 or labels.max() > 2**16 - 1):
            raise ImportProblem(
                f"{self.source}: labels must lie between 0 and 65535, frame {frame} has {labels.min()} to "
                f"{labels.max()}"
            )
        self._same_size(frame, (labels.shape[0], labels.shape[1]))

    def _same_size(self, frame: int, size: tuple[int, int]) -> None:
        if self.size is None:
            if min(size) < 1:
                raise ImportProblem(f"{self.source}: frame {frame} has no pixels, its size is {size}")
            self.size = size
        elif size != self.size:
            raise ImportProblem(
                f"{self.source}: frame {frame} is {size[0]} × {size[1]} pixels, the ones before are "
                f"{self.size[0]} × {self.size[1]}"
            )


def check_object_id(object_id: Any, source: str) -> int:
    """Return a valid object id; ImportProblem when it is not a whole number from 1 to 65535."""
    if isinstance(object_id, bool) or not isinstance(object_id, int) or not 1 <= object_id <= 2**16 - 1:
        raise ImportProblem(
            f"{source}: object ids are whole numbers from 1 to 65535, this one is {object_id!r}"
        )
    return object_id


def frame_numbers(stems: Iterable[str]) -> list[int] | None:
    """Return the number that each file name ends in; None when they are not all numbered and different."""
    numbers = []
    for stem in stems:
        digits = stem[len(stem.rstrip("0123456789")) :]
        if not digits or len(digits) > 9:
            return None
        numbers.append(int(digits))
    return numbers if len(set(numbers)) == len(numbers) else None


def frames_of_files(files: Sequence[Path]) -> list[int]:
    """Return the frame of each image of a folder: its place in a series without gaps, otherwise its number.

    Series begin at 0 or at 1 and both mean the first frame; where only some frames were annotated, the
    number in the name is all that says which.
    """
    numbers = frame_numbers(f.stem for f in files)
    if numbers is None:
        return list(range(len(files)))
    if len(files) > 1 and max(numbers) - min(numbers) == len(files) - 1:
        return [n - min(numbers) for n in numbers]
    return numbers


def match_names(names: Sequence[str], source_names: Sequence[str]) -> list[int] | None:
    """Return the place of each name among the names of a source's frames; None when they do not fit.

    By the stems of the names; else by the numbers in them; else, where both are series without gaps and equally long
    (one begins at 0, the other at 1), by order.
    """
    stems, source_stems = ([Path(n).stem.casefold() for n in given] for given in (names, source_names))
    numbers, source_numbers = _varying_numbers(stems), _varying_numbers(source_stems)
    for keys, source_keys in ((stems, source_stems), (numbers, source_numbers)):
        if keys is None or source_keys is None:
            continue
        places = {key: place for place, key in enumerate(source_keys)}
        if len(places) == len(source_keys) and len(set(keys)) == len(keys) and all(k in places for k in keys):
            return [places[key] for key in keys]
    if numbers and source_numbers and len(numbers) == len(source_numbers) > 1:
        gapless = all(max(n) - min(n) == len(set(n)) - 1 == len(n) - 1 for n in (numbers, source_numbers))
        if gapless and sorted(source_numbers) == source_numbers:
            return [number - min(numbers) for number in numbers]
    return None


def _varying_numbers(stems: Sequence[str]) -> list[int] | None:
    """Return the number in each stem: the one that varies, or else the last; None where a stem has none."""
    found = [re.findall(r"[0-9]{1,18}", stem) for stem in stems]
    if not found or not all(found):
        return None
    counts = {len(numbers) for numbers in found}
    if len(counts) == 1:
        columns = [[int(numbers[k]) for numbers in found] for k in range(counts.pop())]
        varying = [column for column in columns if len(set(column)) == len(column)]
        if varying:
            return varying[-1]
    return [int(numbers[-1]) for numbers in found]


def _beginning(names: Sequence[str]) -> str:
    shown = ", ".join(Path(name).name for name in names[:3])
    return f"{shown}, …" if len(names) > 3 else shown
