"""Keys of the docks; none of them is one of napari's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shortcut:
    """One key.

    Parameters
    ----------
    name : str
        Name of the action in the code.
    key : str
        As napari writes it ("Shift-G").
    group, title : str
        Heading on the page of keys, and a few words on what the key does.
    sentence : str
        Tooltip; by default the title.
    also : str
        Another key, which the active layer may use for itself.
    """

    name: str
    key: str
    group: str
    title: str
    sentence: str = ""
    also: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The key, and the other one if there is one."""
        return (self.key, self.also) if self.also else (self.key,)

    @property
    def shown(self) -> str:
        """The keys as users read them."""
        return " or ".join(key.replace("Control", "Ctrl").replace("-", "+") for key in self.keys)


SHORTCUTS = {
    s.name: s
    for s in (
        Shortcut("points", "Control-1", "Prompt", "Points tool"),
        Shortcut("box", "Control-2", "Prompt", "Box tool"),
        Shortcut("region", "Control-3", "Prompt", "Region tool: draw around it with a lasso"),
        Shortcut("paint", "Control-4", "Prompt", "Paint tool"),
        Shortcut("sign", "Q", "Prompt", "Switch between “here” and “not here”"),
        Shortcut(
            "cycle",
            "W",
            "Prompt",
            "Show another mask for an ambiguous click",
            "Show another of the masks that the network offers for the prompts of the active object on this frame.",
        ),
        Shortcut(
            "clear",
            "Shift-D",
            "Prompt",
            "Take back all prompts of the object on this frame",
            "Delete all prompts of the active object on this frame.",
        ),
        Shortcut("new_object", "N", "Objects", "New object", "Add an object: the next prompts belong to it."),
        Shortcut("next_object", "J", "Objects", "Next object"),
        Shortcut("previous_object", "K", "Objects", "Previous object"),
        Shortcut("solo", "Shift-S", "Objects", "Show the selected objects alone, or all again"),
        Shortcut("forward", ".", "Track", "Track forward (again: stop)"),
        Shortcut("backward", ",", "Track", "Track backward (again: stop)"),
        Shortcut("both", "/", "Track", "Track both ways (again: stop)"),
        Shortcut(
            "stop",
            "H",
            "Track",
            "Halt; everything that is done stays",
            "Stop tracking after this frame; all masks found so far are kept.",
        ),
        Shortcut("next_uncertain", "G", "Check", "Go to the next uncertain frame"),
        Shortcut("previous_uncertain", "Shift-G", "Check", "Go to the previous uncertain frame"),
        Shortcut("undo", "U", "History", "Undo", also="Control-Z"),
        Shortcut("redo", "Shift-U", "History", "Redo", also="Control-Shift-Z"),
        Shortcut("help", "F1", "History", "This list", "Show all keys on one page."),
    )
}
# Keys of napari for the same work: shown beside ours, never bound.
NAPARI_KEYS = (
    ("← →", "Frame by frame"),
    ("Space", "Hold to move and zoom"),
    ("Delete", "Delete the selected points or shapes"),
    ("[  ]", "Brush size (Paint)"),
    ("Ctrl+Z", "On a Labels layer: undo a brush stroke"),
)


def keys_by_group(napari_title: str) -> dict[str, list[tuple[str, str]]]:
    """Return (keys, title) of all shortcuts by heading; napari's own keys come last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for shortcut in SHORTCUTS.values():
        groups.setdefault(shortcut.group, []).append((shortcut.shown, shortcut.title))
    return {**groups, napari_title: list(NAPARI_KEYS)}


def tip(name: str, text: str = "") -> str:
    """Return the tooltip of a button: a sentence and its key."""
    shortcut = SHORTCUTS[name]
    return f"{text or shortcut.sentence or shortcut.title}\nKey: {shortcut.shown}"


class KeyBindings:
    """Binds the keys of a viewer to the actions of the dock that was used last.

    Parameters
    ----------
    viewer : Viewer
        Viewer of the dock.
    actions : dict of str to callable
        Actions by the names of their shortcuts; called without arguments.
    """

    def __init__(self, viewer: Any, actions: dict[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._actions = actions
        self._bound: dict[str, Callable[[Any], None]] = {}

    def bind(self) -> None:
        """Bind the keys in place of those of another dock."""
        for name, action in self._actions.items():
            for key in SHORTCUTS[name].keys:
                if key in self._bound and self._is_bound(key):
                    continue
                self._bound[key] = _pressed(action, SHORTCUTS[name].title)
                self._viewer.bind_key(key, self._bound[key], overwrite=True)

    def release(self) -> None:
        """Unbind the keys that still belong to this dock."""
        for key in [key for key in self._bound if self._is_bound(key)]:
            self._viewer.bind_key(key, None)
        self._bound.clear()

    def _is_bound(self, key: str) -> bool:
        return any(found is self._bound[key] for found in self._viewer.keymap.values())


def _pressed(action: Callable[[], object], title: str) -> Callable[[Any], None]:
    def pressed(viewer: Any) -> None:
        action()

    pressed.__doc__ = title  # shown in napari's own list of shortcuts
    return pressed
