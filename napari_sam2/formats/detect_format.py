"""Read masks from a path, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_sam2.formats.coco import read_coco
from napari_sam2.formats.ctc import is_ctc, read_ctc
from napari_sam2.formats.davis import read_davis
from napari_sam2.formats.imported_masks import ImportedMasks, ImportProblem
from napari_sam2.formats.label_images import is_zarr, read_label_stack

_STACKS = (".tif", ".tiff", ".npy", ".png", ".zip", ".ozx")


def read_masks(path: Path, frame_names: Sequence[str] = (), series: int | str | None = None) -> ImportedMasks:
    """Read a label stack, COCO JSON, a Cell Tracking Challenge or a DAVIS folder; the path tells which.

    Parameters
    ----------
    path : Path
        File or folder.
    frame_names : sequence of str
        File names of the source's frames, where it is a sequence of images: masks with names go to the frames with
        the same names or numbers (see :meth:`ImportedMasks.on_frames`).
    series : int or str, optional
        Number or name of one video of a COCO file, or one image of a stack, that holds several.

    Raises
    ------
    FileNotFoundError
        When there is nothing at ``path``.
    ImportProblem
        When the format is not one of these, the file is damaged, or its names do not fit those of the frames.
    """
    path = Path(path)
    try:
        return _read(path, series).on_frames(frame_names)
    except ImportProblem as problem:
        if str(path) in str(problem):
            raise
        raise ImportProblem(f"{path}: {problem}") from problem


def _read(path: Path, series: int | str | None) -> ImportedMasks:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if not (path.is_file() or path.is_dir()):
        raise ImportProblem(f"{path} is neither a file nor a folder")
    if path.suffix.lower() == ".json":
        return read_coco(path, series)
    if is_zarr(path) if path.is_dir() else path.suffix.lower() in _STACKS:
        return read_label_stack(path, series)
    if series is not None:
        raise ImportProblem(f"{path} holds one series: there is no series {series!r}")
    if path.is_dir():
        return _read_folder(path)
    raise ImportProblem(
        f"{path} is not a format that masks are read from: use a label stack ({', '.join(_STACKS)}, zarr), "
        "COCO .json, a Cell Tracking Challenge folder or a folder of PNG images"
    )


def _read_folder(path: Path) -> ImportedMasks:
    if is_ctc(path):
        return read_ctc(path)
    if any(path.glob("*.png")):
        return read_davis(path)
    return read_label_stack(path)
