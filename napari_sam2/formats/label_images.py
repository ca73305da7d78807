"""Label stacks: TIFF, OME-TIFF, OME-Zarr, zarr, npy, and folders of label images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_sam2.formats.imported_masks import Collector, ImportedMasks, ImportProblem, frames_of_files
from napari_sam2.frames.formats.tiff import TiffPlanes
from napari_sam2.frames.formats.zarr_arrays import check_codecs, named_axes, open_store
from napari_sam2.frames.source import chosen_series, plane_order, take_plane
from napari_sam2.objects import Color

_IMAGE_SUFFIXES = (".tif", ".tiff", ".png")


def read_label_stack(path: Path, series: int | str | None = None) -> ImportedMasks:
    """Read a label stack (T or Z, Y, X), or a single label image (Y, X) as one frame.

    TIFF, OME-TIFF, zarr, OME-Zarr (level 0; of an image with labels those), npy, PNG, or
    a folder of label images in the order of their numbers. Axes of length 1 are ignored. Read frame by
    frame. Of a TIFF or OME-Zarr with several label images, ``series`` chooses one by its number or name.

    Raises
    ------
    ImportProblem
        When the file can't be read, has other axes, or holds anything but whole numbers.
    """
    path = Path(path)
    with readable(path):
        if path.is_dir() and not is_zarr(path):
            return _read_folder(path)
        if path.is_dir() or path.suffix.lower() in (".zip", ".ozx"):
            return _read_zarr(path, series)
        if path.suffix.lower() == ".npy":
            return _read_array(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
        if path.suffix.lower() == ".png":
            collector = Collector(str(path))
            collector.add_labels(0, read_label_image(path))
            return collector.finished(1, frame_names={0: path.name}, numbered=True)
        return _read_tiff(path, series)


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a zarr array or group (version 2 or 3)."""
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup", ".zattrs"))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises about a damaged file into one ImportProblem."""
    try:
        yield
    except ImportProblem:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise
        # Readers of damaged files raise nearly everything: struct.error, zlib.error, KeyError,
        # TiffFileError ...
        reason = str(error) or type(error).__name__
        raise ImportProblem(
            f"{path} can't be read as masks ({reason}): is the file complete, and is it a label image?"
        ) from error


def read_label_image(path: Path) -> NDArray[Any]:
    """Read one image file (PNG, TIFF) as labels; a palette image gives its indices."""
    if path.suffix.lower() != ".png":
        return np.asarray(tifffile.imread(path))
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except UnidentifiedImageError as error:
        raise ImportProblem(f"{path} is not a readable image: is the file complete?") from error


def _read_folder(path: Path) -> ImportedMasks:
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise ImportProblem(f"{path} has no label images (.tif or .png) in it")
    frames = frames_of_files(files)
    collector = Collector(str(path))
    for frame, file in sorted(zip(frames, files)):
        with readable(file):
            labels = read_label_image(file)
        collector.add_labels(frame, labels)
    return collector.finished(
        max(frames) + 1, frame_names={frame: file.name for frame, file in zip(frames, files, strict=True)}
    )


def _read_tiff(path: Path, series: int | str | None) -> ImportedMasks:
    # Separate samples are what tifffile makes of three or four frames; samples that lie together are colours.
    planes = TiffPlanes(str(path), series, samples=False)
    try:
        if planes.axes[-1] == "s":
            raise ImportProblem(f"{path} is a colour image: colours are not labels, save it as a label image")
        planes.check_size()
        others = tuple(n for n in planes.leading if n != 1)
        n_frames, size = _frames_and_size((*others, *planes.plane), str(path))
        collector = Collector(str(path), size)
        for frame, index in enumerate(np.ndindex(planes.leading)):
            collector.add_labels(frame, planes.read(index))
        return collector.finished(n_frames)
    finally:
        planes.close()


def _read_zarr(path: Path, series: int | str | None) -> ImportedMasks:
    node, names, colors = open_store(str(path)), dict[int, str](), dict[int, Color]()
    axes = None
    if isinstance(node, zarr.Group):
        node, axes, names, colors = _label_array(node, path, series)
    check_codecs(node, str(path))
    axes = axes or named_axes(None, node, str(path))
    if axes is None:
        return _read_array(node, str(path), names, colors)
    leading, plane = plane_order(axes)
    counts = tuple(int(node.shape[axis]) for axis in leading)
    shape = (*(n for n in counts if n != 1), *(int(node.shape[axis]) for axis in plane))
    n_frames, size = _frames_and_size(shape, str(path))
    collector = Collector(str(path), size)
    for frame, index in enumerate(np.ndindex(counts)):
        collector.add_labels(frame, take_plane(node, index, axes))
    return collector.finished(n_frames, names, colors)


def _label_array(
    group: Any, path: Path, series: int | str | None = None
) -> tuple[Any, tuple[str, ...] | None, dict[int, str], dict[int, Color]]:
    """Return level 0 of the label image in an OME-Zarr group, its axes, and names and colours of the objects."""
    attributes = dict(group.attrs.get("ome", group.attrs))
    if "labels" in group and "image-label" not in attributes:
        labels = group["labels"]
        listed = dict(labels.attrs.get("ome", labels.attrs)).get("labels") or sorted(labels.group_keys())
        if listed:
            return _label_array(labels[listed[chosen_series(listed, series, str(path))]], path)
    try:
        level = attributes["multiscales"][0]["datasets"][0]["path"]
    except (KeyError, IndexError, TypeError):
        raise ImportProblem(
            f"{path} is a zarr group without OME metadata: give the path of the label array in it"
        ) from None
    about = attributes.get("image-label") or {}
    names = {int(p["label-value"]): str(p["name"]) for p in about.get("properties", []) if "name" in p}
    colors = {
        int(c["label-value"]): (int(c["rgba"][0]), int(c["rgba"][1]), int(c["rgba"][2]))
        for c in about.get("colors", [])
        if "rgba" in c
    }
    return group[level], named_axes(attributes["multiscales"][0], group[level], str(path)), names, colors


def _read_array(
    array: Any, source: str, names: dict[int, str] | None = None, colors: dict[int, Color] | None = None
) -> ImportedMasks:
    shape = tuple(int(n) for n in array.shape)
    kept = [k for k, n in enumerate(shape) if n != 1 or k >= len(shape) - 2]
    n_frames, size = _frames_and_size(tuple(shape[k] for k in kept), source)
    collector = Collector(source, size)
    for frame in range(n_frames):
        # Only the frame axis is indexed by the frame; axes of length 1 by 0.
        index = tuple(frame if k == kept[0] and len(kept) == 3 else 0 for k in range(len(shape) - 2))
        collector.add_labels(frame, np.asarray(array[index]))
    return collector.finished(n_frames, names, colors)


def _frames_and_size(shape: tuple[int, ...], source: str) -> tuple[int, tuple[int, int]]:
    if len(shape) == 2:
        return 1, (shape[0], shape[1])
    if len(shape) == 3:
        return shape[0], (shape[1], shape[2])
    raise ImportProblem(
        f"{source} has shape {shape}: a label stack has the axes (frames, height, width), "
        "choose one position on the others and save that"
    )
