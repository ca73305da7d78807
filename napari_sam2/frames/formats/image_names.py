"""Arrangement of image files by their names: frames, planes and channels."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_sam2.frames.errors import PartialSourceWarning, SourceError
from napari_sam2.frames.source import chosen_series

# Words in front of a number, as microscopes name their files: img_t001_z03_c1.tif, run_w2_s1_t5.tif
_LETTERS = {"t": "t", "time": "t", "frame": "t", "z": "z", "c": "c", "ch": "c", "channel": "c", "w": "c"}
# Words in front of the number of a stage position: run_s1_t5.tif, img_position003_time000.tif
_POSITIONS = frozenset("s stage pos position xy f fld field site series scene tile well".split())
_WELL = re.compile(r"(?<![A-Za-z0-9])[A-P][0-9]{2}(?![0-9])")
_MASK_WORDS = ("mask", "label", "seg", "annot", "outline", "_gt")
_MOST_GROUPS = 8


@dataclass(frozen=True)
class FileGrid:
    """Files along axes, the last axis fastest.

    Attributes
    ----------
    files : tuple of str
        ``math.prod(shape)`` paths.
    shape : tuple of int
        Number of files along each axis.
    axes : tuple of str
        A letter for each axis; the first is the frame axis.
    channel_names : tuple of str
        What tells the files of the channels apart.
    series : tuple of str
        Names of all stage positions, where one of several was chosen.
    """

    files: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    channel_names: tuple[str, ...] = ()
    series: tuple[str, ...] = ()


def by_position(files: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each stage position or well, by what their names say of it; empty where they name none.

    A single letter (``f001``, ``s1``) counts as a position only in names with a time or a wavelength besides.
    """
    found: dict[str, list[str]] = {}
    others: set[tuple[int, ...]] = set()
    for file in files:
        stem = os.path.splitext(os.path.basename(file))[0]
        numbers = [
            (word.casefold(), int(n)) for word, n in re.findall(r"([A-Za-z]*)[_\- ]?([0-9]{1,18})", stem)
        ]
        words = {word for word, _ in numbers}
        named = [
            (word, n)
            for word, n in numbers
            if word in _POSITIONS and (len(word) > 1 or words & {"t", "time", "w"})
        ]
        if not named:
            return {}
        wells = _WELL.findall(stem)
        found.setdefault(" ".join([*wells, *(f"{word}{n}" for word, n in named)]), []).append(file)
        others.add(tuple(n for word, n in numbers if (word, n) not in named))
    return found if len(found) > 1 and len(found) < len(files) and len(others) > 1 else {}


def arranged(groups: Sequence[Sequence[str]], source: str, series: int | str | None = None) -> FileGrid:
    """Arrange images by their names.

    Parameters
    ----------
    groups : sequence of sequence of str
        Files in the order of the frames: one group, or one for each channel.
    source : str
        Named in messages.
    series : int or str, optional
        Number or name of the stage position that is read, where the names tell several; by default the first.

    Raises
    ------
    SourceError
        If the channels have different numbers of files, or there is no such position.

    Warns
    -----
    PartialSourceWarning
        If files are left out, or the names hold several series that do not belong together.
    """
    positions = by_position([file for group in groups for file in group])
    if series is not None and not positions:
        raise SourceError(f"{source} holds one series: there is no series {series!r}.")
    if positions:
        names = tuple(positions)
        chosen = set(positions[names[chosen_series(names, series, source)]])
        return replace(
            arranged([[f for f in group if f in chosen] for group in groups], source), series=names
        )
    if len(groups) > 1:
        return _channels([list(group) for group in groups], source)
    files = list(groups[0])
    if _are_channels(files):
        return _channels([[file] for file in files], source)
    by_name: dict[str, list[str]] = {}
    for file in files:
        by_name.setdefault(re.sub(r"[0-9]+", "#", os.path.basename(file)), []).append(file)
    series_of_names = {name: found for name, found in by_name.items() if len(found) > 1}
    if len(by_name) == 1:
        return _numbered(files) or FileGrid(tuple(files), (len(files),), ("t",))
    if len(series_of_names) != len(by_name) or len(by_name) > _MOST_GROUPS:
        _warn_of_odd_names(by_name, source)
        return FileGrid(tuple(files), (len(files),), ("t",))
    return _several(series_of_names, files, source)


def _are_channels(files: Sequence[str]) -> bool:
    """Return whether a few files are one frame in several wavelengths: exp_w1DAPI.tif, exp_w2GFP.tif."""
    stems = [os.path.splitext(os.path.basename(file))[0] for file in files]
    found = [
        re.findall(r"(?<![A-Za-z])(?:w|ch|channel)[_\- ]?([0-9]+)", stem, re.IGNORECASE) for stem in stems
    ]
    if not 1 < len(files) <= _MOST_GROUPS or any(len(numbers) != 1 for numbers in found):
        return False
    rests = {
        re.sub(r"(?<![A-Za-z])(w|ch|channel)[_\- ]?[0-9]+[A-Za-z]*", "", s, flags=re.IGNORECASE)
        for s in stems
    }
    return len({numbers[0] for numbers in found}) == len(files) and len(rests) == 1


def _warn_of_odd_names(by_name: dict[str, list[str]], source: str) -> None:
    """Warn where nearly all files are numbered alike and a few are not: a preview or background is no frame."""
    usual = max(by_name, key=lambda name: len(by_name[name]))
    odd = [os.path.basename(file) for name, found in by_name.items() if name != usual for file in found]
    if len(by_name[usual]) >= 3 * len(odd):
        shown = ", ".join(odd[:3]) + (", …" if len(odd) > 3 else "")
        _warn(
            f"{source} holds {shown} beside {len(by_name[usual])} images like {usual}; all are read as frames, name a "
            "pattern to leave them out."
        )


def _several(series: dict[str, list[str]], files: list[str], source: str) -> FileGrid:
    kept = {
        name: found for name, found in series.items() if not any(w in name.casefold() for w in _MASK_WORDS)
    }
    shown = ", ".join(f"{name} ({len(found)})" for name, found in series.items())
    if kept and len(kept) < len(series):
        left = ", ".join(name for name in series if name not in kept)
        _warn(f"{source} holds several series of names ({shown}); {left} is taken for masks and left out.")
    kept = kept or series
    alike = len({_varying(found) for found in kept.values()}) == 1
    endings = {os.path.splitext(name)[1].casefold() for name in kept}
    if len(kept) == 1:
        return arranged(list(kept.values()), source)
    if alike and len(endings) == 1:
        grid = _channels(list(kept.values()), source)
        _warn(
            f"{source} holds {len(kept)} images for each frame, read as channels {', '.join(grid.channel_names)}; "
            "name a pattern to read fewer."
        )
        return grid
    if alike and len({os.path.splitext(name)[0] for name in kept}) == 1:
        first = next(iter(kept))
        _warn(f"{source} holds the same names with several endings ({shown}); {first} is read.")
        return arranged([kept[first]], source)
    _warn(
        f"{source} holds several series of names ({shown}), read as one; name a pattern to read one of them."
    )
    return FileGrid(tuple(files), (len(files),), ("t",))


def _channels(groups: list[list[str]], source: str) -> FileGrid:
    counts = {len(group) for group in groups}
    if len(counts) > 1:
        shown = ", ".join(f"{os.path.basename(group[0])} … ({len(group)})" for group in groups if group)
        raise SourceError(f"The channels of {source} have different numbers of files: {shown}.")
    files = tuple(group[t] for t in range(counts.pop()) for group in groups)
    return FileGrid(files, (len(groups[0]), len(groups)), ("t", "c"), _differences([g[0] for g in groups]))


def _differences(files: Sequence[str]) -> tuple[str, ...]:
    """Return what tells names apart: the words that not all of them share."""
    words = [re.findall(r"[A-Za-z0-9]+", os.path.splitext(os.path.basename(file))[0]) for file in files]
    shared = set(words[0]).intersection(*words[1:])
    names = tuple(" ".join(w for w in found if w not in shared) for found in words)
    return names if all(names) and len(set(names)) == len(names) else tuple(map(str, range(len(files))))


def _varying(files: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return the numbers in the names of files without those that all of them share, such as that of a channel."""
    columns = zip(*(_numbers(file) for file in files), strict=True)
    return tuple(zip(*(column for column in columns if len(set(column)) > 1), strict=True))


def _numbers(file: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", os.path.basename(file)))


def _numbered(files: list[str]) -> FileGrid | None:
    """Arrange files of one pattern in which several numbers vary and form a full grid; None where they do not."""
    rows = [_numbers(file) for file in files]
    words = re.findall(r"([A-Za-z]*)[_\- ]?[0-9]+", os.path.basename(files[0]))
    varying = [k for k in range(len(rows[0])) if len({row[k] for row in rows}) > 1]
    letters = [_LETTERS.get(words[k].casefold(), "") if k < len(words) else "" for k in varying]
    if len(varying) < 2 or letters.count("") > 1 or not any(letter in ("c", "z") for letter in letters):
        return None
    letters = [letter or "t" for letter in letters]
    if len(set(letters)) < len(letters):
        return None
    order = sorted(range(len(varying)), key=lambda i: "tzc".index(letters[i]))
    values = [sorted({row[varying[i]] for row in rows}) for i in order]
    places = {tuple(row[varying[i]] for i in order): file for row, file in zip(rows, files, strict=True)}
    shape = tuple(len(v) for v in values)
    if math.prod(shape) != len(files) or len(places) != len(files):
        return None
    names = tuple(f"channel{v}" for v in values[-1]) if letters[order[-1]] == "c" else ()
    return FileGrid(
        tuple(places[key] for key in sorted(places)), shape, tuple(letters[i] for i in order), names
    )


def _warn(message: str) -> None:
    warnings.warn(message, PartialSourceWarning, stacklevel=7)
