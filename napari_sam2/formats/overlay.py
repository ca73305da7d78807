"""An MP4 video of the frames with the objects drawn on top."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion
from scipy.ndimage import label as connected_pieces

from napari_sam2.formats.atomic_output import SIGNATURE, Overwrite, staged
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.frames.errors import FrameReadError
from napari_sam2.frames.video.ffmpeg_encoder import FrameEncoder
from napari_sam2.masks import BoolArray, FrameMasks, mask_box

Style = Literal["outline", "fill"]
# Time-lapses and z-stacks have no playback speed of their own.
DEFAULT_FRAME_RATE = 10.0
_FILL_OPACITY = 0.45


def write_overlay(
    results: TrackingResults,
    path: Path,
    *,
    overwrite: Overwrite = False,
    style: Style = "fill",
    ids: bool = True,
    frame_rate: float | None = None,
    frames: tuple[int, int] | None = None,
) -> Path:
    """Write an MP4 (H.264) of the frames with the objects in their colours.

    Parameters
    ----------
    results : Results
        Must have ``picture``.
    path : Path
        Where to write; the name ends in ``.mp4``.
    overwrite : bool or "confirmed"
        Replace an earlier export.
    style : {"fill", "outline"}
        "fill" draws half-transparent areas with an outline, "outline" the outline alone.
    ids : bool
        Write each object's id beside it.
    frame_rate : float, optional
        Frames per second; without it that of the source, or 10 where the source has none. A source with
        variable frame rate is written with its average rate: no frame is dropped or doubled.

    frames : (int, int), optional
        Only the frames from the first to the second number, the second not included.

    Raises
    ------
    FileExistsError
        When ``path`` exists and may not be replaced.
    ValueError
        When the results have no picture to draw on, or there are no such frames.
    """
    if results.picture is None:
        raise ValueError(
            "an overlay video needs the frames, and this run has masks only: open it with its source"
        )
    rate = frame_rate or results.calibration.frame_rate or DEFAULT_FRAME_RATE
    height, width = results.size
    even = (height + height % 2, width + width % 2)
    with staged(path, overwrite) as part, FrameEncoder(part, even, rate, SIGNATURE) as encoder:
        for found in results.frames(*(frames or (0, results.n_frames))):
            try:
                picture = results.picture(found.frame)
            except FrameReadError:  # a damaged frame, which tracking passed over as well
                picture = np.zeros((height, width, 3), np.uint8)
            drawn = draw(picture, found, results, style=style, ids=ids)
            encoder.write(_even(drawn))
    return path


def draw(
    picture: NDArray[np.uint8],
    found: FrameMasks,
    results: TrackingResults,
    *,
    style: Style = "fill",
    ids: bool = True,
) -> NDArray[np.uint8]:
    """Draw objects over a frame; returns a new uint8 (H, W, 3). Larger objects are drawn first."""
    out = np.array(picture, np.uint8)
    thickness = max(1, round(max(results.size) / 480))
    order = np.argsort(-found.masks.sum(axis=(1, 2)), kind="stable")
    for row in order:
        _draw_object(out, found.masks[row], results.info(found.object_ids[row]).rgb, thickness, style)
    return _with_ids(out, found, results) if ids else out


def _draw_object(
    out: NDArray[np.uint8], mask: BoolArray, color: tuple[int, int, int], thickness: int, style: Style
) -> None:
    box = mask_box(mask)
    if box is None:
        return
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    # Outside the crop counts as background, so objects at the rim of the frame are closed.
    core = binary_erosion(inside, iterations=thickness)
    view = out[y0:y1, x0:x1]
    if style == "fill":
        mixed = view[inside] * (1 - _FILL_OPACITY) + np.array(color) * _FILL_OPACITY
        view[inside] = np.round(mixed).astype(np.uint8)
    view[inside & ~core] = color


def _with_ids(out: NDArray[np.uint8], found: FrameMasks, results: TrackingResults) -> NDArray[np.uint8]:
    height, width = results.size
    image = Image.fromarray(out)
    pen = ImageDraw.Draw(image)
    points = max(9, round(max(results.size) / 50))
    font = ImageFont.load_default(size=points)
    for object_id, mask in zip(found.object_ids, found.masks):
        box = _largest_piece(mask)
        if box is None:
            continue
        text = str(object_id)
        text_width = pen.textlength(text, font=font)
        # Above the object where there is room, otherwise inside the frame.
        x = min(max((box[0] + box[2] - text_width) / 2, 1), max(width - text_width - 1, 1))
        y = min(max(box[1] - points * 1.25, 1), max(height - points * 1.25, 1))
        # Halfway to white: dark colours can't be read on dark frames.
        ink = tuple((255 + c) // 2 for c in results.info(object_id).rgb)
        pen.text((x, y), text, fill=ink, font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def _largest_piece(mask: BoolArray) -> tuple[int, int, int, int] | None:
    """Return the box of the largest connected piece of a mask; None when it is empty."""
    box = mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    pieces, count = connected_pieces(mask[y0:y1, x0:x1])
    if count > 1:
        inner = mask_box(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)
        assert inner is not None  # every piece has pixels
        return inner[0] + x0, inner[1] + y0, inner[2] + x0, inner[3] + y0
    return box


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column where a side is odd: H.264's colour planes have half the size."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
