"""The state of a controller as frozen snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_sam2.objects import Color

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True)
class ModelState:
    """The network, and the progress of its loading.

    Parameters
    ----------
    name : str
        What ``load_model`` was given: "nano", "tiny", a path …
    phase : {"none", "loading", "ready", "failed"}
        Prompts that come while it loads are answered when it is ready.
    device, precision : str
        What was chosen; when ready, what runs ("cpu", "cuda"; "float32", "bfloat16").
    image_size : int or None
        Side of the input in pixels; None before it is ready, unless another than the network's own was chosen.
    bytes_done, bytes_total : int
        Of a download; 0, 0 when nothing is downloaded or the size is not known yet.
    message : str
        One sentence when loading failed.
    frame_by_frame : bool
        It is a Segment Anything 1: without memory, it follows objects by prompting each frame with the mask before.
    finds_instances : bool
        It has micro-sam's decoder, which finds all cells of a frame at once.
    """

    name: str = ""
    phase: Literal["none", "loading", "ready", "failed"] = "none"
    device: str = "auto"
    precision: str = "auto"
    image_size: int | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    message: str = ""
    frame_by_frame: bool = False
    finds_instances: bool = False


@dataclass(frozen=True)
class ObjectState:
    """One row of the table of objects.

    Parameters
    ----------
    object_id : int
        The label value, 1 to 65535.
    name : str
        Empty when the user gave none.
    color : tuple of int
        8-bit RGB.
    active : bool
        New prompts go to this object; exactly one is active unless there is none.
    selected : bool
        Part of the selection that verbs on several objects work on.
    visible : bool
        False while another object is shown alone.
    locked : bool
        Neither prompts nor propagation change it.
    prompted_frames : tuple of int
        Frames with a prompt.
    present : int
        On how many frames it is seen.
    first, last : int or None
        First and last frame on which it is seen.
    uncertainty : float
        Highest uncertainty over all frames, 0 (certain) to 1.
    """

    object_id: int
    name: str
    color: Color
    active: bool = False
    selected: bool = False
    visible: bool = True
    locked: bool = False
    prompted_frames: tuple[int, ...] = ()
    present: int = 0
    first: int | None = None
    last: int | None = None
    uncertainty: float = 0.0

    @property
    def title(self) -> str:
        """The name, or "object ID" without one."""
        return self.name or f"object {self.object_id}"


@dataclass(frozen=True)
class PropagationState:
    """Progress of a propagation.

    Parameters
    ----------
    phase : {"idle", "running", "paused", "stopping"}
        Paused: prompts are being answered, it goes on by itself.
    direction : {"forward", "backward", "both"}
        As asked for.
    frame : int
        The frame that was finished last; -1 before the first.
    done, total : int
        Frames.
    fps : float
        Frames per second over the last frames, 0 when unknown.
    eta : float
        Seconds to go, 0 when unknown.
    outcome : {"", "finished", "stopped", "failed"}
        How the last one ended (when idle).
    """

    phase: Literal["idle", "running", "paused", "stopping"] = "idle"
    direction: Direction = "forward"
    frame: int = -1
    done: int = 0
    total: int = 0
    fps: float = 0.0
    eta: float = 0.0
    outcome: Literal["", "finished", "stopped", "failed"] = ""


@dataclass(frozen=True)
class UndoGroup:
    """One step of undo, whatever the user's action asks the session for.

    Parameters
    ----------
    label : str
        A few words for the list of undo, beginning with a capital.
    number : int
        Requests of the same number belong together; 0: one request alone.
    """

    label: str
    number: int = 0


@dataclass(frozen=True)
class UndoStep:
    """One step of undo: a number that stays with it, and what the user did."""

    number: int
    label: str


@dataclass(frozen=True)
class HistoryState:
    """Everything that can be undone and redone.

    Parameters
    ----------
    steps : tuple of UndoStep
        Oldest first.
    applied : int
        How many of them are in effect; the others can be redone.
    """

    steps: tuple[UndoStep, ...] = ()
    applied: int = 0

    @property
    def undo_label(self) -> str:
        """Label of the next undo; empty if there is none."""
        return self.steps[self.applied - 1].label if self.applied else ""

    @property
    def redo_label(self) -> str:
        """Label of the next redo; empty if there is none."""
        return self.steps[self.applied].label if self.can_redo else ""

    @property
    def can_undo(self) -> bool:
        """True if a step can be undone."""
        return self.applied > 0

    @property
    def can_redo(self) -> bool:
        """True if a step can be redone."""
        return self.applied < len(self.steps)


@dataclass(frozen=True)
class ProjectState:
    """Where everything is saved as it goes.

    Parameters
    ----------
    path : Path or None
        The project folder; None before it is open.
    resumed : bool
        The project was there before and its objects were taken over.
    interrupted_at : int or None
        The last frame of a propagation that was stopped or killed before its end; see :meth:`Controller.resume`.
    temporary : bool
        It will be deleted on closing, because no project folder could be written (see ``message``).
    message : str
        One sentence when autosave is not what the user expects.
    destroyed : Path or None
        A project with a destroyed database, which :meth:`Controller.restore_project` starts again.
    """

    path: Path | None = None
    resumed: bool = False
    interrupted_at: int | None = None
    temporary: bool = False
    message: str = ""
    destroyed: Path | None = None


@dataclass(frozen=True)
class ExportState:
    """Progress of writing a file.

    Parameters
    ----------
    name : str
        Name of the file or folder.
    phase : {"running", "finished", "cancelled", "failed"}
        How it goes.
    done, total : int
        Frames.
    """

    name: str
    phase: Literal["running", "finished", "cancelled", "failed"]
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Status:
    """Everything about a controller that fits on one line.

    Parameters
    ----------
    phase : {"opening", "ready", "working", "closed"}
        Opening: frames, model or project are not there yet. Working: an answer is under way.
    message : str
        One sentence for the user: what goes on, or what to do next.
    frame, n_frames : int
        The frame that is shown, and how many there are.
    pending : int
        Requests that are not answered yet, and answers that are not shown yet.
    plane_is_current : bool
        False: the viewer was moved along another axis (z …) to where this session does not work; see
        :meth:`Controller.follow_plane`.
    """

    phase: Literal["opening", "ready", "working", "closed"] = "opening"
    message: str = ""
    frame: int = 0
    n_frames: int = 0
    pending: int = 0
    plane_is_current: bool = True


@dataclass(frozen=True)
class ErrorReport:
    """Something went wrong; the session goes on.

    Parameters
    ----------
    title : str
        What was tried, a few words.
    message : str
        One sentence: what was wrong and what to do.
    details : str
        Traceback, for a folded part or a log; may be empty.
    """

    title: str
    message: str
    details: str = ""


@dataclass(frozen=True)
class ModelChoice:
    """Name or path of a network, device, precision and side of the input in pixels (None: the network's own)."""

    name: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    image_size: int | None = None


@dataclass(frozen=True)
class Preferences:
    """The plugin's preferences as a controller uses them.

    Parameters
    ----------
    model : ModelChoice
        What is loaded first.
    cache_mb : int
        Budget of the cache of image features, in MiB.
    autosave_folder : Path or None
        Where projects go; None for a folder in the user's home.
    follow : bool
        Let the viewer show each frame as it is tracked.
    encode_ahead : int
        How many neighbours of the shown frame are encoded while nothing else is to do.
    """

    model: ModelChoice = ModelChoice()
    cache_mb: int = 512
    autosave_folder: Path | None = None
    follow: bool = True
    encode_ahead: int = 1
