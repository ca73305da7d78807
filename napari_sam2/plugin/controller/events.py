"""Signals of the controller."""

from __future__ import annotations

from psygnal import Signal, SignalGroup

from napari_sam2.plugin.state import (
    ErrorReport,
    ExportState,
    HistoryState,
    ModelState,
    ProjectState,
    PropagationState,
    Status,
)


class ControllerEvents(SignalGroup):
    """Signals of a controller; all come in the thread that owns it (in napari: the window's).

    status : Status
        One line about everything.
    model : ModelState
        Loading, loaded, failed.
    objects : tuple of ObjectState
        The table of objects, whenever anything in it changed (also the active and selected ones).
    prompts : frozenset of (frame, object id)
        Prompts that were added, changed or removed.
    results : int
        Results on this frame are new; -1: on any frame.
    timeline : frozenset of int
        Objects whose row of the timeline changed.
    propagation : PropagationState
        Progress.
    history : HistoryState
        Steps of undo.
    project : ProjectState
        Where everything is saved.
    export : ExportState
        Progress of writing a file.
    error : ErrorReport
        An error to be shown; the session goes on.
    closed : no argument
        The session has ended.
    """

    status = Signal(Status)
    model = Signal(ModelState)
    objects = Signal(tuple)
    prompts = Signal(frozenset)
    results = Signal(int)
    timeline = Signal(frozenset)
    propagation = Signal(PropagationState)
    history = Signal(HistoryState)
    project = Signal(ProjectState)
    export = Signal(ExportState)
    error = Signal(ErrorReport)
    closed = Signal()
