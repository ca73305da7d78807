"""Report of a batch: a table, a page with pictures, and the measurements of all recordings in one table."""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from napari_sam2.cli.commands.track_jobs import JobOutcome
from napari_sam2.cli.errors import CommandError
from napari_sam2.cli.terminal.progress import duration
from napari_sam2.cli.workflow.source_frames import source_frames_of
from napari_sam2.cli.workflow.write_exports import results_of
from napari_sam2.formats.atomic_output import SIGNATURE, staged
from napari_sam2.formats.measurements import csv_text
from napari_sam2.formats.overlay import draw
from napari_sam2.storage.project import Project
from napari_sam2.storage.review import Review

__all__ = ["check_report_folder", "write_report"]

_PAGE = "batch.html"
_WIDTH = 240  # of a picture in pixels
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color-scheme: light dark; }
table { border-collapse: collapse; } td, th { padding: .4rem .8rem; text-align: left; vertical-align: top; }
tr + tr { border-top: 1px solid #8886; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { display: block; border-radius: 3px; } .failed, .elsewhere { color: #c33; } small { opacity: .75; }
"""


@dataclass(frozen=True)
class ReportRow:
    """One recording of a batch.

    Parameters
    ----------
    outcome : JobOutcome
        What its job returned.
    frames, objects : int
        Frames with masks, and objects, of the whole project.
    uncertain : int
        Stretches that are open for review.
    picture : str
        Middle frame with its masks, as a data URL; empty when it can't be read.
    """

    outcome: JobOutcome
    frames: int = 0
    objects: int = 0
    uncertain: int = 0
    picture: str = ""

    @classmethod
    def of(cls, outcome: JobOutcome) -> ReportRow:
        """Read what a project holds; a project that can't be read has nothing to show."""
        try:
            with Project.open(outcome.project) as project:
                frames = project.frames()
                queue = len(Review(project).queue())
                return cls(outcome, len(frames), len(project.objects), queue, _picture(project, frames))
        except (OSError, ValueError, RuntimeError):
            return cls(outcome)

    @property
    def cells(self) -> dict[str, str | int | float]:
        """Cells of the table."""
        outcome = self.outcome
        return {
            "recording": csv_text(outcome.project.stem),
            "work": outcome.work,
            "frames": self.frames,
            "objects": self.objects,
            "open_for_review": self.uncertain,
            "seconds": round(outcome.seconds, 1),
            "worker": csv_text(outcome.worker),
            "message": csv_text("; ".join(filter(None, (outcome.message, *outcome.warnings)))),
            "project": csv_text(str(outcome.project)),
        }


def check_report_folder(folder: Path) -> None:
    """Raise CommandError, before any work, when a report would be written among other files."""
    page = folder / _PAGE
    if folder.is_dir() and any(folder.iterdir()):
        if not page.is_file() or SIGNATURE.encode() not in page.read_bytes()[:1000]:
            raise CommandError(f"{folder} has other files in it: choose a new folder for --report")
    elif folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file: choose a folder for --report")


def write_report(outcomes: Sequence[JobOutcome], folder: Path, step: Callable[[], None]) -> list[Path]:
    """Write ``batch.csv``, ``batch.html`` and, where jobs export tables, ``measurements.csv``.

    Parameters
    ----------
    outcomes : sequence of JobOutcome
        In the order of the jobs file.
    folder : Path
        Made when it is not there. Files of an earlier report are replaced.
    step : callable
        Called after each recording.

    Returns
    -------
    list of Path
        What was written.
    """
    rows = []
    for outcome in outcomes:
        rows.append(ReportRow.of(outcome))
        step()
    folder.mkdir(parents=True, exist_ok=True)
    tables = {row.outcome.project: row.outcome.exports["csv"] for row in rows if "csv" in row.outcome.exports}
    written = [_write(folder / "batch.csv", _table([row.cells for row in rows]))]
    written.append(_write(folder / _PAGE, _page(rows, folder)))
    if tables:
        written.append(_write(folder / "measurements.csv", _joined(tables)))
    return written


def _write(path: Path, text: str) -> Path:
    with staged(path, overwrite="confirmed") as part:  # the folder is known by its page
        part.write_text(text, encoding="utf-8", newline="")
    return path


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    titles = list(dict.fromkeys(title for row in rows for title in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, titles)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _joined(tables: Mapping[Path, Path]) -> str:
    """Return the tables below each other, with the recording in the first column; titles may differ."""
    rows: list[dict[str, object]] = []
    for project, table in tables.items():
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as file:
                rows += ({"recording": csv_text(project.stem), **row} for row in csv.DictReader(file))
    return _table(rows)


def _picture(project: Project, frames: Sequence[int]) -> str:
    """Return the middle frame with its masks as a data URL; empty when the recording is not there any more."""
    if not frames:
        return ""
    frame = frames[len(frames) // 2]
    try:
        recording = source_frames_of(project)
        picture = recording.frames.frame(frame)
    except (OSError, ValueError, RuntimeError):
        return ""
    drawn = Image.fromarray(np.asarray(draw(picture, project.masks(frame), results_of(project, recording))))
    drawn.thumbnail((_WIDTH, _WIDTH))
    out = io.BytesIO()
    drawn.save(out, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _page(rows: Iterable[ReportRow], folder: Path) -> str:
    body = "\n".join(_row(row, folder) for row in rows)
    titles = "".join(
        f"<th>{t}</th>" for t in ("", "Recording", "Work", "Frames", "Objects", "To review", "Time")
    )
    head = (
        f'<meta charset="utf-8"><meta name="generator" content="{SIGNATURE}"><title>napari-sam2 batch</title>'
    )
    return (
        f'<!doctype html>\n<html lang="en">{head}<style>{_STYLE}</style>\n'
        f"<h1>Batch</h1>\n<table>\n<tr>{titles}</tr>\n{body}\n</table>\n</html>\n"
    )


def _row(row: ReportRow, folder: Path) -> str:
    outcome = row.outcome
    picture = f'<img src="{row.picture}" alt="">' if row.picture else ""
    links = [_link("project", outcome.project, folder)]
    links += [_link(name, path, folder) for name, path in outcome.exports.items()]
    notes = "".join(
        f"<br><small>{escape(note)}</small>" for note in (outcome.message, *outcome.warnings) if note
    )
    numbers = (row.frames, row.objects, row.uncertain, duration(outcome.seconds))
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return (
        f"<tr><td>{picture}</td><td>{escape(outcome.project.stem)}<br><small>{' · '.join(links)}</small>{notes}</td>"
        f'<td class="{outcome.work}">{outcome.work}</td>{cells}</tr>'
    )


def _link(text: str, path: Path, folder: Path) -> str:
    """Return a link that holds when the report is moved together with what it describes."""
    try:
        target = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:  # another drive
        target = path.absolute().as_uri()
    return f'<a href="{escape(target, quote=True)}">{escape(text)}</a>'
