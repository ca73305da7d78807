"""The examples of docs/scripting.md run as they are printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import napari
import pytest
import tifffile

from napari_sam2.storage import Project
from napari_sam2.synthetic.samples import sample_timelapse

PAGE = Path(__file__).parents[3] / "docs" / "scripting.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

pytestmark = pytest.mark.gui


def test_the_examples_run_as_they_are_printed(qtbot, make_napari_viewer, monkeypatch, tmp_path, nano, capsys):
    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("movie.tif", sample_timelapse().image[:3], imagej=True, metadata={"axes": "TYX"})
    example, signals = EXAMPLES
    space: dict[str, object] = {}
    exec(compile(example, PAGE.name, "exec"), space)
    tracker = space["tracker"]
    try:
        assert [state.name for state in tracker.objects.states] == ["", "second cell"]
        assert tracker.prompts.all[0, space["cell"]].box is not None
        assert {(row["object_id"], row["frame"]) for row in space["table"]} <= {
            (i, t) for i in (1, 2) for t in range(3)
        }
        assert len(space["table"]) >= 3
        [written] = tracker.project.path.glob("exports/*.json")
        assert json.loads(written.read_text())["annotations"]
        assert tracker.project.path.is_relative_to(tmp_path)
        exec(compile(signals, PAGE.name, "exec"), space)
        capsys.readouterr()
        tracker.propagate()
        tracker.wait()
        assert "3 of 3" in capsys.readouterr().out
    finally:
        tracker.close()
    with Project.open(tracker.project.path) as saved:
        assert set(saved.objects) == {1, 2}
