"""One recording of a batch: a `track` with all its paths spelled out, done by whichever process gets it."""

from __future__ import annotations

import glob
import io
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dask

from napari_sam2.cli.commands.resume import unfinished_plan
from napari_sam2.cli.commands.track import default_project
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.main import run_command
from napari_sam2.cli.options.parser import make_parser
from napari_sam2.cli.options.prompt_options import read_json_file
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.write_exports import export_paths
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project

__all__ = ["JobOutcome", "TrackJob", "read_jobs", "run_job"]

Work = Literal["tracked", "resumed", "exported", "complete", "failed"]
_PATHS = ("prompts", "mask", "export_to")
_REPEATED = (
    "point",
    "box",
    "at",
    "set",
)  # everything else that takes several values separates them by commas


@dataclass(frozen=True)
class TrackJob:
    """Arguments of ``napari-sam2 track`` for one recording, with paths that hold in every folder.

    It travels between processes and machines (which must see the same files), and doing it twice is harmless: see
    `run_job`. Make one with `TrackJob.of`.

    Parameters
    ----------
    words : tuple of str
        The arguments of ``napari-sam2 track``, with absolute paths.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, source: str | Path, folder: str | Path = ".", **options: Any) -> TrackJob:
        """Make a job and check it as far as that goes without reading the recording.

        Parameters
        ----------
        source : str or Path
            A recording.
        folder : str or Path
            Base of relative paths, and the place of a project that has no ``out``.
        **options
            The long options of ``napari-sam2 track``, with ``_`` for ``-``: ``prompts="a.json"``,
            ``point=["0:1:320,240"]``, ``export="mp4,csv"``, ``overwrite=True``. None and False leave one out.

        Raises
        ------
        UsageError
            For an option that `track` does not have, a value that it does not take, a file that is not there, or
            when nothing says what to track.
        """
        base = Path(folder).expanduser().absolute()
        source = _located(str(source), base)
        options = {name.replace("-", "_"): value for name, value in options.items()}
        out = options.pop("out", None)
        words = [source, f"--out={base / Path(out or default_project(source)).expanduser()}"]
        for name, value in options.items():
            words += _flag(name, value, base)
        job = cls(tuple(words))
        _check_files(job.args)
        return job

    @property
    def args(self) -> Namespace:
        """The job as `track` reads it."""
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                return make_parser().parse_args(["track", *self.words])
        except SystemExit:
            complaint = said.getvalue().strip().rpartition("error: ")[2]
            raise UsageError(complaint or "a job tracks, it can't ask for help") from None

    @property
    def project(self) -> Path:
        """The project's folder."""
        folder: Path = self.args.out
        return folder


@dataclass(frozen=True)
class JobOutcome:
    """Outcome of a job.

    Parameters
    ----------
    project : Path
        The project's folder.
    work : str
        "tracked", "resumed", "exported" (the masks were there already), "complete" or "failed".
    message : str
        Why it failed.
    warnings : tuple of str
        Warnings of the command.
    result : mapping
        The result of ``track --json``: objects, frames, seconds, exports.
    """

    project: Path
    work: Work
    message: str = ""
    warnings: tuple[str, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)


def run_job(job: TrackJob) -> JobOutcome:
    """Do what is left of a job: track, go on with what was interrupted, write missing exports, or nothing at all.

    Never raises for what is wrong with one recording, so that the others of a batch go on.
    """
    args = job.args
    try:
        work, words = _left_of(job, args)
    except (CommandError, ValueError, OSError, RuntimeError) as error:
        return JobOutcome(args.out, "failed", " ".join(str(error).split()))
    if not words:
        return JobOutcome(args.out, work)
    said = io.StringIO()
    # Within a worker dask would hand the reading of every frame to the cluster, and begin the next job meanwhile.
    with dask.config.set(scheduler="threads"):
        code = run_command(make_parser().parse_args(words), Console(as_json=True, out=said))
    events = [json.loads(line) for line in said.getvalue().splitlines()]
    warnings = tuple(event["message"] for event in events if event["event"] == "warning")
    last = events[-1] if events else {"message": f"it ended with code {code}"}
    if code:
        return JobOutcome(args.out, "failed", last["message"], warnings)
    return JobOutcome(args.out, work, "", warnings, {k: v for k, v in last.items() if k != "event"})


def read_jobs(path: Path) -> tuple[TrackJob, ...]:
    """Read a jobs file: a list of jobs, or an object with the list under "jobs" and "defaults" for all of them.

    A job is an object with "source" and the options of `TrackJob.of`; relative paths begin at the file's folder.

    Raises
    ------
    CommandError
        When the file can't be read, or a job is wrong; the message has the job's number. Nothing is done then.
    """
    jobs: list[TrackJob] = []
    taken: dict[Path, int] = {}
    for number, options in enumerate(_entries(path), 1):
        try:
            job = TrackJob.of(folder=path.parent, **options)
        except (UsageError, CommandError, TypeError) as error:
            raise CommandError(f"{path}, job {number}: {error}") from error
        if job.project in taken:
            raise CommandError(
                f'{path}: jobs {taken[job.project]} and {number} both write {job.project}; give one another "out"'
            )
        taken[job.project] = number
        jobs.append(job)
    if not jobs:
        raise CommandError(f"{path} has no job in it")
    return tuple(jobs)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    data = read_json_file(path)
    defaults = data.get("defaults", {}) if isinstance(data, dict) else {}
    listed = data.get("jobs") if isinstance(data, dict) else data
    if not isinstance(listed, list) or not isinstance(defaults, dict):
        raise CommandError(f'{path} has no list of jobs: write {{"jobs": [{{"source": "movie.mp4", ...}}]}}')
    for number, entry in enumerate(listed, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("source"), str) or "folder" in entry:
            raise CommandError(
                f'{path}, job {number}: a job is an object with a "source" and options of track'
            )
        yield {**defaults, **entry}


def _located(source: str, base: Path) -> str:
    return source if "://" in source else str(base / Path(source).expanduser())


def _flag(name: str, value: Any, base: Path) -> list[str]:
    """Return an option as it is typed."""
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    values = [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
    if name not in _REPEATED:
        values = [",".join(values)]
    if name in _PATHS or (name == "model" and (base / values[0]).is_file()):
        values = [str(base / Path(v).expanduser()) for v in values]
    return [f"{flag}={v}" for v in values]


def _check_files(args: Namespace) -> None:
    if not (args.point or args.box or args.mask or args.prompts):
        raise UsageError('nothing says what to track: give "prompts", "mask", "box" or "point"')
    there = "://" in args.source or Path(args.source).exists() or glob.glob(args.source)
    if not there:
        raise UsageError(f"there is no {args.source}")
    for path in (args.prompts, args.mask):
        if path is not None and not path.exists():
            raise UsageError(f"there is no {path}")


def _left_of(job: TrackJob, args: Namespace) -> tuple[Work, list[str]]:
    """Return what is left to do, and the command that does it; no words when nothing is."""
    if args.overwrite or not is_project(args.out):
        return "tracked", ["track", *job.words]
    with Project.open(args.out) as project:
        unfinished = unfinished_plan(project) is not None
        if not unfinished and not project.frames():
            raise CommandError(f"{args.out} is there already, but without a mask: remove it, or overwrite it")
        paths = export_paths(project.path, args.export, args.export_to)
    missing = [name for name, path in paths.items() if not path.exists()]
    words = [str(args.out)]
    if missing:
        words += [f"--export={','.join(missing)}"]
        words += [f"--export-to={args.export_to}"] if args.export_to else []
    if unfinished:
        return "resumed", ["resume", *words, f"--device={args.device}"]
    return ("exported", ["export", *words]) if missing else ("complete", [])
