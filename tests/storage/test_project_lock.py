"""Two processes and one project; a folder that may not be written; a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest

from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import (
    Project,
    ProjectError,
    ProjectFullError,
    ProjectLockedError,
    ProjectReadOnlyError,
)
from napari_sam2.storage.files import atomic_files as files
from napari_sam2.storage.files import write_lock as lock

SHAPE = (12, 20, 30)
HOLDER = """
import sys, time
from napari_sam2.storage import Project
project = Project.open(sys.argv[1], "a")
print("open", flush=True)
sys.stdin.read()
project.close()
"""


@contextlib.contextmanager
def writer(path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "open"
    try:
        yield process
    finally:
        process.communicate()


def test_the_second_writer_is_told_who_the_first_one_is(project, make_record, make_mask) -> None:
    path = project.path
    project.store.put(1, 0, make_record(), make_mask())
    project.close()
    with writer(path) as process:
        expected = rf"process {process.pid} on {socket.gethostname()} since .* read-only"
        with pytest.raises(ProjectLockedError, match=expected):
            Project.open(path, "a")
        with pytest.raises(ProjectLockedError, match=expected):
            Project.create(path, SHAPE, overwrite=True)
        reader = Project.open(path)
        assert reader.frames(1) == [0], "reading is always allowed"
    with Project.open(path, "a") as again:
        assert again.frames(1) == [0]


def test_a_killed_writer_leaves_no_lock_behind(project) -> None:
    path = project.path
    project.close()
    with writer(path) as process:
        process.kill()
        process.wait()
        assert (path / "writer" / "owner.json").exists(), "the file is still there, and does not matter"
        Project.open(path, "a").close()


def test_the_same_process_is_a_second_writer_as_well(project) -> None:
    with pytest.raises(ProjectLockedError, match=f"process {os.getpid()}"):
        Project.open(project.path, "a")


def test_a_lock_whose_owner_says_nonsense(project) -> None:
    for text in ("", "[]", '{"process": [], "since": "x"}', '{"since": 1e300}'):
        (project.path / "writer" / "owner.json").write_text(text)
        with pytest.raises(ProjectLockedError, match="read-only"):
            Project.open(project.path, "a")


class NoLocks:
    """A file system without locks, such as some network drives."""

    is_locked = False

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def acquire(self, timeout: float) -> None:
        raise NotImplementedError


def test_without_locks_of_the_system_a_file_is_the_lock(project, monkeypatch) -> None:
    path = project.path
    project.close()
    monkeypatch.setattr(lock, "FileLock", NoLocks)
    with Project.open(path, "a"), pytest.raises(ProjectLockedError):
        Project.open(path, "a")
    with Project.open(path, "a"):
        pass
    # A dead process of this machine left its file: it is recognised and cleared away.
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    (path / "writer" / "soft-lock").write_text("")
    owner = {"process": int(dead.stdout), "host": socket.gethostname(), "since": 0}
    (path / "writer" / "owner.json").write_text(json.dumps(owner))
    Project.open(path, "a").close()
    # One of another machine may be alive.
    (path / "writer" / "soft-lock").write_text("")
    (path / "writer" / "owner.json").write_text(json.dumps(owner | {"host": "elsewhere"}))
    with pytest.raises(ProjectLockedError, match="elsewhere"):
        Project.open(path, "a")


def test_filelock_offers_what_the_lock_uses() -> None:
    assert hasattr(filelock.FileLock, "acquire")
    assert hasattr(filelock.SoftFileLock, "release")


# -- a disk that does not play along ---------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of half a MiB; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def bulky(seed: int) -> ObjectRecord:
    logits = np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float16)
    return ObjectRecord(logits, np.zeros(8, np.float32), float(seed), 0.5, False, False)


def test_a_full_disk_is_said_and_loses_nothing(small_disk, make_mask) -> None:
    path = small_disk / "a.sam2"
    project = Project.create(path, SHAPE)
    reported: list[int] = []

    def fill() -> None:
        for frame in range(1000):
            with project.history.action(f"frame {frame}"):
                project.store.put(1 + frame // SHAPE[0], frame % SHAPE[0], bulky(frame), make_mask(frame))
            reported.append(frame)

    with pytest.raises(ProjectFullError, match="free some space"):
        fill()
    done = reported[-1]
    assert done > 10
    with contextlib.suppress(ProjectFullError):
        project.close()
    reader = Project.open(path)
    for frame in range(done + 1):
        record = reader.store.get(1 + frame // SHAPE[0], frame % SHAPE[0])
        assert record is not None
        assert record.object_score == frame
        masks = reader.masks(frame % SHAPE[0])
        assert np.array_equal(masks.of(1 + frame // SHAPE[0]), make_mask(frame))
    assert reader.damage == []
    # With room again, everything goes on.
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    with Project.open(path, "a") as again:
        assert again.history.undo_label == f"frame {done}"
        again.store.put(40, 3, bulky(7), make_mask(1))
        assert again.frames(40) == [3]
        assert again.verify() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_any_write_may_fail_and_nothing_is_lost(tmp_path, make_record, make_mask, monkeypatch, code) -> None:
    """Let the n-th write of an action fail, for every n: the state is that before the action."""
    real = files.replace_file
    for n in range(1, 100):
        path = tmp_path / f"{n}.sam2"
        project = Project.create(path, SHAPE)
        with project.history.action("before"):
            project.store.put(1, 3, make_record(1), make_mask(1))
        left = [n]

        def failing(target: Path, data: bytes, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                with files.file_errors(target):
                    raise OSError(code, os.strerror(code))
            real(target, data)

        with monkeypatch.context() as patch:
            for module in (
                "files.atomic_files",
                "tables.mask_table",
                "tables.memory_table",
                "tables.label_stack",
                "workspace",
                "tables.snapshots",
            ):
                patch.setattr(f"napari_sam2.storage.{module}.replace_file", failing)
            try:
                with project.history.action("second"):
                    project.store.put(1, 3, make_record(2), make_mask(2))
                    project.store.put(2, 3, make_record(3), make_mask(3))
                failed = False
            except ProjectError:
                failed = True
        if not failed:
            assert n > 8, "every file was tried"
            return
        found = []
        project.close()
        for mode in ("r", "a"):
            with Project.open(path, mode) as again:
                assert again.damage == []
                found.append((again.history.undo_label, again.frames(2)))
                seed = 2 if again.history.undo_label == "second" else 1
                assert np.array_equal(again.masks(3).of(1), make_mask(seed))
                assert (again.store.get(1, 3).logits == make_record(seed).logits).all()
                expected = 2 if seed == 2 else 0
                assert (again.labels[3] == 2).any() == bool(expected)
        assert found[0] == found[1]
        assert found[0] in [("before", []), ("second", [3])]
    raise AssertionError("the writes never ended")


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders are different there")
def test_a_folder_that_may_not_be_written(project, make_record, make_mask, tmp_path) -> None:
    project.store.put(1, 0, make_record(), make_mask())
    path = project.path
    project.close()
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    for folder in [path, *path.rglob("*")]:
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    try:
        with pytest.raises(ProjectReadOnlyError, match="permissions"):
            Project.open(path, "a")
        assert Project.open(path).frames(1) == [0]
    finally:
        for folder in [path, *path.rglob("*")]:
            folder.chmod(0o755 if folder.is_dir() else 0o644)


def test_a_read_only_disk_is_said_and_can_be_read(small_disk, make_record, make_mask) -> None:
    path = small_disk / "a.sam2"
    with Project.create(path, SHAPE) as project:
        project.store.put(1, 0, make_record(), make_mask())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ProjectReadOnlyError, match="permissions"):
        Project.open(path, "a")
    with pytest.raises(ProjectReadOnlyError, match="permissions"):
        Project.create(small_disk / "b.sam2", SHAPE)
    reader = Project.open(path)
    assert reader.frames(1) == [0]
    assert reader.verify() == []
