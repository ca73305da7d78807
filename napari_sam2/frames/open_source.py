"""Open a recording of any kind by its path."""

from __future__ import annotations

import glob
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from napari_sam2.frames.errors import PartialSourceWarning, SourceError
from napari_sam2.frames.extensions import IMAGE_ENDINGS, TIFF_ENDINGS, VIDEO_ENDINGS, ZARR_ENDINGS
from napari_sam2.frames.source import Source

# A pattern such as /**/*.png would search the whole disk.
_MOST_FILES, _MOST_SECONDS = 1_000_000, 60.0


def open_source(
    path: str | os.PathLike[str], *, axes: str | None = None, series: int | str | None = None
) -> Source:
    """Open a recording by path; pixels are read later, frame by frame.

    Parameters
    ----------
    path : str or path-like
        A video; a TIFF (also OME-TIFF, ImageJ); an OME-Zarr or zarr folder; an npy file, or an array
        of an npz file; a folder of images, a pattern
        such as ``"run1/*.png"`` (``"run1/*{DAPI,GFP}*.tif"`` reads a channel for each word) or a single image. Images
        are ordered by the numbers in their names (2 before 10).
    axes : str, optional
        What the axes are, a letter each (``"tzyx"``, ``"tcyx"``, ``"zyx"``, ``"tyxs"`` with RGB samples), where the
        file does not say so or is wrong.
    series : int or str, optional
        Number or name of one image of a file that holds several (stage positions, wells). None: the first or largest,
        with a warning.

    Returns
    -------
    Source

    Raises
    ------
    SourceError
        If the path can't be opened; it says why.

    Warns
    -----
    DamagedSourceWarning
        If the file is truncated or damaged, and what of it is readable.
    """
    name = os.path.expanduser(os.fspath(path))
    opener = _opener(name, series)
    try:
        return opener(_axes_letters(axes))
    except (SourceError, Warning):
        raise
    except PermissionError as error:
        raise SourceError(f"{name} can't be read: permission denied.") from error
    except Exception as error:  # there is nothing that readers do not raise on a damaged file
        raise SourceError(
            f"{name} can't be read ({error or type(error).__name__}); is the file damaged?"
        ) from error


def image_files(
    path: str | os.PathLike[str], every_channel: bool = False, series: int | str | None = None
) -> tuple[str, ...]:
    """Return the images that a folder or a pattern names, in the order of the frames; empty for anything else.

    Of several files for each frame the first channel's, unless ``every_channel``.
    """
    name = os.path.expanduser(os.fspath(path))
    if (
        os.path.isdir(name)
        and not name.lower().rstrip("/\\").endswith(ZARR_ENDINGS)
        and not _is_zarr(Path(name))
    ):
        groups = [_images_in(name)]
    elif not os.path.exists(name) and (glob.has_magic(name) or _alternatives(name) != [name]):
        groups = _matching(name)
    else:
        return ()
    if every_channel:
        return tuple(file for group in groups for file in group)
    from napari_sam2.frames.formats.image_names import arranged

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartialSourceWarning)
        grid = arranged(groups, name, series)
    return grid.files[:: len(grid.files) // grid.shape[0]] if grid.files else ()


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    parts = re.split(r"([0-9]+)", name.casefold())
    # re.split puts the numbers on the odd places
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part], name


def _opener(name: str, series: int | str | None) -> Callable[[tuple[str, ...] | None], Source]:
    lower = name.lower().rstrip("/\\")
    if not os.path.exists(name):
        if glob.has_magic(name) or _alternatives(name) != [name]:
            return lambda axes: _images(_matching(name), name, axes, series)
        raise SourceError(f"{name} does not exist; check the path.")
    if os.path.isdir(name):
        if lower.endswith(ZARR_ENDINGS) or _is_zarr(Path(name)):
            return lambda axes: _zarr(name, axes, series)
        return lambda axes: _images([_images_in(name)], name, axes, series)
    if not os.path.isfile(name):
        raise SourceError(f"{name} is neither a file nor a folder.")
    if lower.endswith((".zip", ".ozx")):
        return lambda axes: _zarr(name, axes, series)
    if lower.endswith(".npy"):
        return lambda axes: _npy(name, axes)
    if lower.endswith(".npz"):
        return lambda axes: _npz(name, axes, series)
    if lower.endswith(TIFF_ENDINGS):
        return lambda axes: _tiff(name, axes, series)
    if lower.endswith(IMAGE_ENDINGS):
        return lambda axes: _images([[name]], name, axes, series)
    # Anything else is offered to ffmpeg, which knows more endings than we do.
    return lambda axes: _video(name, axes)


def _axes_letters(axes: str | None) -> tuple[str, ...] | None:
    if axes is None:
        return None
    letters = tuple(axes.lower())
    if (
        len(set(letters)) < len(letters)
        or not {"y", "x"} <= set(letters)
        or not all(map(str.isalpha, letters))
    ):
        raise SourceError(
            f"axes must be different letters with y and x among them, such as 'tyx', not {axes!r}."
        )
    if "s" in letters and letters[-1] != "s":
        raise SourceError(f"RGB samples (s) must be the last axis, not as in {axes!r}; name channels c.")
    return letters


def _images_in(folder: str) -> list[str]:
    names = [
        entry.name
        for entry in os.scandir(folder)
        if not entry.name.startswith(".") and entry.name.lower().endswith((*IMAGE_ENDINGS, *TIFF_ENDINGS))
    ]
    if not names:
        known = " ".join((*IMAGE_ENDINGS, *TIFF_ENDINGS))
        raise SourceError(f"The folder {folder} holds no images ({known}); name a file or a pattern.")
    return [os.path.join(folder, name) for name in sorted(names, key=natural_key)]


def _alternatives(pattern: str) -> list[str]:
    """Expand the first ``{a,b}`` of a pattern, as a shell does."""
    braces = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [before + part + after for part in braces.group(1).split(",")]


def _matching(pattern: str) -> list[list[str]]:
    """Return the files of each alternative of a pattern; ``*{DAPI,GFP}*.tif`` has two, which become channels."""
    return [_files(alternative) for alternative in _alternatives(pattern)]


def _files(pattern: str) -> list[str]:
    end = time.monotonic() + _MOST_SECONDS
    found: list[str] = []
    for place in _without_stars(pattern):
        found += glob.glob(place)
        if len(found) > _MOST_FILES or time.monotonic() > end:
            raise SourceError(f"{pattern} matches too many files or folders; name the folder more exactly.")
    return sorted(dict.fromkeys(found), key=natural_key)


def _without_stars(pattern: str) -> Iterator[str]:
    """Yield a pattern with each folder that its ``**`` stands for, one by one, so that a long search can be ended."""
    parts = pattern.replace(os.altsep, os.sep).split(os.sep) if os.altsep else pattern.split(os.sep)
    if "**" not in parts:
        yield pattern
        return
    place = parts.index("**")
    base, rest = os.sep.join(parts[:place]), os.sep.join(parts[place + 1 :]) or "*"
    for top in glob.iglob(base + os.sep) if place else [os.curdir]:
        for folder, inner, _ in os.walk(top):
            inner[:] = [name for name in inner if not name.startswith(".")]
            yield from _without_stars(os.path.join(glob.escape(folder), rest))


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def _images(
    groups: Sequence[Sequence[str]], name: str, axes: tuple[str, ...] | None, series: int | str | None
) -> Source:
    from napari_sam2.frames.formats.image_sequence import open_images

    if not all(groups):
        raise SourceError(f"No file matches {name}.")
    if len(groups) == len(groups[0]) == 1 and groups[0][0].lower().endswith(TIFF_ENDINGS):
        return _tiff(groups[0][0], axes, series)
    return open_images(groups, name, axes, series)


def _tiff(name: str, axes: tuple[str, ...] | None, series: int | str | None) -> Source:
    from napari_sam2.frames.formats.tiff import open_tiff

    return open_tiff(name, axes, series)


def _zarr(name: str, axes: tuple[str, ...] | None, series: int | str | None) -> Source:
    from napari_sam2.frames.formats.zarr_arrays import open_zarr

    return open_zarr(name, axes, series)


def _npy(name: str, axes: tuple[str, ...] | None) -> Source:
    from napari_sam2.frames.formats.npy import open_npy

    return open_npy(name, axes)


def _npz(name: str, axes: tuple[str, ...] | None, series: int | str | None) -> Source:
    from napari_sam2.frames.formats.npy import open_npz

    return open_npz(name, axes, series)


def _video(name: str, axes: tuple[str, ...] | None) -> Source:
    from napari_sam2.frames.video.reader import open_video

    try:
        return open_video(name, axes)
    except SourceError as error:
        if name.lower().endswith(VIDEO_ENDINGS):
            raise
        raise SourceError(
            f"{name} is neither a video nor a TIFF, an image, a zarr folder or an npy file that can be read."
        ) from error
