"""The walk of one click, as docs/architecture.md lists it, is the one that a click takes."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import napari_sam2
from napari_sam2.plugin.qt.open_tracker import open_tracker
from tests.plugin.dock_world import WAIT, click, shown

PACKAGE = Path(napari_sam2.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
MOST_FUNCTIONS, MOST_FILES = 20, 16

pytestmark = pytest.mark.gui


def listed() -> list[str]:
    """The numbered functions of the page, as "file:function"."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("## The walk of one click\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py:[\w.]+)`", section, re.M)


class Recorder:
    """Notes, for each call of a function of the package, which functions of the package are on the stack."""

    def __init__(self) -> None:
        self.stacks: list[tuple[str, ...]] = []
        self.is_on = False
        self._names: dict[Any, str | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and self.is_on and self._name(frame) is not None:
            stack = []
            caller: FrameType | None = frame
            while caller is not None:
                name = self._name(caller)
                if name is not None:
                    stack.append(name)
                caller = caller.f_back
            self.stacks.append(tuple(reversed(stack)))

    def _name(self, frame: FrameType) -> str | None:
        code = frame.f_code
        if code not in self._names:
            path = Path(code.co_filename)
            inside = path.is_relative_to(PACKAGE)
            self._names[code] = (
                f"{path.relative_to(PACKAGE).as_posix()}:{code.co_qualname}" if inside else None
            )
        return self._names[code]


def walked(chain: list[str], stacks: list[tuple[str, ...]]) -> list[str]:
    """The beginning of the chain that was really walked.

    A function counts when it is called after the one before it, and when all that is below it on the stack is in
    the chain, the nearest of it being the last one that has not returned. What is at the bottom of a thread may run
    already, as the loop of the worker does.
    """
    done = 0
    for stack in stacks:
        for skipped in (0, 1):
            if done + skipped >= len(chain) or stack[-1] != chain[done + skipped]:
                continue
            if skipped and stack[:-1] != (chain[done],):
                continue
            positions = [chain.index(name) if name in chain else -1 for name in stack]
            if positions == sorted(positions) and positions[0] >= 0:
                done += skipped + 1
                break
        if done == len(chain):
            break
    return chain[:done]


def test_a_click_walks_the_functions_that_the_page_lists(qtbot, make_napari_viewer, nano, preferences):
    chain = listed()
    assert len(chain) == len(set(chain)) <= MOST_FUNCTIONS
    assert len({name.split(":")[0] for name in chain}) <= MOST_FILES
    assert chain[0].startswith("plugin/layers/")
    assert {"session/video.py:VideoSession.set_prompt", "model/sam2.py:Sam2.decode_masks"} < set(chain)
    assert chain[-1] == "plugin/layers/results_layer.py:ResultsLink.show"

    recorder = Recorder()
    threading.setprofile(recorder)  # for the worker's thread, which begins with the tracker
    viewer = shown(make_napari_viewer(show=True))
    pixels = np.random.default_rng(0).integers(0, 255, (2, 60, 80), np.uint8)
    image = viewer.add_image(pixels, name="movie")
    viewer.dims.set_point(0, 0)
    viewer.reset_view()
    tracker = open_tracker(viewer, image, nano, device="cpu", preferences=preferences)
    threading.setprofile(None)  # type: ignore[arg-type]
    try:
        qtbot.waitUntil(lambda: tracker.model.phase == "ready", timeout=WAIT)
        layer = tracker.prompts.ensure_layer("points")
        viewer.layers.selection.active = layer
        layer.mode = "add"
        qtbot.wait(50)
        recorder.is_on = True
        sys.setprofile(recorder)
        click(qtbot, viewer, 25, 40)
        qtbot.waitUntil(lambda: any(stack[-1] == chain[-1] for stack in recorder.stacks), timeout=WAIT)
        sys.setprofile(None)
        recorder.is_on = False
        assert tracker.prompts.all[0, 1].points
    finally:
        sys.setprofile(None)
        recorder.is_on = False
        tracker.close()
    assert walked(chain, recorder.stacks) == chain


def test_a_chain_that_leaves_a_function_out_or_turns_two_round_is_noticed():
    stacks = [("a",), ("a", "b"), ("a", "b", "x"), ("loop", "c"), ("loop", "c", "d")]
    assert walked(["a", "b", "loop", "c", "d"], stacks) == ["a", "b", "loop", "c", "d"]
    assert walked(["a", "x", "loop", "c"], stacks) == ["a"]
    assert walked(["a", "b", "c", "d"], stacks) == ["a", "b"]
    assert walked(["b", "a", "loop"], stacks) == []
