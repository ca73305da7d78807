"""Imported masks of objects through time, to be used as prompts or as finished masklets."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.errors import one_line
from napari_sam2.frames.open_source import natural_key
from napari_sam2.masks import Masklet, Rle, encode_rle
from napari_sam2.objects import MAX_OBJECT_ID, Color, ObjectInfo, Parent
from napari_sam2.prompts import BoxPrompt, MaskPrompt, Prompt

MOST_FRAMES = 10_000_000


class ImportNotice(UserWarning):
    """Something in a file was changed so that it could be imported; the message says what."""


class ImportProblem(ValueError):
    """A file can't be read as masks; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


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
    boxes : mapping of int to mapping of int to BoxPrompt
        Boxes of objects that have no mask on a frame, by object id and frame.
    frame_names : mapping of int to str
        Name of the image of each frame, where the file has names.
    parents : mapping of int to Parent
        Parents of the objects that have one, by id.
    numbered : bool
        Whether the file's numbers are frame indices by definition (COCO's ``frame_index``, the images of the Cell
        Tracking Challenge), and hold where the names differ from the source's.
    """

    size: tuple[int, int]
    n_frames: int
    masklets: Mapping[int, Masklet]
    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, Color] = field(default_factory=dict)
    boxes: Mapping[int, Mapping[int, BoxPrompt]] = field(default_factory=dict)
    frame_names: Mapping[int, str] = field(default_factory=dict)
    numbered: bool = False
    parents: Mapping[int, Parent] = field(default_factory=dict)

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
        boxes = {i: {moved[frame]: box for frame, box in found.items()} for i, found in self.boxes.items()}
        named = {moved[frame]: name for frame, name in self.frame_names.items()}
        parents = {i: replace(p, frame=moved.get(p.frame, p.frame)) for i, p in self.parents.items()}
        return replace(
            self,
            n_frames=len(source_names),
            masklets=masklets,
            boxes=boxes,
            frame_names=named,
            parents=parents,
        )

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """Ids, names and colours of the objects, in the order of their ids."""
        return tuple(
            ObjectInfo(i, self.names.get(i, ""), self.colors.get(i), parent=self.parents.get(i))
            for i in sorted(self.masklets)
        )

    def prompts(self, on: Literal["all", "first"] = "all", shift: int = 0) -> dict[tuple[int, int], Prompt]:
        """Return the masks and boxes as prompts, ``{(frame, object_id): Prompt}``, ordered by frame.

        Parameters
        ----------
        on : {"all", "first"}
            Everything is a prompt, or only what comes first of each object.
        shift : int
            Added to each frame index.
        """
        found: dict[tuple[int, int], Prompt] = {}
        for object_id in {*self.masklets, *self.boxes}:
            prompts = {frame: Prompt(box=box) for frame, box in self.boxes.get(object_id, {}).items()}
            masks = self.masklets[object_id].masks if object_id in self.masklets else {}
            prompts |= {frame: Prompt(mask=MaskPrompt(rle.size, rle.counts)) for frame, rle in masks.items()}
            for frame in sorted(prompts)[: None if on == "all" else 1]:
                found[frame + shift, object_id] = prompts[frame]
        return dict(sorted(found.items()))

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
    boxes: dict[int, dict[int, BoxPrompt]] = field(default_factory=lambda: defaultdict(dict))
    notices: list[str] = field(default_factory=list)

    def add_labels(self, frame: int, labels: NDArray[Any]) -> None:
        """Add a label image (H, W); pixels above zero belong to the object with that id.

        Negative labels ("ignore" in several programs) and NaN are background; floats must be whole numbers.
        """
        labels = self._whole_numbers(frame, labels)
        ids: NDArray[Any] | None = None
        if labels.size and labels.max() > MAX_OBJECT_ID:
            ids, inverse = np.unique(labels, return_inverse=True)
            labels = inverse.reshape(labels.shape)
        boxes: list[Any] = find_objects(labels)  # None for unused ids
        for index, box in enumerate(boxes, 1):
            if box is None:
                continue
            mask = np.zeros(labels.shape, bool)
            mask[box] = labels[box] == index
            self.masks[index if ids is None else int(ids[index])][frame] = encode_rle(mask)

    def add(self, frame: int, object_id: int, rle: Rle) -> None:
        """Add one mask; two masks of one object on one frame are united."""
        self._same_size(frame, rle.size)
        earlier = self.masks[object_id].get(frame)
        self.masks[object_id][frame] = rle if earlier is None else encode_rle(earlier.decode() | rle.decode())

    def add_box(self, frame: int, object_id: int, box: BoxPrompt, size: tuple[int, int]) -> None:
        """Add a box of an object; a mask on the same frame goes before it."""
        self._same_size(frame, size)
        self.boxes[object_id][frame] = box

    def finished(
        self,
        n_frames: int,
        names: Mapping[int, str] | None = None,
        colors: Mapping[int, Color] | None = None,
        frame_names: Mapping[int, str] | None = None,
        numbered: bool = False,
    ) -> ImportedMasks:
        """Return what was gathered, with ids that are label values; an import without a single frame is an error."""
        if self.size is None:
            raise ImportProblem(f"{self.source} has no frames: nothing can be imported from it")
        check_frame_count(n_frames, self.source)
        new = new_ids(sorted({*self.masks, *self.boxes}), self.source)
        changed = {old: i for old, i in new.items() if old != i}
        if changed:
            self._notice(renumbering(changed))
        masklets = {new[i]: Masklet(new[i], self.size, dict(found)) for i, found in self.masks.items()}
        return ImportedMasks(
            self.size,
            n_frames,
            dict(sorted(masklets.items())),
            {new.get(i, i): name for i, name in (names or {}).items()},
            {new.get(i, i): color for i, color in (colors or {}).items()},
            {new[i]: dict(found) for i, found in sorted(self.boxes.items())},
            frame_names or {},
            numbered,
        )

    def _whole_numbers(self, frame: int, labels: NDArray[Any]) -> NDArray[np.int64]:
        if labels.ndim != 2:
            raise ImportProblem(
                f"{self.source}: a label image has two axes (height, width), frame {frame} has shape "
                f"{labels.shape}: colours are not labels, save it as a label or palette image"
            )
        if labels.dtype.kind not in "iubf":
            raise ImportProblem(f"{self.source}: labels are whole numbers, not {labels.dtype}")
        self._same_size(frame, (labels.shape[0], labels.shape[1]))
        if labels.dtype.kind == "f":
            labels = np.nan_to_num(labels, nan=0.0)
            if not (labels == np.round(labels)).all() or np.abs(labels).max(initial=0) > 2**53:
                raise ImportProblem(
                    f"{self.source}: labels are whole numbers, frame {frame} has others: threshold or label the image "
                    "first"
                )
        if labels.dtype == np.uint64 and labels.size and labels.max() > 2**63 - 1:
            raise ImportProblem(
                f"{self.source}: frame {frame} has the label {labels.max()}: number the objects anew"
            )
        whole = labels.astype(np.int64)
        if whole.size and whole.min() < 0:
            self._notice("negative labels are background")
            whole = np.maximum(whole, 0)
        return whole

    def _notice(self, message: str) -> None:
        if message not in self.notices:
            self.notices.append(message)
            warnings.warn(f"{self.source}: {message}", ImportNotice, stacklevel=4)

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


def check_frame_count(n_frames: int, source: str) -> None:
    """Raise ImportProblem when there are more frames than any recording has; what follows would take days."""
    if n_frames > MOST_FRAMES:
        raise ImportProblem(
            f"{source} has a frame {n_frames - 1}, but frames are read up to {MOST_FRAMES - 1}: are the numbers those "
            "of frames?"
        )


def new_ids(ids: Sequence[int], source: str, taken: Iterable[int] = ()) -> dict[int, int]:
    """Return an object id for each id of a source: itself, or the lowest unused one if it is no label value.

    Parameters
    ----------
    ids : sequence of int
        Ids of the source.
    source : str
        Named in the error.
    taken : iterable of int, optional
        Ids of other objects, which are not given away.

    Raises
    ------
    ImportProblem
        When there are more than ``MAX_OBJECT_ID``.
    """
    if len(ids) > MAX_OBJECT_ID:
        raise ImportProblem(f"{source} has {len(ids)} objects: {MAX_OBJECT_ID} is the most")
    new = {i: i for i in ids}
    used = {*new, *taken}
    unused = (i for i in range(1, MAX_OBJECT_ID + 1) if i not in used)
    wrong = [i for i in ids if not 1 <= i <= MAX_OBJECT_ID]
    return new | dict(zip(wrong, unused))


def renumbering(changed: Mapping[int, int]) -> str:
    """Return the notice for ids that were changed, old to new."""
    shown = ", ".join(f"{old} → {new}" for old, new in list(changed.items())[:5])
    more = ", …" if len(changed) > 5 else ""
    return f"object ids are 1 to {MAX_OBJECT_ID}, so others were renumbered ({shown}{more})"


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

    Series begin at 0 or at 1 and both mean the first frame; where only some frames were annotated, the number in the
    name (at its end, or the one that varies) is all that says which. Other names are in their natural order.
    """
    stems = [file.stem for file in files]
    numbers = frame_numbers(stems) or _varying_numbers(stems)
    if numbers is None or len(set(numbers)) < len(numbers) or max(numbers) >= 10**9:
        order = {name: k for k, name in enumerate(sorted((f.name for f in files), key=natural_key))}
        return [order[file.name] for file in files]
    if len(files) > 1 and max(numbers) - min(numbers) == len(files) - 1:
        return [n - min(numbers) for n in numbers]
    return numbers


def match_names(names: Sequence[str], source_names: Sequence[str]) -> list[int] | None:
    """Return the place of each name among the names of a source's frames; None when they do not fit.

    By the stems of the names; else by the source's stem inside of a longer one (``f006`` in ``f006_cp_masks``); else by
    the numbers that vary among the source's names; else, where both are series without gaps and equally long (one
    begins at 0, the other at 1), by order.
    """
    stems, source_stems = ([Path(n).stem.casefold() for n in given] for given in (names, source_names))
    places = {stem: place for place, stem in enumerate(source_stems)}
    if len(places) == len(source_stems):
        for found in ([places.get(stem) for stem in stems], [_contained(stem, places) for stem in stems]):
            exact = [place for place in found if place is not None]
            if len(set(exact)) == len(stems):
                return exact
    matched = _matched_numbers(stems, source_stems)
    if matched is not None:
        return matched
    numbers, source_numbers = _varying_numbers(stems), _varying_numbers(source_stems)
    if numbers and source_numbers and len(numbers) == len(source_numbers) > 1:
        gapless = all(max(n) - min(n) == len(set(n)) - 1 == len(n) - 1 for n in (numbers, source_numbers))
        if gapless and sorted(source_numbers) == source_numbers:
            return [number - min(numbers) for number in numbers]
    return None


def _contained(stem: str, places: Mapping[str, int]) -> int | None:
    """Return the place of the only, or longest, stem that is a part of another one between separators."""
    ends = [0, *(m.start() for m in re.finditer(r"[^a-z0-9]", stem)), len(stem)]
    begins = [0, *(m.end() for m in re.finditer(r"[^a-z0-9]", stem))]
    parts = {stem[a:b] for a in begins for b in ends if a < b and stem[a:b] in places}
    longest = [part for part in parts if len(part) == max(map(len, parts))]
    return places[longest[0]] if len(longest) == 1 else None


def _matched_numbers(stems: Sequence[str], source_stems: Sequence[str]) -> list[int] | None:
    """Match by the numbers that vary among the source's names, at the same places in names of as many numbers.

    In names of another number of numbers one must vary, and be a frame's, and only one.
    """
    rows, source_rows = ([_numbers(stem) for stem in given] for given in (stems, source_stems))
    width = len(source_rows[0])
    if width == 0 or any(len(row) != width for row in source_rows):
        source_rows, width = [row[-1:] for row in source_rows], 1
    varying = [k for k in range(width) if len({row[k:] and row[k] for row in source_rows}) > 1] or [width - 1]
    places = {tuple(row[k] for k in varying if row): place for place, row in enumerate(source_rows)}
    if len(places) < len(source_rows) or () in places:
        return None
    if all(len(row) == width for row in rows):
        candidates = [[tuple(row[k] for k in varying) for row in rows]]
    else:
        shortest = min(map(len, rows))
        candidates = [[(row[k],) for row in rows] for k in range(shortest) if len(varying) == 1]
    fitting = [
        [places[key] for key in keys]
        for keys in candidates
        if len(set(keys)) == len(keys) and {*keys} <= {*places}
    ]
    return fitting[0] if len(fitting) == 1 else None


def _numbers(stem: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,18}", stem))


def _varying_numbers(stems: Sequence[str]) -> list[int] | None:
    """Return the number in each stem: the one that varies, or else the last; None where a stem has none."""
    found = [_numbers(stem) for stem in stems]
    if not found or not all(found):
        return None
    counts = {len(numbers) for numbers in found}
    if len(counts) == 1:
        columns = [[numbers[k] for numbers in found] for k in range(counts.pop())]
        varying = [column for column in columns if len(set(column)) == len(column)]
        if varying:
            return varying[-1]
    return [numbers[-1] for numbers in found]


def _beginning(names: Sequence[str]) -> str:
    shown = ", ".join(Path(name).name for name in names[:3])
    return f"{shown}, …" if len(names) > 3 else shown
