"""Copies of a project's files that a file manager makes while the project is written to."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, ProjectDamagedError
from napari_sam2.storage.write_lock import is_copy_of_open

SHAPE = (400, 20, 30)


def mask_of(seed: int) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[seed % 14 : seed % 14 + 5, seed % 23 : seed % 23 + 6] = True
    return mask


def record_of(seed: int) -> ObjectRecord:
    logits = np.random.default_rng(seed).normal(size=(32, 32)).astype(np.float16)
    return ObjectRecord(logits, np.zeros(8, np.float32), float(seed), 0.5, False, False)


def write(project: Project, frame: int) -> None:
    results = {i: (record_of(10 * frame + i), mask_of(10 * frame + i)) for i in (1, 2)}
    with project.history.action(f"frame {frame}"):
        project.store.put_frame(frame, results)
        project.put_prompt(frame, 1, Prompt((PointPrompt(1, 1),)))


def copy_slowly(project: Project, target: Path, rng: random.Random, first: int, checkpoints: bool) -> int:
    """Copy file after file, piece by piece, as a file manager does, while frames are written; returns the next one."""
    target.mkdir()
    frame = first
    for name in sorted(p.name for p in project.path.iterdir() if p.is_file()):
        with (project.path / name).open("rb") as source, (target / name).open("wb") as copy:
            while piece := source.read(rng.choice([4096, 20_000, 60_000])):
                copy.write(piece)
                for _ in range(rng.randrange(4) if frame < first + 60 else 0):
                    write(project, frame)
                    frame += 1
                if checkpoints and rng.random() < 0.3:
                    project._database.rows("PRAGMA wal_checkpoint(PASSIVE)")
    return frame


def check(copy: Path, frames: int) -> None:
    """Everything that a copy holds was once written, up to some frame, and nothing is missing before it."""
    with Project.open(copy, "a") as project:
        found = project.frames()
        assert found == list(range(len(found)))
        assert len(found) <= frames
        assert sorted(project.prompts) == [(frame, 1) for frame in found]
        for frame in found:
            assert project.masks(frame).object_ids == (1, 2)
            for i in (1, 2):
                assert np.array_equal(project.masks(frame).of(i), mask_of(10 * frame + i))
                record = project.store.get(i, frame)
                assert record is not None
                assert record.object_score == 10 * frame + i
        write(project, 399)
        assert project.verify() == []


def test_a_copy_of_files_opens_while_nothing_moves_the_log(tmp_path: Path) -> None:
    """The log is moved when it is long only: a copy is as the project was when the copying of the log ended."""
    for n in range(8):
        with Project.create(tmp_path / f"{n}.sam2", SHAPE) as project:
            project.store.defer()
            frame = copy_slowly(project, tmp_path / f"{n}-copy.sam2", random.Random(n), 0, False)
            check(tmp_path / f"{n}-copy.sam2", frame)
            assert frame > 3, "it was written to meanwhile"


def test_a_copy_of_different_moments_is_told_and_starts_again_from_its_readable_copies(
    tmp_path: Path,
) -> None:
    torn = 0
    for n in range(25):
        path, copy = tmp_path / f"{n}.sam2", tmp_path / f"{n}-copy.sam2"
        with Project.create(path, SHAPE) as project:
            for frame in range(12):
                write(project, frame)
            project.flush()
            frame = copy_slowly(project, copy, random.Random(n), 12, True)
        try:
            check(copy, frame)
        except ProjectDamagedError as error:
            assert "it was copied while it was open: copy it again when it is closed" in str(error)
            assert "start again from the prompts, objects and settings beside it" in str(error)
            torn += 1
            if torn < 4:
                with Project.restore(copy) as again:
                    assert len(again.prompts) >= 12
        with Project.open(path, "a") as project:
            assert project.verify() == []
    assert torn > 5, "some copies are torn"


HOLDER = """
import os, sys
from napari_sam2.storage import Project
project = Project.open(sys.argv[1], "a")
project.change_object(1, "one")
os._exit(9)
"""


def test_only_a_copy_is_checked_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.sam2"
    with Project.create(path, SHAPE) as project:
        write(project, 0)
        assert not is_copy_of_open(path), "a reader of an open project does not wait for a check"
        shutil.copytree(path, tmp_path / "copy.sam2")
    assert not is_copy_of_open(path)
    assert is_copy_of_open(tmp_path / "copy.sam2")
    assert subprocess.run([sys.executable, "-c", HOLDER, str(path)]).returncode == 9
    assert (path / "writer.json").exists()
    assert not is_copy_of_open(path), "what a killed process left is no copy"
    shutil.copytree(path, tmp_path / "copy of killed.sam2")
    assert is_copy_of_open(tmp_path / "copy of killed.sam2")
    (tmp_path / "copy.sam2" / "writer.json").unlink()
    assert is_copy_of_open(tmp_path / "copy.sam2"), "it was closed while it was copied"
