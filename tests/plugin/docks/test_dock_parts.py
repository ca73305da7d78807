"""Keys and icons of the docks; no window."""

from __future__ import annotations

import pytest
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.shortcuts import default_shortcuts

from napari_sam2.plugin.docks.parts import theme as style
from napari_sam2.plugin.docks.parts.shortcuts import SHORTCUTS, tip


def test_keys_clash_with_none_of_naparis():
    taken = {coerce_keybinding(key) for keys in default_shortcuts.values() for key in keys}
    ours = {coerce_keybinding(key): s.name for s in SHORTCUTS.values() for key in s.keys}
    assert len(ours) == sum(len(s.keys) for s in SHORTCUTS.values())
    assert not {name for key, name in ours.items() if key in taken}


def test_tooltips_are_sentences_with_the_key():
    assert tip("stop") == "Stop tracking after this frame; all masks found so far are kept.\nKey: H"
    assert tip("redo").endswith("Key: Shift+U or Ctrl+Shift+Z")
    assert all(len(tip(name).split("\n")[0]) > 3 for name in SHORTCUTS)


@pytest.mark.gui
def test_every_icon_is_drawn_and_none_is_missing(qapp):
    names = {path.stem for path in style.ICONS.glob("*.svg")}
    assert len(names) > 30
    for name in names:
        image = style.pixmap(name, "#ffffff", 16).toImage()
        inked = sum(image.pixelColor(x, y).alpha() > 128 for x in range(16) for y in range(16))
        assert 12 <= inked <= 200, name
