"""Keys against everything that napari has, in its settings, layers and menus; and the page of the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import napari.layers
import numpy as np
import pytest
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtGui import QAction, QKeySequence

from napari_sam2.plugin.docks.parts.shortcuts import NAPARI_KEYS, SHORTCUTS
from tests.plugin.dock_world import native, shown

DOCS = Path(__file__).parents[3] / "docs"
LAYERS = ("Image", "Labels", "Points", "Shapes", "Surface", "Tracks", "Vectors")
SHARED = {"Control-Z", "Control-Shift-Z"}  # where a layer has them, they are the layer's


def ours():
    return {coerce_keybinding(key): key for s in SHORTCUTS.values() for key in s.keys}


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_has_one_of_the_keys(name):
    kind = getattr(napari.layers, name)
    taken = {coerce_keybinding(key) for base in kind.__mro__ for key in getattr(base, "class_keymap", {})}
    assert name != "Labels" or coerce_keybinding("Control-Z") in taken  # the table is not empty
    assert {text for key, text in ours().items() if key in taken} <= SHARED


def test_no_viewer_has_one_of_the_keys():
    taken = {coerce_keybinding(key) for key in napari.Viewer.class_keymap}
    assert not {text for key, text in ours().items() if key in taken}


def all_actions(actions: list[QAction]):
    """Actions of menus and of the menus in them."""
    for action in actions:
        yield action
        if action.menu() is not None:
            action.menu().aboutToShow.emit()  # napari fills some when they are shown
            yield from all_actions(action.menu().actions())


@pytest.mark.gui
def test_no_menu_has_one_of_the_keys(make_napari_viewer):
    viewer = shown(make_napari_viewer(show=True))
    viewer.add_labels(np.zeros((4, 4), np.uint8))
    window = native(viewer).window()
    actions = list(all_actions(window.menuBar().actions()))
    taken = {key.toString() for action in actions for key in action.shortcuts() if not key.isEmpty()}
    assert "Ctrl+O" in taken
    for shortcut in SHORTCUTS.values():
        for key in shortcut.keys:
            shown_key = QKeySequence(key.replace("Control", "Ctrl").replace("-", "+")).toString()
            assert shown_key not in taken, shortcut.name


def test_what_is_called_naparis_own_is_naparis():
    known = {str(key) for keys in default_shortcuts.values() for key in keys}
    spelled = {"← →": ("Left", "Right"), "Space": ("Space",), "Delete": ("Delete",), "[  ]": ("[", "]")}
    for key, _ in NAPARI_KEYS:
        for name in spelled.get(key, ()):
            assert name in known, key
    labels = {coerce_keybinding(key) for key in napari.layers.Labels.class_keymap}
    assert coerce_keybinding("Control-Z") in labels
    assert {key for key, _ in NAPARI_KEYS} == {*spelled, "Ctrl+Z"}


def test_the_page_of_keys_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("make_shortcuts", DOCS / "make_shortcuts.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = made.page()
    assert (DOCS / "shortcuts.md").read_text() == page, "run: python docs/make_shortcuts.py"
    for shortcut in SHORTCUTS.values():
        assert f"{shortcut.title} |" in page
        for key in shortcut.shown.split(" or "):
            assert f"`{key}`" in page


def test_the_tutorial_names_only_keys_that_exist():
    """Every key in the tutorial's text is one of ours or one of napari's, and is said to do what it does."""
    text = (DOCS / "tutorial.md").read_text()
    known = {key for s in SHORTCUTS.values() for key in s.shown.split(" or ")} | {
        key for key, _ in NAPARI_KEYS
    }
    code = {part for part in text.split("`")[1::2] if "\n" not in part}
    keys = {part for part in code if len(part) == 1 or part.startswith(("Ctrl+", "Shift+", "F"))}
    assert keys
    assert keys <= known
