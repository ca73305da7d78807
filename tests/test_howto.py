"""The how-to pages: Python examples run as they are printed, on small recordings of the names that they use."""

from __future__ import annotations

import re
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam2.cli import main
from napari_sam2.masks import FrameMasks
from napari_sam2.storage import Project

PAGES = Path(__file__).parents[1] / "docs" / "howto"
SIZE, FRAMES = 384, 12


def flies(frame: int) -> np.ndarray:
    """Return two bright ellipses on black, where the boxes of the pages are."""
    y, x = np.mgrid[:SIZE, :SIZE]
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    for cx, cy in ((137 + frame, 174), (243, 192 + frame)):
        picture[((x - cx) / 45) ** 2 + ((y - cy) / 30) ** 2 < 1] = 200
    return picture


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("flies.mp4", "recording.mp4", "movie.mp4"):
        writer = imageio_ffmpeg.write_frames(name, (SIZE, SIZE), fps=15, macro_block_size=1)
        writer.send(None)
        for t in range(FRAMES):
            writer.send(flies(t))
        writer.close()
    volumes = np.stack([np.stack([flies(4 * t + z)[:256, :256, 0] for z in range(2)]) for t in range(2)])
    tifffile.imwrite("movie.ome.tif", volumes, ome=True, metadata={"axes": "TZYX"})
    shape, chunks = (2, 4100, 6300), (1, 1025, 1050)
    large = zarr.create_array(
        "large.ome.zarr", shape=shape, chunks=chunks, dtype="uint8", dimension_names=("t", "y", "x")
    )
    large[:] = 1  # chunks that were never written are warned of


def run(page: str) -> dict[str, object]:
    """Run all examples of a page one after the other, and return their names."""
    text = (PAGES / page).read_text(encoding="utf-8")
    space: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(example, page, "exec"), space)
    assert space, page
    return space


def test_no_page_is_left_out():
    """Every page with Python on it has a test below."""
    with_python = {
        path.name for path in PAGES.glob("*.md") if "```python" in path.read_text(encoding="utf-8")
    }
    tested = set(re.findall(r'run\("([\w-]+\.md)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert with_python == tested


def test_volumes_over_time(recordings):
    space = run("volumes-over-time.md")
    assert space["t"] == 1
    assert space["start"] == 1
    assert space["middle"].shape == (256, 256)
    assert space["session"].prompts[1, 1].mask is not None


def test_a_part_of_a_huge_image(recordings):
    space = run("huge-images.md")
    assert len(space["session"].frames) == 2
    assert space["session"].size == (1024, 1024)


def test_a_review_is_decided_by_a_script(recordings):
    with Project.create("cells.sam2", (20, 32, 32)) as project:
        for frame in range(20):
            masks = np.zeros((2, 32, 32), bool)
            masks[0, 4:12, 4:12] = True
            masks[1, 20:28, 20:28] = frame >= 12
            scores = np.full(2, 5.0 if frame != 6 else 0.0, np.float32)
            found = FrameMasks(frame, (3, 9), masks, scores, np.ones(2, np.float32), np.zeros(2, bool))
            project.store.put_masks(found, "tracked")
    space = run("review.md")
    assert all(item.weight <= 0.8 for item in space["queue"].items)
    with Project.open("cells.sam2") as project:
        parents = {i: info.parent for i, info in project.objects.items() if info.parent is not None}
    # the daughter that kept the mother's number goes on as a new object
    assert {i: (parent.object_id, parent.frame) for i, parent in parents.items()} == {9: (3, 12), 10: (3, 12)}


def test_headless(recordings):
    areas = run("headless.md")["areas"]
    assert len(areas) == 11
    assert areas[0] == pytest.approx(np.pi * 45 * 30, rel=0.3)


def test_metas_predictor_and_the_same_with_a_session(recordings, capsys):
    space = run("from-meta.md")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert int(lines[0].split()[-1]) == pytest.approx(np.pi * 45 * 30, rel=0.3)
    assert space["session"].object_ids == (1,)


def test_polygons_for_yolo(recordings):
    words = ["track", "flies.mp4", "--box", "0:1:92,144,182,204", "--box", "0:2:198,162,288,222"]
    assert main([*words, "--range", "0:2", "--quiet"]) == 0
    run("from-octron.md")
    files = sorted(Path("labels").glob("*.txt"))
    assert len(files) == FRAMES
    with Project.open("flies.sam2") as project:
        expected = [len(project.masks(t).object_ids) for t in range(FRAMES)]
    assert expected == [2, 2, *[0] * (FRAMES - 2)]
    for file, count in zip(files, expected):
        polygons = [
            np.array(line.split()[1:], float).reshape(-1, 2) for line in file.read_text().splitlines()
        ]
        assert len(polygons) == count
        for polygon, center in zip(polygons, ((137 / SIZE, 174 / SIZE), (243 / SIZE, 192 / SIZE))):
            assert np.abs((polygon.min(0) + polygon.max(0)) / 2 - center).max() < 0.06


def test_the_script_of_the_readme(recordings, capsys):
    run("../../README.md")
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == list(range(FRAMES))
