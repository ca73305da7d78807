"""Keys for everything frequent; none of them is one of napari's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.prompts import Prompts

Act = Callable[[Any], object]


@dataclass(frozen=True)
class Shortcut:
    """One key.

    Parameters
    ----------
    name : str
        What it is called in the code.
    key : str
        As napari writes it ("Shift-G").
    group, title : str
        Where it stands in the cheat sheet, and what it does in a few words.
    verb : callable, optional
        Where the tooltip's sentence is taken from: its docstring.
    also : str
        Another key; where the active layer has it for itself, it is the layer's.
    """

    name: str
    key: str
    group: str
    title: str
    verb: Callable[..., Any] | None = None
    also: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The key, and the other one when there is one."""
        return (self.key, self.also) if self.also else (self.key,)

    @property
    def shown(self) -> str:
        """The keys as people read them."""
        return " or ".join(key.replace("Control", "Ctrl").replace("-", "+") for key in self.keys)

    @property
    def sentence(self) -> str:
        """What it does: the first sentence of the verb's docstring, or the title."""
        text = inspect.getdoc(self.verb) if self.verb is not None else None
        return " ".join(text.split("\n\n")[0].split()) if text else self.title


SHORTCUTS = {
    s.name: s
    for s in (
        Shortcut("points", "Control-1", "Prompt", "Points tool"),
        Shortcut("box", "Control-2", "Prompt", "Box tool"),
        Shortcut("region", "Control-3", "Prompt", "Region tool: draw around it with a lasso"),
        Shortcut("paint", "Control-4", "Prompt", "Paint tool"),
        Shortcut("sign", "Q", "Prompt", "Switch between “here” and “not here”"),
        Shortcut(
            "cycle", "W", "Prompt", "Show another mask for an ambiguous click", Prompts.cycle_alternative
        ),
        Shortcut(
            "clear", "Shift-D", "Prompt", "Take back all prompts of the object on this frame", Prompts.clear
        ),
        Shortcut("new_object", "N", "Objects", "New object", Objects.add),
        Shortcut("next_object", "J", "Objects", "Next object", Objects.step),
        Shortcut("previous_object", "K", "Objects", "Previous object"),
        Shortcut("solo", "Shift-S", "Objects", "Show the selected objects alone, or all again"),
        Shortcut("forward", ".", "Track", "Track forward (again: stop)"),
        Shortcut("backward", ",", "Track", "Track backward (again: stop)"),
        Shortcut("both", "/", "Track", "Track both ways (again: stop)"),
        Shortcut("stop", "H", "Track", "Halt; everything that is done stays", Controller.stop),
        Shortcut("next_doubt", "G", "Check", "Go to the next doubtful frame"),
        Shortcut("previous_doubt", "Shift-G", "Check", "Go to the previous doubtful frame"),
        Shortcut("undo", "U", "History", "Undo", Controller.undo, "Control-Z"),
        Shortcut("redo", "Shift-U", "History", "Redo", Controller.redo, "Control-Shift-Z"),
        Shortcut("help", "F1", "History", "This list"),
    )
}


# What napari itself has for the same work: shown beside ours, never bound.
NAPARI_KEYS = (
    ("← →", "Frame by frame"),
    ("Space", "Hold to move and zoom"),
    ("Delete", "Delete the selected points or shapes"),
    ("[  ]", "Brush size (Paint)"),
    ("Ctrl+Z", "On a Labels layer: undo a brush stroke"),
)


def tip(name: str, text: str = "") -> str:
    """Return the tooltip of a button: what it does, and its key."""
    shortcut = SHORTCUTS[name]
    return f"{text or shortcut.sentence}\nKey: {shortcut.shown}"


class KeyBindings:
    """Binds the keys of one viewer to what a dock can do; the dock that was used last has them.

    Parameters
    ----------
    viewer : Viewer
        Whose keys.
    acts : dict of str to callable
        What to do, by name of the shortcut; called without arguments.
    """

    def __init__(self, viewer: Any, acts: dict[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._acts = acts
        self._bound: dict[str, Callable[[Any], None]] = {}

    def take(self) -> None:
        """Bind the keys, in place of those of another dock."""
        for name, act in self._acts.items():
            for key in SHORTCUTS[name].keys:
                if key in self._bound and self._holds(key):
                    continue
                self._bound[key] = _pressed(act, SHORTCUTS[name].title)
                self._viewer.bind_key(key, self._bound[key], overwrite=True)

    def release(self) -> None:
        """Unbind the keys that are still those of this dock."""
        for key in [key for key in self._bound if self._holds(key)]:
            self._viewer.bind_key(key, None)
        self._bound.clear()

    def _holds(self, key: str) -> bool:
        return any(found is self._bound[key] for found in self._viewer.keymap.values())


def _pressed(act: Callable[[], object], title: str) -> Callable[[Any], None]:
    def pressed(viewer: Any) -> None:
        act()

    pressed.__doc__ = title  # napari shows it in its own list of shortcuts
    return pressed
