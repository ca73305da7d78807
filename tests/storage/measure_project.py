"""Script: what a project costs. Prints the numbers of docs/project-format.md (one process, one thread).

``python measure_project.py [FRAMES]``
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project

HEIGHT, WIDTH, OBJECTS = 1080, 1920, 10


def scene(frame: int) -> dict[int, tuple[ObjectRecord, np.ndarray]]:
    """Ten blobs on their way, with logits that look like a network's: steep edges, some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]
    out = {}
    for i in range(1, OBJECTS + 1):
        cx, cy, r = rng.uniform(40, 200, 2).tolist() + [rng.uniform(8, 22)]
        angle = np.arctan2(y - cy, x - cx - frame / 10)
        distance = np.hypot(y - cy, x - cx - frame / 10) - r * (1 + 0.15 * np.sin(5 * angle + i))
        noise = ndimage.gaussian_filter(np.random.default_rng(frame * 100 + i).normal(size=(256, 256)), 2)
        logits = (12 * np.tanh(-distance / 6) - 6 + 2 * noise).astype(np.float16)
        large = ndimage.zoom(logits.astype(np.float32), (HEIGHT / 256, WIDTH / 256), order=1) > 0
        pointer = np.random.default_rng(i).normal(size=256).astype(np.float32)
        out[i] = (ObjectRecord(logits, pointer, 5.0, 0.9, False, False), large)
    return out


def size_of(folder: Path, name: str) -> int:
    return sum(p.stat().st_size for p in (folder / name).rglob("c.*"))


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{what}: {1000 * wall / count:.2f} ms ({1000 * cpu / count:.2f} ms CPU), {count / wall:.1f} per second"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    scenes = [scene(t) for t in range(20)]
    where = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    path = where / "a.sam2"
    with Project.create(path, (count, HEIGHT, WIDTH)) as project:
        for label in ("new frame written", "frame written again"):
            with project.history.action(label, whole=False), timed(label, count):
                for t in range(count):
                    project.store.put_frame(t, scenes[t % 20])
            if label == "new frame written":
                for name in ("masks", "labels", "memories/logits", "memories/pointers"):
                    print(f"  {name}: {size_of(path, name) / count / 1024:.1f} KiB/frame")
        with timed(f"undo of {count} frames", 1):
            project.history.undo()
        with timed("labels of a frame brought in step", count):
            project.flush()
    with timed("frame read into the index", count):
        scanned = Project.open(path)
        scanned._workspace.reset_index()
    with timed(f"opening with the noted index, {count} frames", 1):
        reader = Project.open(path)
        assert len(reader.frames()) == count
    for name, read in (
        ("masks of a frame read", reader.masks),
        ("labels of a frame read", reader.labels.frame),
        ("one record read", lambda t: reader.store.get(1, t)),
    ):
        with timed(name, count):
            for t in range(count):
                read(t)
    shutil.rmtree(where)


if __name__ == "__main__":
    main()
