"""Scores of the Cell Tracking Challenge and of divisions, computed by the libraries that define them."""

from __future__ import annotations

import io
import logging
import math
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from napari_sam2.cli.errors import CommandError
from napari_sam2.formats.ctc import write_ctc
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks

_CHALLENGE = ("TRA", "SEG", "DET", "LNK")
_DIVISIONS = {"Division Precision": "division_precision", "Division Recall": "division_recall"}
_DIVISIONS |= {"Division F1": "division_f1"}


def lineage_scores(predicted: TrackingResults, true: TrackingResults) -> dict[str, float | None]:
    """Return scores of tracks with divisions against the truth; None where one is not defined.

    ``TRA``, ``SEG``, ``DET`` and ``LNK`` by py-ctcmetrics, ``division_precision``, ``division_recall`` and
    ``division_f1`` (on the very frame) by traccuracy; those of a library that is not installed are missing.

    Raises
    ------
    CommandError
        Neither library is installed.
    """
    if not (find_spec("ctc_metrics") or find_spec("traccuracy")):
        raise CommandError("--lineage needs py-ctcmetrics and traccuracy: pip install 'napari-sam2[lineage]'")
    quiet = io.StringIO()  # they print what they do, and warn their programmers
    with (
        TemporaryDirectory(prefix="napari-sam2-") as folder,
        warnings.catch_warnings(action="ignore"),
        redirect_stdout(quiet),
        redirect_stderr(quiet),
    ):
        result = write_ctc(predicted, Path(folder, "01_RES"))
        truth = _write_truth(true, Path(folder, "01_GT"))
        scores: dict[str, float | None] = {}
        if find_spec("ctc_metrics"):
            scores |= _challenge(result, truth)
        if find_spec("traccuracy"):
            scores |= _divisions(result, truth / "TRA")
        return scores


def on_frames(results: TrackingResults, frames: tuple[int, ...]) -> TrackingResults:
    """Return results that have only some frames, numbered from 0 on."""

    def masks(row: int) -> FrameMasks:
        return replace(results.masks(frames[row]), frame=row)

    return replace(results, n_frames=len(frames), masks=masks, frame_names=())


def _write_truth(true: TrackingResults, folder: Path) -> Path:
    """Write a folder of ground truth: the same images as TRA and as SEG."""
    folder.mkdir()
    tracks = write_ctc(true, folder / "TRA")
    (tracks / "res_track.txt").rename(tracks / "man_track.txt")
    (folder / "SEG").mkdir()
    for file in sorted(tracks.glob("mask*.tif")):
        number = file.name.removeprefix("mask")
        (folder / "SEG" / f"man_seg{number}").write_bytes(file.read_bytes())
        file.rename(tracks / f"man_track{number}")
    return folder


def _challenge(result: Path, truth: Path) -> dict[str, float | None]:
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    found = evaluate_sequence(str(result), str(truth), list(_CHALLENGE), threads=1)
    return {name: _number(found[name]) for name in _CHALLENGE}


def _divisions(result: Path, truth: Path) -> dict[str, float | None]:
    from traccuracy import run_metrics
    from traccuracy.loaders import load_ctc_data
    from traccuracy.matchers import CTCMatcher
    from traccuracy.metrics import DivisionMetrics

    logging.getLogger("traccuracy").setLevel(logging.ERROR)
    graphs = [load_ctc_data(str(folder)) for folder in (truth, result)]
    [found], _ = run_metrics(*graphs, CTCMatcher(), [DivisionMetrics()])
    numbers = found["results"]["Frame Buffer 0"]
    return {ours: _number(numbers[theirs]) for theirs, ours in _DIVISIONS.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
