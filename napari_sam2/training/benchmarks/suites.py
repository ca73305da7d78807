"""The tables that say how good a network is: held-out synthetic data, real sequences, one-click images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_sam2.metrics import boundary_accuracy, region_similarity
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.session import ArrayFrames, ImageSession, SessionOptions, VideoSession
from napari_sam2.training.benchmarks.baselines import copied, flow_warped, threshold_watershed
from napari_sam2.training.benchmarks.data import (
    ImageSet,
    Sequence2D,
    read_image_sets,
    read_sequences,
    synthetic_images,
    synthetic_videos,
)
from napari_sam2.training.data.simulated_prompts import correction_clicks, depth_inside

__all__ = ["SUITES", "Extent", "Table", "run_suite"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """Numbers under one title.

    Attributes
    ----------
    title : str
        What was measured, and on how much.
    header : tuple of str
        Column names.
    rows : tuple of tuple of str
        Cells.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Return the table as Markdown."""
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.header) + " |"]
        lines.append("|" + "---|" * len(self.header))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)


@dataclass(frozen=True)
class Extent:
    """Extent of a benchmark: numbers of images, videos, frames and objects.

    Parameters
    ----------
    images, videos, frames : int
        Synthetic images, synthetic videos (of each kind) and their length.
    side : int
        Side of the synthetic frames in pixels.
    objects : int
        Most objects per image or video; they are taken evenly over the ids.
    sequence_frames : int
        Real sequences are cut after this many frames.
    first : int
        Number of the first synthetic image and video.
    """

    images: int = 200
    videos: int = 40
    frames: int = 24
    side: int = 256
    objects: int = 20
    sequence_frames: int = 100
    first: int = 0

    @classmethod
    def quick(cls) -> Extent:
        """Return an extent of a few minutes on two cores, for a look in between.

        Its scenes are others than those of the full extent, so that choices that are made by it leave that unseen.
        """
        return cls(images=24, videos=5, frames=12, objects=5, sequence_frames=12, first=1000)


# most objects that are followed in one synthetic video
VIDEO_OBJECTS = 5

SUITES = ("images", "videos", "presence", "sequences", "clicks", "speed")


def run_suite(
    model: Sam2,
    data_dir: Path | str | None = None,
    suites: Sequence[str] = SUITES,
    extent: Extent | None = None,
    done: Callable[[Table], None] | None = None,
) -> list[Table]:
    """Measure a network.

    Parameters
    ----------
    model : Sam2
        Any size, in evaluation mode.
    data_dir : Path or str, optional
        Folder of real data; without it the suites "sequences" and "clicks" are left out.
    suites : sequence of str
        Out of `SUITES`.
    extent : Extent, optional
        How much; by default the full extent that is quoted.
    done : callable, optional
        Called with each table as soon as it is there.

    Raises
    ------
    ValueError
        For an unknown suite.
    """
    unknown = sorted(set(suites) - set(SUITES))
    if unknown:
        raise ValueError(f"unknown suite {unknown[0]!r}; choose from {', '.join(SUITES)}")
    amount = extent or Extent()
    real = Path(data_dir) if data_dir is not None else None
    work: dict[str, Callable[[], Table | None]] = {
        "images": lambda: _images(model, amount),
        "videos": lambda: _videos(model, amount),
        "presence": lambda: _presence(model, amount),
        "sequences": lambda: None if real is None else _sequences(model, read_sequences(real), amount),
        "clicks": lambda: None if real is None else _clicks(model, real, amount),
        "speed": lambda: _speed(model),
    }
    tables = []
    for name in suites:
        table = work[name]()
        if table is None:
            continue
        tables.append(table)
        if done is not None:
            done(table)
    return tables


# ---------------------------------------------------------------------- prompts


def middle_click(mask: Mask) -> PointPrompt:
    """Click at the deepest pixel of a mask (H, W)."""
    rows, columns = np.nonzero(mask)
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    depth = depth_inside(torch.from_numpy(np.pad(mask[window], 1))[None])[0, 1:-1, 1:-1].numpy()
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return PointPrompt(float(x + columns.min()), float(y + rows.min()))


def tight_box(mask: Mask) -> BoxPrompt:
    """Return the box of a mask (H, W)."""
    rows, columns = np.nonzero(mask)
    return BoxPrompt(*(float(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())))


def some_ids(labels: NDArray[np.integer], most: int, least_area: int = 30) -> list[int]:
    """Ids on a label image, at most `most`, evenly over all that are large enough."""
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    ids = ids[areas >= least_area]
    if len(ids) > most:
        ids = ids[np.linspace(0, len(ids) - 1, most).round().astype(int)]
    return [int(i) for i in ids]


# ---------------------------------------------------------------------- single images


def _images(model: Sam2, extent: Extent) -> Table:
    session = ImageSession(model)
    scores: dict[str, list[float]] = {"1 click": [], "box": [], "3 clicks": [], "best of 1 click's masks": []}
    for frame, labels in synthetic_images(extent.images, extent.side, extent.first):
        session.set_image(frame)
        for object_id in some_ids(labels, extent.objects):
            truth = labels == object_id
            one, best, three = _clicked(session, truth)
            scores["1 click"].append(one)
            scores["best of 1 click's masks"].append(best)
            scores["3 clicks"].append(three)
            box = session.predict(Prompt(box=tight_box(truth)), multimask=False)
            scores["box"].append(region_similarity(box.masks[0, 0], truth))
    title = f"held-out synthetic images: {extent.images} images, {len(scores['box'])} objects, mean IoU"
    return Table(title, tuple(scores), (tuple(f"{np.mean(values):.3f}" for values in scores.values()),))


def _clicked(session: ImageSession, truth: Mask) -> tuple[float, float, float]:
    """IoU after one central click, of the best mask offered then, and after two more clicks into the largest error."""
    said = [middle_click(truth)]
    first = session.predict(Prompt(points=tuple(said)), multimask=True)
    offered = [region_similarity(mask, truth) for mask in first.masks[0]]
    chosen = int(first.ious[0].argmax())
    mask, logits = first.masks[0, chosen], first.logits[:, chosen : chosen + 1]
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        points, labels = correction_clicks(
            torch.from_numpy(mask)[None], torch.from_numpy(truth)[None], generator, central=1.0
        )
        x, y = points[0, 0].tolist()
        said.append(PointPrompt(x, y, bool(labels[0, 0])))
        answer = session.predict(Prompt(points=tuple(said)), multimask=False, previous_logits=logits)
        mask, logits = answer.masks[0, 0], answer.logits
    return offered[chosen], max(offered), region_similarity(mask, truth)


def _clicks(model: Sam2, real: Path, extent: Extent) -> Table:
    """One click on every object: the network, and the classical baseline."""
    session, rows = ImageSession(model), []
    sets = read_image_sets(real) + [
        ImageSet(f"{s.name}, first frame", ((s.frames[0], s.labels[0]),)) for s in read_sequences(real)
    ]
    for images in sets:
        ours: list[float] = []
        classical: list[float] = []
        for frame, labels in images.pairs:
            session.set_image(frame)
            found = threshold_watershed(frame)
            for object_id in some_ids(labels, extent.objects):
                truth = labels == object_id
                click = middle_click(truth)
                answer = session.predict(Prompt(points=(click,)), multimask=True)
                ours.append(region_similarity(answer.masks[0, int(answer.ious[0].argmax())], truth))
                label = found[int(click.y), int(click.x)]
                under = (found == label) if label else np.zeros_like(truth)
                classical.append(region_similarity(under, truth))
        rows.append((images.name, str(len(ours)), f"{np.mean(ours):.3f}", f"{np.mean(classical):.3f}"))
    header = ("images", "objects", "one click", "threshold + watershed")
    return Table("one click per object on real images, mean IoU", header, tuple(rows))


# ---------------------------------------------------------------------- videos


def track_clip(
    model: Sam2, frames: NDArray[np.uint8], prompts: dict[int, Prompt]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Track objects prompted on frame 0: masks (T, N, H, W) and object scores (T, N), in the order of ids."""
    session = VideoSession(model, ArrayFrames(frames), SessionOptions())
    ids = sorted(prompts)
    for object_id in ids:
        session.set_prompt(0, object_id, prompts[object_id])
    masks = np.zeros((len(frames), len(ids), *frames.shape[1:3]), bool)
    scores = np.zeros((len(frames), len(ids)), np.float32)
    for result in session.propagate():
        rows = [ids.index(i) for i in result.object_ids]
        masks[result.frame, rows] = result.masks
        scores[result.frame, rows] = result.object_scores
    session.close()
    return masks, scores


def j_and_f(masks: Mask, labels: NDArray[np.integer], ids: Iterable[int]) -> tuple[float, float]:
    """Mean J and mean F over objects and all frames after the first; absent and not drawn counts as 1."""
    regions, boundaries = [], []
    for column, object_id in enumerate(ids):
        for t in range(1, len(labels)):
            truth = labels[t] == object_id
            regions.append(region_similarity(masks[t, column], truth))
            boundaries.append(boundary_accuracy(masks[t, column], truth))
    return float(np.mean(regions)), float(np.mean(boundaries))


def first_prompts(labels: NDArray[np.integer], ids: Sequence[int], kind: str) -> dict[int, Prompt]:
    """Prompt objects on frame 0 with their true "mask" or "box"."""
    if kind == "mask":
        return {i: Prompt(mask=MaskPrompt.from_array(labels[0] == i)) for i in ids}
    return {i: Prompt(box=tight_box(labels[0] == i)) for i in ids}


def _videos(model: Sam2, extent: Extent) -> Table:
    """Mean J&F on synthetic videos; boxes and masks take turns."""
    rows = []
    scores: dict[str, list[tuple[float, float]]] = {"box": [], "mask": []}
    clips = synthetic_videos(extent.videos, extent.frames, extent.side, first=extent.first)
    for index, (frames, labels) in enumerate(clips):
        kind = ("box", "mask")[index % 2]
        ids = some_ids(labels[0], min(extent.objects, VIDEO_OBJECTS))
        if not ids:
            continue
        masks, _ = track_clip(model, frames, first_prompts(labels, ids, kind))
        scores[kind].append(j_and_f(masks, labels, ids))
    both = scores["box"] + scores["mask"]
    for name, values in (*scores.items(), ("both", both)):
        if values:
            j, f = np.mean(values, axis=0)
            rows.append((name, str(len(values)), f"{j:.3f}", f"{f:.3f}", f"{(j + f) / 2:.3f}"))
    most = min(extent.objects, VIDEO_OBJECTS)
    title = f"held-out synthetic videos of {extent.frames} frames, up to {most} objects, prompted on frame 0"
    return Table(title, ("prompt", "videos", "J", "F", "J&F"), tuple(rows))


def _presence(model: Sam2, extent: Extent) -> Table:
    """Measure how often the object score is right about visibility, on videos full of occlusions and exits."""
    right: list[bool] = []
    hidden: list[bool] = []
    clips = synthetic_videos(extent.videos, extent.frames, extent.side, eventful=True, first=extent.first)
    for frames, labels in clips:
        ids = some_ids(labels[0], min(extent.objects, VIDEO_OBJECTS))
        if not ids:
            continue
        _, scores = track_clip(model, frames, first_prompts(labels, ids, "mask"))
        for column, object_id in enumerate(ids):
            there = (labels[1:] == object_id).any((1, 2))
            agrees = (scores[1:, column] > 0) == there
            right += agrees.tolist()
            hidden += agrees[~there].tolist()
    title = f"object score with occlusion and re-entry: {extent.videos} videos, true first masks"
    row = (
        f"{np.mean(right):.3f}",
        str(len(right)),
        f"{np.mean(hidden):.3f}" if hidden else "-",
        str(len(hidden)),
    )
    return Table(title, ("accuracy", "object frames", "of these hidden", "hidden frames"), (row,))


def _sequences(model: Sam2, sequences: Sequence[Sequence2D], extent: Extent) -> Table:
    """True first masks on real sequences, against copying and against optical flow."""
    rows = []
    for sequence in sequences:
        frames = sequence.frames[: extent.sequence_frames]
        labels = sequence.labels[: extent.sequence_frames]
        ids = some_ids(labels[0], extent.objects)
        first = np.stack([labels[0] == i for i in ids])
        masks, _ = track_clip(model, frames, first_prompts(labels, ids, "mask"))
        cells = [f"{len(labels)} x {len(ids)}"]
        for tracked in (masks, copied(first, frames), flow_warped(first, frames)):
            j, f = j_and_f(tracked, labels, ids)
            cells.append(f"{j:.3f} / {f:.3f} / {(j + f) / 2:.3f}")
        rows.append((sequence.name, *cells))
    header = ("sequence", "frames x objects", "network J / F / J&F", "copy first mask", "optical flow")
    return Table("real sequences from true first masks", header, tuple(rows))


# ---------------------------------------------------------------------- speed


def resized_model(model: Sam2, side: int) -> Sam2:
    """Return the same network for another input side."""
    other = Sam2(replace(model.config, image_size=side)).to(model.device)
    other.load_state_dict(model.state_dict())
    return other.eval().requires_grad_(False)


def _speed(model: Sam2) -> Table:
    """Medians on this machine, as it is loaded at the moment."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 512, 512, 3), dtype=np.uint8)
    rows = [("click to mask at 512, features cached", f"{_click_seconds(model, frames[0]):.3f} s")]
    for side, objects in ((256, 1), (512, 1), (256, 10)):
        rate = _frame_rate(resized_model(model, side), frames, objects)
        rows.append((f"tracking at {side}, {objects} object{'s' * (objects > 1)}", f"{rate:.1f} frames/s"))
    title = f"speed with {torch.get_num_threads()} threads on {model.device}"
    return Table(title, ("what", "median"), tuple(rows))


def _click_seconds(model: Sam2, frame: NDArray[np.uint8]) -> float:
    session = ImageSession(resized_model(model, 512))
    session.set_image(frame)
    times = []
    for i in range(12):
        began = time.perf_counter()
        session.predict(Prompt(points=(PointPrompt(100.0 + i, 200.0),)), multimask=True)
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))


def _frame_rate(model: Sam2, frames: NDArray[np.uint8], objects: int) -> float:
    session = VideoSession(model, ArrayFrames(frames), SessionOptions())
    for index in range(objects):
        mask = np.zeros(frames.shape[1:3], bool)
        mask[20 + 40 * index : 60 + 40 * index, 50:120] = True
        session.set_prompt(0, index + 1, Prompt(mask=MaskPrompt.from_array(mask)))
    stamps = []
    for _ in session.propagate():
        stamps.append(time.perf_counter())  # noqa: PERF401 - each frame is computed by asking for it
    session.close()
    return float(1 / np.median(np.diff(stamps)[6:]))  # once the memory is full
