"""Pictures of a training run, from its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw_curves", "read_log"]

EXAM = ("click", "clicks3", "box", "tracked", "presence")


def read_log(folder: Path | str) -> list[dict[str, Any]]:
    """Return the entries of a run's ``log.jsonl``, the newest of each step where a run was interrupted."""
    lines = (Path(folder) / "log.jsonl").read_text(encoding="utf8").splitlines()
    newest: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in lines:
        entry = json.loads(line)
        newest[entry["step"], "held_out" in entry] = entry
    return [newest[key] for key in sorted(newest)]


def draw_curves(folder: Path | str, picture: Path | str) -> Path:
    """Draw the loss and the held-out scores of a run over its steps.

    Parameters
    ----------
    folder : Path or str
        The run's folder, with ``log.jsonl``.
    picture : Path or str
        PNG, PDF or SVG file to write.

    Raises
    ------
    ImportError
        If matplotlib is not installed (``pip install napari-sam2[train]``).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("curves need matplotlib: pip install napari-sam2[train]") from error
    log = read_log(folder)
    steps = [entry for entry in log if "loss" in entry]
    exams = [entry for entry in log if "held_out" in entry]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    loss = np.array([entry["loss"] for entry in steps])
    window = max(1, len(loss) // 40)
    smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
    left.plot([entry["step"] for entry in steps][window - 1 :], smooth)
    left.set(xlabel="step", ylabel=f"loss, mean of {window} steps")
    for name in EXAM:
        right.plot([e["step"] for e in exams], [e["held_out"][name] for e in exams], marker=".", label=name)
    right.set(xlabel="step", ylabel="held-out IoU (presence: accuracy)", ylim=(0, 1))
    right.legend(fontsize="small")
    figure.savefig(picture, dpi=120)
    return Path(picture)
