"""Opening a session in a project, after making sure that frames and model are those it was made with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields

from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.sam2 import Sam2
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import FrameSource
from napari_sam2.storage.errors import ProjectError, ProjectMismatchError
from napari_sam2.storage.frames_fingerprint import frames_hash
from napari_sam2.storage.project import Project
from napari_sam2.storage.recorded_session import RecordedSession
from napari_sam2.storage.schema import ModelDescription


def open_session(
    project: Project,
    model: Sam2 | Sam,
    frames: FrameSource,
    options: SessionOptions | None = None,
    *,
    verify: bool = True,
) -> RecordedSession:
    """Begin, or go on with, a session in a project.

    Parameters
    ----------
    project : Project
        Open for writing.
    model : Sam2 or Sam
        The network; the one that the project was made with.
    frames : FrameSource
        The frames; those that the project was made with.
    options : SessionOptions, optional
        How to compute; by default as saved in the project. Others are saved there.
    verify : bool
        Compare the content of the frames with the project's fingerprint, which reads a few of them.

    Raises
    ------
    ProjectMismatchError
        The project belongs to other frames or to another model.
    ProjectReadOnlyError
        The project is open for reading only.
    """
    project.require_writable()
    _check_frames(project, frames, verify)
    _check_model(project, model)
    if options is None:
        options = options_of(project)
    elif asdict(options) != project.options:
        project.save_options(asdict(options))
    return RecordedSession(project, model, frames, options)


def options_of(project: Project) -> SessionOptions:
    """Return the session options that a project was made with; unknown ones are left out."""
    known = {f.name for f in fields(SessionOptions)}
    try:
        return SessionOptions(**{k: v for k, v in project.options.items() if k in known})
    except (TypeError, ValueError) as error:
        raise ProjectError(f"the options saved in {project.path} cannot be used: {error}") from error


def describe_model(model: Sam2 | Sam, name: str = "") -> ModelDescription:
    """Return name, hash of the weights and input size of a network, as a project keeps them."""
    origin, side = getattr(model, "origin", None), model.config.image_size
    if origin is not None:
        return ModelDescription(name or origin.name, origin.sha256, side)
    return ModelDescription(name, weights_hash(model), side)


def weights_hash(model: Sam2 | Sam) -> str:
    """Return a hash of all weights of a network, for one that was not read from a file."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _check_frames(project: Project, frames: FrameSource, verify: bool) -> None:
    shape = (len(frames), *frames.size)
    if tuple(shape) != tuple(project.shape):
        raise ProjectMismatchError(
            f"{project.path} was made with {project.shape[0]} frames of {project.shape[1]} × "
            f"{project.shape[2]} pixels, these are {shape[0]} of {shape[1]} × {shape[2]}: "
            "open the frames that it was made with"
        )
    known = project.source.fingerprint
    if verify and known and frames_hash(frames) != known:
        raise ProjectMismatchError(
            f"{project.path} was made with other frames, or with another contrast: "
            "open the frames that it was made with"
        )


def _check_model(project: Project, model: Sam2 | Sam) -> None:
    known = project.model.weights_hash
    if known and describe_model(model).weights_hash != known:
        raise ProjectMismatchError(
            f"{project.path} was made with the model {project.model.name!r} with other weights: "
            "use that one, or start a new project"
        )
    side = project.model.image_size
    if side is not None and side != model.config.image_size:
        raise ProjectMismatchError(
            f"{project.path} was made at an input size of {side} pixels and not {model.config.image_size}: "
            "use that size, or start a new project"
        )
