"""The pictures of the documentation: all there, as large as their names say, small as files."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_BYTES = 6_000_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_of_a_page_is_there(page):
    for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            assert (page.parent / link).is_file(), link


def test_every_step_is_shown_dark_and_light_on_a_small_screen():
    names = {path.name for path in PICTURES.glob("*.png")}
    steps = {name.rsplit("-", 2)[0] for name in names}
    assert len(steps) >= 17
    for step in steps:
        for theme in ("dark", "light"):
            assert f"{step}-1366x768-{theme}.png" in names


def test_pictures_are_as_large_as_they_say():
    for path in PICTURES.glob("*.png"):
        width, height = path.stem.rsplit("-", 2)[1].split("x")
        with Image.open(path) as picture:
            assert picture.size == (int(width), int(height)), path.name


def test_pictures_stay_small_in_the_repository():
    assert sum(path.stat().st_size for path in PICTURES.glob("*.png")) < MOST_BYTES


def test_the_animation_is_small_and_moves():
    path = ROOT / "docs" / "pictures" / "flies.gif"
    assert path.stat().st_size < 1_500_000
    with Image.open(path) as animation:
        assert animation.n_frames > 20
        assert animation.info["duration"] >= 1000  # the prompts can be seen


def test_the_drawing_of_the_architecture_is_of_this_code():
    script = runpy.run_path(str(ROOT / "docs" / "make_architecture_picture.py"))
    drawn = (ROOT / "docs" / "pictures" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == script["draw"](), "run docs/make_architecture_picture.py"


def test_the_drawings_of_concepts_are_what_the_script_draws():
    script = runpy.run_path(str(ROOT / "docs" / "make_concept_pictures.py"))
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    for name, draw in script["PICTURES"].items():
        assert f"(pictures/{name}.svg)" in page
        drawn = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn == draw(), "run docs/make_concept_pictures.py"


def test_every_file_that_the_page_on_architecture_names_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)", page))
    assert len(names) > 25
    missing = [n for n in sorted(names) if not any((ROOT / p / n).is_file() for p in ("", "napari_sam2"))]
    assert not missing
