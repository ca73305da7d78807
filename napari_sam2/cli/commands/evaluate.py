"""``napari-sam2 evaluate``: a project's masks against ground truth."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.lineage_scores import lineage_scores, on_frames
from napari_sam2.formats.detect_format import read_masks
from napari_sam2.formats.imported_masks import ImportedMasks
from napari_sam2.masks import compose_labels
from napari_sam2.metrics import SequenceScore, evaluate_sequences
from napari_sam2.storage.project import Project
from napari_sam2.storage.results import frame_names_of, project_results

Labels = NDArray[np.uint16]
Matching = Literal["ids", "overlap"]


@dataclass(frozen=True)
class Evaluation:
    """A score, and what was compared.

    Parameters
    ----------
    score : SequenceScore
        Its frames are places in ``frames``.
    matching : {"ids", "overlap"}
        Whose masks were compared.
    frames : tuple of int
        Frames of the project that were compared.
    lineage : mapping of str to float or None, optional
        Scores of tracks and divisions, where they were asked for.
    """

    score: SequenceScore
    matching: Matching
    frames: tuple[int, ...]
    lineage: Mapping[str, float | None] | None = None


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    with Project.open(args.project) as project:
        found = evaluate(
            project,
            args.truth,
            console,
            args.range,
            args.match,
            args.skip_prompted,
            args.unlabelled,
            args.series,
            args.lineage,
        )
    text = (
        f"{found.score.table()}\n\nmatched by {found.matching}; frames with ground truth: {len(found.frames)}"
    )
    for name, number in (found.lineage or {}).items():
        text += f"\n{name:18}  {'not defined' if number is None else f'{number:.4f}'}"
    console.result(score_data(found), text)


def evaluate(
    project: Project,
    truth_path: Path,
    console: Console,
    wanted: tuple[int | None, int | None] = (None, None),
    match: str = "auto",
    skip_prompted: bool = False,
    unlabelled: Literal["skip", "absent"] = "skip",
    series: str | None = None,
    lineage: bool = False,
) -> Evaluation:
    """Compare a project with ground truth at a path; the frames of both must be the same ones.

    On frames that the ground truth does not have (a folder or COCO file of some of the images) nothing is compared, or
    every object counts as absent. Overlapping masks of both are composed by the same rule. ``lineage`` adds the
    scores of tracks and divisions.
    """
    truth = read_masks(truth_path, frame_names_of(project), series)
    first, end = wanted[0] or 0, project.frame_count if wanted[1] is None else wanted[1]
    shift = _shift(project, truth, truth_path, first, end)
    labelled = {frame - shift for frame in truth.frame_names or range(truth.n_frames)}
    frames = tuple(frame for frame in range(first, end) if unlabelled == "absent" or frame in labelled)
    true = _truth_labels(truth, [frame + shift for frame in frames])
    if not true.any():
        raise CommandError(f"{truth_path} has no object on these frames: there is nothing to compare")
    predicted = _project_labels(project, frames, console)
    known = set(np.unique(true).tolist()) - {0} <= set(project.objects)
    matching: Matching = "ids" if match == "ids" or (match == "auto" and known) else "overlap"
    prompted = {frame for frame, _ in project.prompts}
    excluded = [row for row, frame in enumerate(frames) if skip_prompted and frame in prompted]
    scores = None
    if lineage:
        true_frames = tuple(frame + shift for frame in frames)
        scores = lineage_scores(
            on_frames(project_results(project), frames), on_frames(truth.results(), true_frames)
        )
    return Evaluation(evaluate_sequences(predicted, true, excluded, matching), matching, frames, scores)


def _shift(project: Project, truth: ImportedMasks, truth_path: Path, first: int, end: int) -> int:
    """Return the frame of the ground truth minus that of the project; UsageError or CommandError where none fits."""
    if end > project.frame_count or first >= end:
        raise UsageError(
            f"--range {first}:{end} is outside the project, which has {project.frame_count} frames"
        )
    if truth.size != project.size:
        raise CommandError(
            f"ground truth of {truth.size[0]} × {truth.size[1]} pixels (height × width) does not belong to frames of "
            f"{project.size[0]} × {project.size[1]}"
        )
    if truth.n_frames == project.frame_count:
        return 0
    if truth.n_frames == end - first:
        return -first
    # A folder of some of the frames ends with the last of them.
    if truth.frame_names and truth.n_frames < project.frame_count:
        return 0
    raise CommandError(
        f"{truth_path} has {truth.n_frames} frames and the project {project.frame_count}: give ground truth of the "
        "same frames, or choose them with --range A:B"
    )


def score_data(found: Evaluation) -> dict[str, Any]:
    """Return a score ready for JSON."""
    score = found.score
    return {
        "j_and_f": _number(score.j_and_f),
        "j": _number(score.j),
        "f": _number(score.f),
        "identity_switches": score.identity_switches,
        "visibility_accuracy": _number(score.visibility_accuracy),
        "absence_recall": _number(score.absence_recall),
        "matching": found.matching,
        "frames_compared": len(found.frames),
        "objects": [
            {
                "id": one.object_id,
                "matched_id": one.matched_id,
                "frames": len(one.frames),
                "j": _number(one.j),
                "f": _number(one.f),
            }
            for one in score.objects
        ],
    } | ({} if found.lineage is None else {"lineage": dict(found.lineage)})


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _project_labels(project: Project, frames: Sequence[int], console: Console) -> Labels:
    out = np.zeros((len(frames), *project.size), np.uint16)
    progress = ProgressBar(console, "reading masks", len(frames))
    for row, frame in enumerate(frames):
        out[row] = compose_labels(project.masks(frame))
        progress.step(frame)
    progress.finish()
    return out


def _truth_labels(truth: ImportedMasks, frames: Sequence[int]) -> Labels:
    results = truth.results()
    out = np.zeros((len(frames), *truth.size), np.uint16)
    for row, frame in enumerate(frames):
        out[row] = compose_labels(results.masks(frame))
    return out
