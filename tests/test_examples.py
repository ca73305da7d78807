"""Every script and notebook of examples/ runs, and does what it says."""

from __future__ import annotations

import csv
import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import tifffile

from napari_sam2 import load_model, sample_timelapse
from napari_sam2.storage import Project

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the main function of an example in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return lambda name, **options: runpy.run_path(str(EXAMPLES / name))["main"](tmp_path, **options)


def overlap(mask, object_id, frame):
    truth = sample_timelapse().labels[frame] == object_id
    return (mask & truth).sum() / (mask | truth).sum()


def test_all_are_listed_and_tested():
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    listed = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    tested = set(re.findall(r'"(\w+\.(?:py|ipynb))"', Path(__file__).read_text(encoding="utf-8")))
    assert files == listed == tested
    assert len(files) == 9


def test_napari_session(run, tmp_path):
    table = run("napari_session.py", frames=3)
    assert {(row["object_id"], row["frame"]) for row in table} == {(i, t) for i in (1, 2) for t in range(3)}
    with (tmp_path / "cells.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    with Project.open(tmp_path / "cells.sam2") as project:
        assert overlap(project.masks(2).of(1), 1, 2) > 0.6


def test_headless_dask(run):
    labels = tifffile.imread(run("headless_dask.py", frames=3))
    assert labels.dtype == np.uint16
    assert [overlap(plane == 1, 1, t) > 0.6 for t, plane in enumerate(labels)] == [True] * 3


def test_auto_to_tracks(run, tmp_path):
    with run("auto_to_tracks.py", frames=2).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["track_id", "t", "y", "x", "name", "parent", "generation"]
    assert {row["t"] for row in rows} == {"0", "1"}
    found = {int(row["track_id"]) for row in rows}
    assert len(found) >= 3
    assert len((tmp_path / "01_RES" / "res_track.txt").read_text().splitlines()) == len(found)


def test_custom_source(run):
    session = run("custom_source.py", frames=2)
    assert session.size == (256, 512)
    mask = session.masks(1).of(1)
    assert not mask[:, 256:].any()  # its mirror image in the right half is another cell
    assert overlap(mask[:, :256], 1, 1) > 0.6


def test_memory_policy(run):
    policy = runpy.run_path(str(EXAMPLES / "memory_policy.py"))["SpreadPolicy"]()
    chosen = policy.recall(20, False, [0], lambda frame: True, 28)
    assert sorted(chosen.spatial) == [(0, 0), (1, 19), (2, 18), (3, 17), (4, 12), (5, 8), (6, 4)]
    backward = policy.recall(5, True, [27], lambda frame: frame != 13, 28)
    assert sorted(backward.spatial) == [(0, 27), (1, 6), (2, 7), (3, 8), (5, 17), (6, 21)]
    usual, spread = run("memory_policy.py", frames=3).values()
    assert np.array_equal(usual.masks(1).of(1), spread.masks(1).of(1))  # nothing is far enough back
    assert overlap(spread.masks(2).of(1), 1, 2) > 0.6


def test_fine_tune(run, tmp_path):
    best = run("fine_tune.py", frames=3, steps=1)
    assert best == tmp_path / "run" / "best.safetensors"
    assert load_model(str(best)).config.image_size == load_model("nano").config.image_size
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 1


def test_batch(run, tmp_path):
    assert run("batch.py", frames=2) == ["tracked", "tracked"]
    assert run("batch.py", frames=2) == ["complete", "complete"]
    for name in ("first", "second"):
        with Project.open(tmp_path / f"{name}.sam2") as project:
            assert overlap(project.masks(1).of(1), 1, 1) > 0.6


def cells(name):
    """Run the code of a notebook and return its names."""
    space = {}
    for number, cell in enumerate(json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["cells"]):
        assert cell.get("outputs", []) == [], "clear the outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name}:{number}", "exec"), space)
    return space


@pytest.fixture
def drawing(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_first_notebook(drawing):
    space = cells("first_steps.ipynb")
    assert len(space["tracked"]) == 8
    assert len(space["axes"]) == 4
    assert (5, 1) in space["video"].prompts
    assert overlap(space["again"][1].of(1), 1, 1) > 0.6


def test_the_second_notebook(drawing):
    space = cells("results.ipynb")
    assert space["project"].labels.shape == (8, 256, 256)
    assert space["areas"].shape == (8, 3)
