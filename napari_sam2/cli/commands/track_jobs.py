"""One recording of a batch: a `track` with all its paths spelled out, done by whichever process gets it."""

from __future__ import annotations

import glob
import io
import json
import os
import socket
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import dask

from napari_sam2.cli.commands.resume import unfinished_plan
from napari_sam2.cli.commands.track import INPUTS, default_project, inputs_hash
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.main import run_command
from napari_sam2.cli.options.parser import make_parser
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow.write_exports import (
    EXPORTED,
    content_hash,
    export_paths,
    file_state,
    note_exports,
)
from napari_sam2.storage.errors import ProjectLockedError
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project

__all__ = ["JobOutcome", "TrackJob", "run_job"]

Work = Literal["tracked", "resumed", "exported", "complete", "elsewhere", "failed"]
_PATHS = ("prompts", "mask", "export_to")
_REPEATED = ("point", "box", "at", "set")  # all other options separate several values by commas


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
        "tracked", "resumed", "exported" (the masks were there already), "complete", "elsewhere" (another process has
        the project open for writing) or "failed".
    message : str
        Why it failed, or which process has it open.
    warnings : tuple of str
        Warnings of the command.
    result : mapping
        The result of ``track --json``: objects, frames, seconds, exports.
    exports : mapping of str to Path
        Exports of the job that are there, by format.
    seconds : float
        Time that the job took.
    worker : str
        Name of the machine and number of the process.
    """

    project: Path
    work: Work
    message: str = ""
    warnings: tuple[str, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    exports: Mapping[str, Path] = field(default_factory=dict)
    seconds: float = 0.0
    worker: str = ""


def run_job(job: TrackJob) -> JobOutcome:
    """Do what is left of a job: track, go on with what was interrupted, write missing exports, or nothing at all.

    Never raises for what is wrong with one recording, so that the others of a batch go on.
    """
    begin = time.monotonic()
    args = job.args
    outcome = _run_job(job, args)
    paths = export_paths(args.out, args.export, args.export_to)
    return replace(
        outcome,
        exports={name: path for name, path in paths.items() if path.exists()},
        seconds=time.monotonic() - begin,
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def _run_job(job: TrackJob, args: Namespace) -> JobOutcome:
    try:
        work, words = _left_of(job, args)
    except ProjectLockedError as error:
        return JobOutcome(args.out, "elsewhere", " ".join(str(error).split()))
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
    if work == "exported":  # `export` only reads the project
        with suppress(ProjectLockedError), Project.open(args.out, "a") as project:
            note_exports(project, export_paths(project.path, args.export, args.export_to).values())
    return JobOutcome(args.out, work, "", warnings, {k: v for k, v in last.items() if k != "event"})


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
        done = project.setting(EXPORTED) or {}
        changed = project.setting(INPUTS) not in (None, inputs_hash(args))
        content = content_hash(project)
        untouched = done.get("content") == content
        missing, replaced = _exports_left(args, content, done.get("paths", {}))
    if changed and not untouched:
        raise CommandError(
            f"the job was changed after {args.out} was begun, whose masks were corrected or cut short since: "
            'give the job another "out", or "overwrite": true to track anew'
        )
    if changed:
        _require_lock(args.out)
        return "tracked", ["track", *job.words, "--overwrite"]
    words = [str(args.out)]
    if missing:
        words += [f"--export={','.join(missing)}"]
        words += [f"--export-to={args.export_to}"] if args.export_to else []
        words += ["--overwrite"] if replaced else []
    if unfinished:
        _require_lock(args.out)
        return "resumed", ["resume", *words, f"--device={args.device}"]
    first, end = args.range
    words += [] if first is None and end is None else [f"--range={first or 0}:{'' if end is None else end}"]
    return ("exported", ["export", *words]) if missing else ("complete", [])


def _exports_left(args: Namespace, content: str, done: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return the exports that are missing or older than the masks, and whether one of them is replaced."""
    missing, replaced = [], False
    for name, path in export_paths(args.out, args.export, args.export_to).items():
        written_of, state = done.get(str(path), (content, None))
        if not path.exists():
            missing.append(name)
        elif written_of != content:
            if state != file_state(path):
                raise CommandError(
                    f"{path} is older than the masks and was changed by another program: remove it, or overwrite it"
                )
            missing.append(name)
            replaced = True
    return missing, replaced


def _require_lock(folder: Path) -> None:
    """Raise ProjectLockedError when another process has a project open for writing."""
    Project.open(folder, "a").close()
