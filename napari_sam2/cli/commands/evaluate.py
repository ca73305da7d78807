"""``napari-sam2 evaluate``: a project's masks against ground truth."""

from __future__ import annotations

import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.formats.detect_format import read_masks
from napari_sam2.formats.imported_masks import ImportedMasks
from napari_sam2.masks import compose_labels
from napari_sam2.metrics import SequenceScore, evaluate_sequences
from napari_sam2.storage.project import Project
from napari_sam2.storage.results import frame_names_of

Labels = NDArray[np.uint16]
Matching = Literal["ids", "overlap"]


@dataclass(frozen=True)
class Evaluation:
    """A score, and what was compared.

    Parameters
    ----------
    score : SequenceScore
        Of the frames from ``first`` on.
    matching : {"ids", "overlap"}
        Whose masks were compared.
    first : int
        Frame of the project that the score counts as 0.
    """

    score: SequenceScore
    matching: Matching
    first: int


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    with Project.open(args.project) as project:
        found = evaluate(project, args.truth, console, args.range, args.match, args.skip_prompted)
    console.result(score_data(found), f"{found.score.table()}\n\nmatched by {found.matching}")


def evaluate(
    project: Project,
    truth_path: Path,
    console: Console,
    wanted: tuple[int | None, int | None] = (None, None),
    match: str = "auto",
    skip_prompted: bool = False,
) -> Evaluation:
    """Compare a project with ground truth at a path; the frames of both must be the same ones."""
    truth = read_masks(truth_path, frame_names_of(project))
    first, end = wanted[0] or 0, project.frame_count if wanted[1] is None else wanted[1]
    if end > project.frame_count or first >= end:
        raise UsageError(
            f"--range {first}:{end} is outside the project, which has {project.frame_count} frames"
        )
    if truth.size != project.size:
        raise CommandError(
            f"ground truth of {truth.size[0]} × {truth.size[1]} pixels (height × width) does not belong to frames of "
            f"{project.size[0]} × {project.size[1]}"
        )
    if truth.n_frames not in (project.frame_count, end - first):
        raise CommandError(
            f"{truth_path} has {truth.n_frames} frames and the project {project.frame_count}: give ground truth of the "
            "same frames, or choose them with --range A:B"
        )
    shift = first if truth.n_frames == project.frame_count else 0
    true = _truth_labels(truth, range(shift, shift + end - first))
    if not true.any():
        raise CommandError(f"{truth_path} has no object on these frames: there is nothing to compare")
    predicted = _project_labels(project, range(first, end), console)
    known = set(np.unique(true).tolist()) - {0} <= set(project.objects)
    matching: Matching = "ids" if match == "ids" or (match == "auto" and known) else "overlap"
    prompted = {frame - first for frame, _ in project.prompts if first <= frame < end}
    excluded = prompted if skip_prompted else set()
    return Evaluation(evaluate_sequences(predicted, true, excluded, matching), matching, first)


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
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _project_labels(project: Project, frames: range, console: Console) -> Labels:
    out = np.zeros((len(frames), *project.size), np.uint16)
    progress = ProgressBar(console, "reading masks", len(frames))
    for row, frame in enumerate(frames):
        out[row] = compose_labels(project.masks(frame))
        progress.step(frame)
    progress.finish()
    return out


def _truth_labels(truth: ImportedMasks, frames: range) -> Labels:
    out = np.zeros((len(frames), *truth.size), np.uint16)
    for object_id, masklet in truth.masklets.items():
        for frame in masklet.frames:
            if frame in frames:
                out[frame - frames.start][masklet.mask(frame)] = object_id
    return out
