"""Fetch published weights through huggingface_hub: its cache, resumption and offline mode are used as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    list_repo_files,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from tqdm.auto import tqdm

from napari_sam2.model.errors import CheckpointError
from napari_sam2.model.weights.registry import RELEASED, PublishedSam1, ReleasedModel, micro_sam_cache

Progress = Callable[[int, int], None]
SAFETENSORS = "model.safetensors"


class _Unreachable(Exception):
    """The hub did not answer as it should; the cause says how."""


def fetch_released(model: ReleasedModel, progress: Progress | None = None) -> Path:
    """Return the local file of a released model, downloading it when it is not in the cache.

    Parameters
    ----------
    model : ReleasedModel
        What to fetch.
    progress : callable, optional
        Called with (bytes done, bytes in total) while downloading; an exception that it raises stops the
        download, which goes on from there next time.

    Raises
    ------
    CheckpointError
        When it cannot be downloaded: says which file to get from where, and where to put it. When the file is
        not what was published.
    """
    cached = cached_file(model)
    if cached is not None:
        _check_sha256(cached, model.sha256.get(cached.name))
        return cached
    for file in (SAFETENSORS, model.pickle_file):
        try:
            path = _download(model.repository, file, model.revision, progress)
        except EntryNotFoundError:
            continue
        except _Unreachable as error:
            raise CheckpointError(_how_to_get(model, error)) from error.__cause__
        else:
            _check_sha256(path, model.sha256.get(file) or _published_sha256(model, file))
            return path
    raise CheckpointError(f"{model.repository} has neither {SAFETENSORS} nor {model.pickle_file}")


def cached_file(model: ReleasedModel) -> Path | None:
    """Return the file of a released model when it was downloaded before."""
    for file in (SAFETENSORS, model.pickle_file):
        found = try_to_load_from_cache(model.repository, file, revision=model.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_repository(repository: str, progress: Progress | None = None) -> Path:
    """Return the weights of any hub repository: ``model.safetensors``, or else its only weight file."""
    for model in RELEASED.values():
        if model.repository == repository:
            return fetch_released(model, progress)
    _check_names(repository)
    try:
        files = [f for f in _files_of(repository) if f.endswith((".safetensors", ".pt", ".pth"))]
        name = SAFETENSORS if SAFETENSORS in files else (files[0] if len(files) == 1 else None)
        if name is None:
            raise CheckpointError(
                f"{repository} holds {len(files)} weight files ({', '.join(files[:5]) or 'none'}): "
                f"download the one you want and give its path"
            )
        return _download(repository, name, "main", progress)
    except (EntryNotFoundError, _Unreachable) as error:
        raise CheckpointError(
            f"'{repository}' is neither a model name ({', '.join(['nano', *RELEASED])}), nor a file, nor a hub "
            f"repository that can be reached now ({_reason(error)})"
        ) from error


def fetch_sam1(model: PublishedSam1, progress: Progress | None = None) -> Path:
    """Return the local file of a published Segment Anything 1, downloading it where the hub has it.

    Raises
    ------
    CheckpointError
        When it is neither here nor on the hub: says which file to get from where.
    """
    cached = cached_sam1(model)
    if cached is not None:
        return cached
    about = [f"{model.megabytes} MB", model.licence, *([f"SHA-256 {model.sha256}"] if model.sha256 else [])]
    how_to_get = (
        f"the Segment Anything 1 model '{model.name}' is not on this machine: get {model.url} "
        f"({', '.join(about)}) and give the path of the file instead of the name"
    )
    if model.repository is None:
        raise CheckpointError(how_to_get)
    try:
        return fetch_repository(model.repository, progress)
    except CheckpointError as error:
        raise CheckpointError(f"{how_to_get} ({error})") from error


def cached_sam1(model: PublishedSam1) -> Path | None:
    """Return a published file where it is on this machine: in micro-sam's cache, or in that of the hub."""
    file = micro_sam_cache() / model.name
    if file.is_file():
        return file
    found = None if model.repository is None else try_to_load_from_cache(model.repository, SAFETENSORS)
    return Path(found) if isinstance(found, str) else None


def _files_of(repository: str) -> list[str]:
    """Return the names of a repository's files; without a network, of those that are in the cache."""
    try:
        return list_repo_files(repository)
    except Exception as error:  # the hub's client lets those of its HTTP library through, whichever that is
        try:
            folder = Path(snapshot_download(repository, local_files_only=True))
        except Exception:
            raise _Unreachable from error
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def _check_names(*names: str) -> None:
    """Raise CheckpointError for names that lead out of the cache's folder of a repository."""
    for name in names:
        if "\\" in name or ".." in name.split("/") or name.startswith("/") or not name.isprintable():
            raise CheckpointError(
                f"{name!r} is no name of a repository or of a file in one: nothing is downloaded"
            )


def _download(repository: str, file: str, revision: str, progress: Progress | None) -> Path:
    """Return the local file; raises EntryNotFoundError, _Unreachable, or what ``progress`` raised to stop it."""
    _check_names(repository, file)
    stopped: list[BaseException] = []

    def report(done: int, total: int) -> None:
        assert progress is not None
        try:
            progress(done, total)
        except BaseException as error:
            stopped.append(error)
            raise

    bar = None if progress is None else _reporting_bar(report)
    try:
        return Path(hf_hub_download(repository, file, revision=revision, tqdm_class=bar))
    except Exception as error:
        if stopped:
            raise stopped[0] from None
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise
        raise _Unreachable from error  # LocalEntryNotFoundError, too: "not in the cache" without a network


def _reporting_bar(progress: Progress) -> type[Any]:
    """Make a tqdm class that reports to ``progress`` instead of drawing a bar."""

    class ReportingBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _Silence(), "gui": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            progress(int(self.n), int(self.total or 0))
            return drawn

    return ReportingBar


class _Silence:
    """A text file that forgets."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


def _published_sha256(model: ReleasedModel, file: str) -> str | None:
    """Ask the hub for a large file's checksum (its entity tag); None when it does not say."""
    try:
        tag = get_hf_file_metadata(hf_hub_url(model.repository, file, revision=model.revision)).etag
    except Exception:
        return None
    return tag if tag is not None and len(tag) == 64 else None


def _check_sha256(path: Path, expected: str | None) -> None:
    if expected is None:
        return
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} is not the published file (SHA-256 {found[:12]}…, expected {expected[:12]}…): "
            f"delete it and download it again"
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _how_to_get(model: ReleasedModel, error: Exception) -> str:
    return (
        f"cannot download the model '{model.name}' ({_reason(error)}). On a machine with a "
        f"network, get {model.pickle_file} ({model.megabytes} MB) from "
        f"https://huggingface.co/{model.repository}, copy it here, and give its path instead of the name. "
        f"The model 'nano' needs no download"
    )


def _reason(error: BaseException) -> str:
    error = error.__cause__ or error
    first_line = (str(error).strip().splitlines() or ["no details"])[0][:200]
    return f"{type(error).__name__}: {first_line}"
