"""Script: simulate losses of power while a project is written, by dropping writes that were not forced to the disk.

``python power_loss.py FOLDER TRIALS SEED MODE`` with MODE "log" or "journal" prints what was seen as JSON. A small
library (power_loss.c) writes down what a process does to the database files; from that, the files are made as a disk
may hold them: everything up to the last time it was forced, and of the rest some writes, none or half ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project

SHAPE = (400, 24, 32)
NAMES = {"d": "project.db", "w": "project.db-wal", "j": "project.db-journal", "m": "power.mark"}
SECTOR = 512


def mask_of(seed: int) -> np.ndarray:
    y, x, h, w = np.random.default_rng(seed).integers(1, 12, 4)
    mask = np.zeros(SHAPE[1:], bool)
    mask[y : y + h, x : x + w] = True
    return mask


def record_of(seed: int) -> ObjectRecord:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(32, 32)).astype(np.float16)
    return ObjectRecord(logits, rng.normal(size=16).astype(np.float32), float(seed), 0.5, False, False)


def write(path: Path, mode: str) -> None:
    """Write frames, with steps of undo and moves of the log into the database; every frame leaves a mark."""
    if mode == "journal":
        from napari_sam2.storage import database

        database.has_shared_memory = lambda folder: False  # type: ignore[assignment]
    project = Project.open(path, "a")
    project.store.defer()
    if mode == "log":
        project._database.rows("PRAGMA wal_autocheckpoint = 60")
    mark = os.open(path.parent / "power.mark", os.O_WRONLY | os.O_CREAT)
    for frame in range(SHAPE[0] if mode == "log" else 60):
        with project.history.action(f"frame {frame}"):
            project.store.put_frame(
                frame, {i: (record_of(10 * frame + i), mask_of(10 * frame + i)) for i in (1, 2)}
            )
            project.change_object(1, f"frame {frame}")
        os.write(mark, struct.pack("<i", frame))
        if frame % 5 == 4:
            project.history.undo()
            project.history.redo()
        time.sleep(0.004)
    project.close()


def operations(log: Path) -> list[tuple[str, str, int, bytes]]:
    data, found, at = log.read_bytes(), [], 0
    while at + 18 <= len(data):
        operation, kind = chr(data[at]), chr(data[at + 1])
        place, size = struct.unpack_from("<qq", data, at + 2)
        at += 18
        content = data[at : at + size] if operation == "W" else b""
        at += len(content)
        found.append((operation, kind, place, content))
    return found


class Disk:
    """Files as a disk holds them: what was forced out, and what may have been written or not."""

    def __init__(self, start: bytes) -> None:
        self.durable = {"d": bytearray(start)}
        self.pending: dict[str, list[tuple[str, int, bytes]]] = {"d": [], "w": [], "j": [], "m": []}
        self.forcing: dict[str, int] = {}
        self.marks: list[int] = []
        self.safe = -1  # the last frame whose mark came before the log was last forced out
        self._candidate = -1

    def take(self, operation: str, kind: str, place: int, content: bytes) -> None:
        if kind == "m":
            if operation == "W":
                self.marks.append(struct.unpack("<i", content)[0])
        elif operation == "S":
            self.forcing[kind] = len(self.pending[kind])
            self._candidate = self.marks[-1] if self.marks else -1
        elif operation == "E":
            count = self.forcing.pop(kind, 0)
            for entry in self.pending[kind][:count]:
                apply(self.durable, kind, *entry)
            del self.pending[kind][:count]
            for (
                other,
                entries,
            ) in self.pending.items():  # removing a file is in the journal of the file system
                if entries and entries[-1][0] == "U":
                    self.durable.pop(other, None)
                    entries.clear()
            if kind in ("w", "d"):
                self.safe = max(self.safe, self._candidate)
        else:
            self.pending[kind].append((operation, place, content))

    def lost(self, rng: random.Random, kept: float) -> dict[str, bytearray]:
        """Return the files after the power went: each pending write is there with this probability, or half of it."""
        files = {kind: bytearray(data) for kind, data in self.durable.items()}
        for kind, entries in self.pending.items():
            for operation, place, content in entries:
                if rng.random() < kept:
                    apply(files, kind, operation, place, content)
                elif operation in "TU":
                    break  # what is written later needs the new length: a file system keeps that order
                elif content and rng.random() < 0.3:
                    whole = rng.randrange(len(content) // SECTOR + 1) * SECTOR
                    apply(files, kind, "W", place, content[:whole])
        return files


def apply(files: dict[str, bytearray], kind: str, operation: str, place: int, content: bytes) -> None:
    if operation == "U":
        files.pop(kind, None)
        return
    data = files.setdefault(kind, bytearray())
    if operation == "T":
        del data[place:]
        data.extend(bytes(place - len(data)))
    else:
        data.extend(bytes(max(0, place - len(data))))
        data[place : place + len(content)] = content


def check(path: Path, safe: int, last: int) -> None:
    """The project opens, is whole, and holds every frame up to one that was forced to the disk, and no half one."""
    with Project.open(path, "a") as project:
        assert project.verify() == [], project.damage
        if project.history.can_redo:
            project.history.redo()
        found = project.frames()
        assert found == list(range(len(found))), "what is there is what was written first"
        assert safe < len(found) <= last + 2, (safe, len(found), last)
        for frame in found:
            masks = project.masks(frame)
            assert masks.object_ids == (1, 2)
            for i in (1, 2):
                assert np.array_equal(masks.of(i), mask_of(10 * frame + i))
                record = project.store.get(i, frame)
                assert record is not None
                assert np.array_equal(record.logits, record_of(10 * frame + i).logits)
        assert len(project.history.steps) == project.history.applied == len(found)
        project.store.put(3, 0, record_of(7), mask_of(7))
        assert project.verify() == []


def main() -> None:
    folder, trials, seed, mode = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rng = random.Random(seed)
    library = folder / "power_loss.so"
    source = Path(__file__).with_name("power_loss.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"], check=True
    )
    path = folder / "a.sam2"
    Project.create(path, SHAPE).close()
    start = (path / "project.db").read_bytes()
    shutil.copytree(path, folder / "start.sam2")
    environment = os.environ | {"LD_PRELOAD": str(library), "POWER_LOSS_LOG": str(folder / "log")}
    subprocess.run([sys.executable, __file__, "--write", str(path), mode], check=True, env=environment)
    found = operations(folder / "log")
    moments = sorted(rng.sample(range(len(found)), min(trials, len(found))))
    disk, seen, lost = Disk(start), 0, 0
    for number, operation in enumerate(found):
        if moments and moments[0] == number:
            moments.pop(0)
            copy = folder / "after.sam2"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder / "start.sam2", copy)
            files = disk.lost(rng, rng.choice([0.0, 0.5, 0.9, 1.0]))
            for kind, data in files.items():
                (copy / NAMES[kind]).write_bytes(bytes(data))
            last = disk.marks[-1] if disk.marks else -1
            check(copy, disk.safe, last)
            lost = max(lost, last - disk.safe)
            seen += 1
        disk.take(*operation)
    forced = sum(1 for operation, kind, _, _ in found if operation == "E" and kind in "wdj")
    print(
        json.dumps({"losses": seen, "operations": len(found), "forced": forced, "most frames at risk": lost})
    )


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
