"""One controller for each image: opened once, shared by every dock and script."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.layers.image_layer import unwrapped
from napari_sam2.plugin.layers.metadata import PROJECT_KEY
from napari_sam2.plugin.preferences import load_preferences
from napari_sam2.plugin.state import ModelChoice, Preferences
from napari_sam2.plugin.worker.session_spec import Opener
from napari_sam2.storage.errors import ProjectError
from napari_sam2.storage.project import Project
from napari_sam2.storage.project_folder import is_project
from napari_sam2.storage.schema import ModelDescription

_KEY = "napari_sam2"


class _Holder:
    """Holds controllers in the metadata of their image; a copy of the layer gets an empty one."""

    def __init__(self) -> None:
        self.controllers: list[Controller] = []

    def __copy__(self) -> _Holder:
        return _Holder()

    def __deepcopy__(self, memo: object) -> _Holder:
        return _Holder()

    def __reduce__(self) -> tuple[type[_Holder], tuple[()]]:
        return _Holder, ()


def open_tracker(
    viewer: Any,
    layer: Any,
    model: str | None = None,
    *,
    device: str | None = None,
    image_size: int | None = None,
    frame_axis: int | None = None,
    project: str | Path | None = None,
    preferences: Preferences | None = None,
    opener: Opener | None = None,
) -> Controller:
    """Open the tracker on an image, or return the one that is open on it.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
        Shows the image.
    layer : Image layer, or sequence of Image layers
        The recording; several layers are the channels of one.
    model : str, optional
        "nano", a released model, or a file; by default as the project or the plugin's preferences say.
    device, image_size : str, int, optional
        "auto", "cpu", "cuda", "mps"; side of the input in pixels, by default as the project or the network says.
    frame_axis : int, optional
        Axis of the layer that counts frames; by default time, else the first.
    project : path, optional
        The project folder; by default one in the autosave folder that is found again by the image's content.
    preferences : Preferences, optional
        By default the plugin's.
    opener : callable, optional
        Opens the session; by default a recorded one.

    Returns
    -------
    Controller
        Its model may still be loading; see :meth:`Controller.wait`.

    Raises
    ------
    TypeError, ValueError
        This is no Image layer, or the layers do not fit together.
    """
    viewer = unwrapped(viewer)
    images = tuple(unwrapped(i) for i in (layer if isinstance(layer, Sequence) else (layer,)))
    found = find_controller(viewer, images)
    if found is not None:
        _change(found, model, device, image_size, frame_axis)
        return found
    preferences = preferences or load_preferences()
    required = project is not None
    if not required and images and is_project(images[0].metadata.get(PROJECT_KEY, "")):
        project = images[0].metadata[PROJECT_KEY]  # the image was opened as part of it
    choice = _choice(preferences.model, model, device, image_size, _model_of(project))
    settings, path = replace(preferences, model=choice), None if project is None else Path(project)
    opener = opener or _default_opener()
    controller = Controller(viewer, images, opener, settings, frame_axis, path, required, _event_loop())
    _share(controller)
    return controller


def _choice(
    preferred: ModelChoice,
    name: str | None,
    device: str | None,
    image_size: int | None,
    saved: ModelDescription | None,
) -> ModelChoice:
    """Return what is asked for; what is not asked for is as the project or the preferences say."""
    if saved is not None and name in (None, saved.name):
        name, image_size = saved.name or None, image_size or saved.image_size
    elif name is None:
        image_size = image_size or preferred.image_size
    return ModelChoice(name or preferred.name, device or preferred.device, preferred.precision, image_size)


def find_controller(viewer: Any, images: Sequence[Any]) -> Controller | None:
    """Return the controller that is open on images in a viewer; None when there is none."""
    if not images:
        return None
    viewer, images = unwrapped(viewer), [unwrapped(image) for image in images]
    holder = getattr(images[0], "metadata", {}).get(_KEY)
    for controller in getattr(holder, "controllers", ()):
        same = len(controller.images) == len(images) and all(
            a is b for a, b in zip(controller.images, images)
        )
        if same and controller.viewer is viewer and not controller.closed:
            found: Controller = controller
            return found
    return None


def _model_of(project: Any) -> ModelDescription | None:
    """Return the model of a project; None when there is none, or it can't be read."""
    if project is None:
        return None
    try:
        with Project.open(project, "r") as opened:
            return opened.model
    except ProjectError:  # the session says so when it is opened
        return None


def _change(
    controller: Controller,
    model: str | None,
    device: str | None,
    image_size: int | None,
    frame_axis: int | None,
) -> None:
    """Change the model and the frame axis of an open controller, if others are asked for now."""
    choice = controller.preferences.model
    if image_size is None and model in (None, choice.name):
        image_size = choice.image_size
    wanted = ModelChoice(model or choice.name, device or choice.device, choice.precision, image_size)
    if wanted != choice:
        controller.load_model(*astuple(wanted))
    if frame_axis is not None and frame_axis != controller.geometry.frame_axis:
        controller.set_frame_axis(frame_axis)


def _share(controller: Controller) -> None:
    holder = controller.image.metadata.setdefault(_KEY, _Holder())
    holder.controllers.append(controller)
    controller.events.closed.connect(lambda: _forget(holder, controller))


def _forget(holder: _Holder, controller: Controller) -> None:
    if controller in holder.controllers:
        holder.controllers.remove(controller)


def _default_opener() -> Opener:
    # Brings torch and zarr: only when a session is opened.
    from napari_sam2.plugin.worker.open_backend import LoadedModel, open_backend

    return partial(open_backend, LoadedModel())


def _event_loop() -> Callable[[Controller], object] | None:
    """Return what lets Qt's event loop drive a controller; None without a window: a script calls ``wait``."""
    core = sys.modules.get("qtpy.QtCore")
    if core is None or core.QCoreApplication.instance() is None:
        return None
    from napari_sam2.plugin.qt.event_loop import QtBridge

    return QtBridge
