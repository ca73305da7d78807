"""Two processes and one project; a folder that may not be written; a disk that is full."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path

import filelock
import numpy as np
import pytest

from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import (
    Project,
    ProjectFullError,
    ProjectLockedError,
    ProjectReadOnlyError,
    file_systems,
)
from napari_sam2.storage import write_lock as lock
from napari_sam2.storage.database import Database

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
        assert (path / "writer.json").exists(), "the file is still there, and does not matter"
        Project.open(path, "a").close()


def test_the_same_process_is_a_second_writer_as_well(project) -> None:
    with pytest.raises(ProjectLockedError, match=f"process {os.getpid()}"):
        Project.open(project.path, "a")


def test_a_lock_whose_owner_says_nonsense(project) -> None:
    for text in ("", "[]", '{"process": [], "since": "x"}', '{"since": 1e300}'):
        (project.path / "writer.json").write_text(text)
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
    (path / "writer.soft-lock").write_text("")
    owner = {"process": int(dead.stdout), "host": socket.gethostname(), "since": 0}
    (path / "writer.json").write_text(json.dumps(owner))
    Project.open(path, "a").close()
    # One of another machine may be alive.
    (path / "writer.soft-lock").write_text("")
    (path / "writer.json").write_text(json.dumps(owner | {"host": "elsewhere"}))
    with pytest.raises(ProjectLockedError, match="elsewhere"):
        Project.open(path, "a")


def test_filelock_offers_what_the_lock_uses() -> None:
    assert hasattr(filelock.FileLock, "acquire")
    assert hasattr(filelock.SoftFileLock, "release")


# -- a disk that does not play along ---------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of one MiB; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


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
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    with Project.open(path, "a") as again:
        assert again.history.undo_label == f"frame {done}"
        again.store.put(40, 3, bulky(7), make_mask(1))
        assert again.frames(40) == [3]
        assert again.verify() == []


def test_any_write_may_fail_and_nothing_is_lost(tmp_path, make_record, make_mask, monkeypatch) -> None:
    """Let the n-th write of an action fail, for every n: the state is that before the action."""
    real = {name: getattr(Database, name) for name in ("write", "write_rows")}
    for n in range(1, 100):
        path = tmp_path / f"{n}.sam2"
        project = Project.create(path, SHAPE)
        with project.history.action("before"):
            project.store.put(1, 3, make_record(1), make_mask(1))
        left = [n]

        def failing(name: str, *arguments: object, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] == 0:
                raise ProjectFullError("the disk is full")
            return real[name](*arguments)

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(
                    Database, name, partialmethod(lambda self, name, *a: failing(name, self, *a), name)
                )
            try:
                with project.history.action("second"):
                    project.store.put(1, 3, make_record(2), make_mask(2))
                    project.store.put(2, 3, make_record(3), make_mask(3))
                    project.put_prompt(3, 2, Prompt((PointPrompt(1, 1),)))
                failed = False
            except ProjectFullError:
                failed = True
        if not failed:
            assert n > 8, "every write was tried"
            return
        with project.history.action("third"):  # with room again it goes on
            project.change_object(5, "five")
        project.history.undo()
        project.close()
        for mode in ("r", "a"):
            with Project.open(path, mode) as again:
                assert again.verify() == []
                assert (again.history.undo_label, again.frames(2), again.prompts) == ("before", [], {})
                assert np.array_equal(again.masks(3).of(1), make_mask(1))
                assert (again.store.get(1, 3).logits == make_record(1).logits).all()
    raise AssertionError("the writes never ended")


LIMITED = """
import resource, sys
import numpy as np
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, ProjectError
project = Project.open(sys.argv[1], "a")
what = {"size": resource.RLIMIT_FSIZE, "files": resource.RLIMIT_NOFILE}[sys.argv[2]]
resource.setrlimit(what, (int(sys.argv[3]), resource.getrlimit(what)[1]))
rng = np.random.default_rng(0)
done = 0
try:
    while done < 400:
        with Project.open(sys.argv[1]) if what == resource.RLIMIT_NOFILE else project.history.action("x"):
            logits = rng.normal(size=(64, 64)).astype(np.float16)
            record = ObjectRecord(logits, np.zeros(8, np.float32), 1.0, 0.5, False, False)
            if what == resource.RLIMIT_FSIZE:
                project.store.put(1 + done // 12, done % 12, record, np.ones((20, 30), bool))
        done += 1
        if what == resource.RLIMIT_NOFILE:
            globals().setdefault("held", []).append(open(sys.argv[0] if sys.argv[0] != "-c" else sys.executable))
except ProjectError as error:
    print(f"{done} {type(error).__name__} {error}", flush=True)
    import os
    os._exit(0)  # as if it were killed
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of processes are different there")
@pytest.mark.parametrize(("what", "limit", "words"), [
    ("size", 1_000_000, "ProjectFullError .*limit on its use is reached.*free some space"),
    ("files", 40, "Error .*project"),
])  # fmt: skip
def test_a_limit_on_files_is_told_and_loses_nothing(project, what, limit, words) -> None:
    path = project.path
    project.close()
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), what, str(limit)], capture_output=True, text=True
    )
    assert re.search(words, process.stdout), process.stdout + process.stderr[-2000:]
    done = int(process.stdout.split()[0])
    assert done > 5
    with Project.open(path, "a") as again:
        assert again.verify() == []
        if what == "size":
            assert sum(len(again.frames(i)) for i in again.objects) == done


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


# -- file systems on which a write-ahead log can't work ------------------------------------------------------


@pytest.fixture(params=["a network drive", "no shared memory"])
def without_log(request, project, monkeypatch) -> Path:
    """A project on a network drive, and one beside which SQLite can't make the memory that it shares."""
    project.close()
    if request.param == "a network drive":
        monkeypatch.setattr("napari_sam2.storage.database.has_shared_memory", lambda folder: False)
    else:
        (project.path / "project.db-shm").mkdir()
    return project.path


def test_without_shared_memory_a_rollback_journal_is_used(without_log, make_record, make_mask) -> None:
    with Project.open(without_log, "a") as project:
        assert project._database.value("PRAGMA journal_mode") == "truncate"
        with project.history.action("one"):
            project.store.put(1, 0, make_record(1), make_mask(1))
            assert Project.open(without_log).frames(1) == [], (
                "a reader sees what is finished, and does not wait"
            )
        assert Project.open(without_log).frames(1) == [0]
        project.history.begin("long")
        project.store.put(1, 1, make_record(1), make_mask(1))
        assert Project.open(without_log).frames(1) == [0, 1]
        shutil.copytree(without_log, without_log.with_name("copy.sam2"))
        project.history.undo() if not project.history.is_open else project.history.commit()
    assert not (without_log / "project.db-wal").exists()
    copy = Project.open(without_log.with_name("copy.sam2"))
    assert copy.frames(1) == [0, 1]
    assert copy.verify() == []


def test_a_log_that_a_dead_process_left_is_applied_on_a_network_drive(
    project, make_record, make_mask, monkeypatch
) -> None:
    copy = project.path.with_name("killed.sam2")
    project.store.put(1, 3, make_record(1), make_mask(1))
    shutil.copytree(project.path, copy)
    assert (copy / "project.db-wal").stat().st_size > 0
    monkeypatch.setattr("napari_sam2.storage.database.has_shared_memory", lambda folder: False)
    with Project.open(copy, "a") as again:
        assert again.frames(1) == [3]
        assert again._database.value("PRAGMA journal_mode") == "truncate"
        again.store.put(1, 4, make_record(1), make_mask(1))
    assert Project.open(copy).frames(1) == [3, 4]


def test_a_log_on_a_disk_that_may_not_be_written_is_read(small_disk, project, make_record, make_mask) -> None:
    project.store.put(1, 3, make_record(1), make_mask(1))
    copy = shutil.copytree(project.path, small_disk / "killed.sam2")
    (copy / "project.db-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Project.open(copy) as reader:
        assert reader.frames(1) == [3]
        assert np.array_equal(reader.labels[3] == 1, make_mask(1))


def test_network_file_systems_are_known_by_their_kind(tmp_path, monkeypatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/x /mnt/lab\\040data nfs4 rw 0 0\n"
        "//host/share /mnt/share cifs rw 0 0\nme@host: /mnt/ssh fuse.sshfs rw 0 0\n"
        "/dev/sdb1 /mnt/lab\\040data/fast xfs rw 0 0\n"
    )
    monkeypatch.setattr(file_systems, "_MOUNTS", mounts)
    monkeypatch.setattr("sys.platform", "linux")
    known = {"/data/me": True, "/mnt/lab data/a.sam2": False, "/mnt/lab database": True, "/mnt/share": False,
             "/mnt/ssh/a/b": False, "/mnt/lab data/fast/x": True}  # fmt: skip
    assert {path: file_systems.has_shared_memory(Path(path)) for path in known} == known


def test_what_is_committed_reaches_the_disk_within_a_second(
    project, make_record, make_mask, monkeypatch
) -> None:
    forced: list[float] = []
    monkeypatch.setattr("os.fsync", lambda file: forced.append(time.monotonic()))
    for frame in range(12):
        project.store.put(1, frame, make_record(1), make_mask(1))
        time.sleep(0.1)
    last = time.monotonic()
    time.sleep(0.9)
    assert forced[0] < last, "not only when it is quiet"
    assert forced[-1] - last < 0.8
    assert len(forced) <= 5, "not with every frame"
