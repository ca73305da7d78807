"""Jobs files of a batch: JSON, TOML or CSV, with patterns and templates."""

from __future__ import annotations

import csv
import glob
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_sam2.cli.commands.track import source_stem
from napari_sam2.cli.commands.track_jobs import TrackJob
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.options.prompt_options import read_json_file
from napari_sam2.cli.workflow.write_exports import export_paths
from napari_sam2.frames.extensions import TIFF_ENDINGS, VIDEO_ENDINGS, ZARR_ENDINGS
from napari_sam2.frames.open_source import open_source

__all__ = ["read_jobs"]

_TEMPLATES = ("stem", "folder", "parent")
_FILLED = ("out", "prompts", "mask", "export_to")
_FLAGS = {"true": True, "false": False}  # a cell of a table is text


def read_jobs(path: Path) -> tuple[TrackJob, ...]:
    """Read a jobs file.

    JSON and TOML hold a list of jobs under "jobs" and "defaults" for all of them (JSON: or the list alone); a row of
    a CSV is a job, and its columns are named like the options. A job has a "source", or "sources" (patterns, each
    match of which becomes a job), and the options of `TrackJob.of`. Relative paths begin at the file's folder.
    ``{stem}``, ``{folder}`` and ``{parent}`` in paths stand for the name of the recording without its ending, its
    folder, and the name of that folder.

    Raises
    ------
    CommandError
        When the file can't be read, or a job is wrong; the message has the job's number. Nothing is done then.
    """
    jobs: list[TrackJob] = []
    taken: dict[Path, int] = {}
    for number, options in enumerate(_entries(path), 1):
        try:
            for source, filled in _expanded(options, path.parent):
                job = TrackJob.of(source, folder=path.parent, **filled)
                _take(job, number, taken)
                jobs.append(job)
        except (UsageError, CommandError, TypeError, ValueError, OSError) as error:
            raise CommandError(f"{path}, job {number}: {error}") from error
    if not jobs:
        raise CommandError(f"{path} has no job in it")
    return tuple(jobs)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the jobs as they stand in the file, each with the defaults."""
    read: Callable[[Path], Any] = _TABLES.get(path.suffix.lower(), read_json_file)
    data = read(path)
    defaults = data.get("defaults", {}) if isinstance(data, dict) else {}
    listed = data.get("jobs") if isinstance(data, dict) else data
    if not isinstance(listed, list) or not isinstance(defaults, dict):
        raise CommandError(f'{path} has no list of jobs: write {{"jobs": [{{"source": "movie.mp4", ...}}]}}')
    for number, entry in enumerate(listed, 1):
        known = isinstance(entry, dict) and "folder" not in entry
        job = {**defaults, **entry} if known else {}
        if not isinstance(job.get("source"), str) and "sources" not in job:
            raise CommandError(
                f'{path}, job {number}: a job is an object with a "source" and options of track'
            )
        yield job


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise CommandError(f"{path} can't be read as a CSV table: {error}") from error
    if any(None in row for row in rows):
        raise CommandError(f"{path} has a row with more cells than there are column names")
    return [{k: _FLAGS.get(v.lower(), v) for k, v in row.items() if v} for row in rows]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} can't be read as TOML: {error}") from error


_TABLES: dict[str, Callable[[Path], Any]] = {".csv": _read_csv, ".toml": _read_toml}


def _expanded(options: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (source, options) for each recording of an entry, with the templates filled in."""
    rest = dict(options)
    source, patterns = rest.pop("source", None), rest.pop("sources", [])
    if source is not None and patterns:
        raise UsageError('give "source" or "sources", not both')
    if source is not None:
        _check_one_recording(source, folder, rest)
        found = [source]
    else:
        found = _matches([patterns] if isinstance(patterns, str) else patterns, folder)
    for name in found:
        yield name, {key: _filled(key, value, name, folder) for key, value in rest.items()}


def _matches(patterns: Any, folder: Path) -> list[str]:
    if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
        raise UsageError('"sources" is a pattern such as "day1/*.mp4", or a list of patterns')
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = sorted(glob.glob(str(folder / Path(pattern).expanduser())))
        # projects lie beside the recordings that they were made from
        matches = [match for match in matches if not match.endswith(".sam2")]
        if not matches:
            raise UsageError(f'nothing matches "{pattern}"')
        found |= dict.fromkeys(matches)
    return list(found)


def _check_one_recording(source: str, folder: Path, options: Mapping[str, Any]) -> None:
    """Refuse a pattern whose files are recordings themselves: in one stack they would be read as an axis."""
    path = folder / Path(source).expanduser()
    matches = [] if "://" in source or path.exists() else glob.glob(str(path))
    if len(matches) < 2 or {"at", "axis", "axes"} & set(options):
        return
    ending = Path(matches[0]).suffix.lower()
    whole = ending in VIDEO_ENDINGS or ending in ZARR_ENDINGS or Path(matches[0]).is_dir()
    if not whole and ending in TIFF_ENDINGS:
        with open_source(matches[0]) as first:
            whole = len(first.frames()) > 1
    if whole:
        raise UsageError(
            f'"{source}" are {len(matches)} recordings: write "sources" in place of "source" to make each of them a job'
        )


def _filled(key: str, value: Any, source: str, folder: Path) -> Any:
    """Return an option with the templates of its paths filled in."""
    if key not in _FILLED or not isinstance(value, str):
        return value
    path = (folder / Path(source).expanduser()).absolute()
    named = {"stem": source_stem(source), "folder": str(path.parent), "parent": path.parent.name}

    def fill(match: re.Match[str]) -> str:
        if match[1] not in named:
            names = ", ".join(f"{{{name}}}" for name in _TEMPLATES)
            raise UsageError(f'there is no {match[0]} to fill in "{key}": use {names}')
        return named[match[1]]

    return re.sub(r"\{(\w*)\}", fill, value)


def _take(job: TrackJob, number: int, taken: dict[Path, int]) -> None:
    """Refuse a job that writes what another one writes."""
    args = job.args
    exports = export_paths(job.project, args.export, args.export_to)
    for path, option in {job.project: "out", **dict.fromkeys(exports.values(), "export_to")}.items():
        if path in taken:
            example = "" if option == "out" else ', for example "results/{stem}"'
            raise CommandError(f'job {taken[path]} writes {path}, too; give each another "{option}"{example}')
        taken[path] = number
