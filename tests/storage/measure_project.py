"""Script: what a project costs. Prints the numbers of docs/project-format.md (one process, one thread).

``python measure_project.py [FRAMES] [LOGITS.npz]``; without real logits, smooth ones are made.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_sam2.session.records import FrameRecord
from napari_sam2.storage import Project

HEIGHT, WIDTH, OBJECTS = 1080, 1920, 10


def scene(frame: int) -> dict[int, tuple[FrameRecord, np.ndarray]]:
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
        out[i] = (FrameRecord(logits, pointer, 5.0, 0.9, False, False), large)
    return out


def size_of(folder: Path, name: str) -> int:
    return sum(p.stat().st_size for p in (folder / name).rglob("c.*"))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    scenes = [scene(t) for t in range(20)]
    where = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    path = where / "a.sam2"
    with Project.create(path, (count, HEIGHT, WIDTH)) as project:
        for label in ("new frames", "frames tracked again"):
            with project.history.action(label, whole=False):
                start, cpu = time.perf_counter(), time.process_time()
                for t in range(count):
                    project.store.put_frame(t, scenes[t % 20])
                wall, used = time.perf_counter() - start, time.process_time() - cpu
            print(f"{label}: {count / wall:.1f} frames/s ({1000 * used / count:.1f} ms CPU each)")
            if label == "new frames":
                for name in ("masks", "labels", "memories/logits", "memories/pointers"):
                    print(f"  {name}: {size_of(path, name) / count / 1024:.1f} KiB/frame")
        start = time.perf_counter()
        project.history.undo()
        print(f"undo of {count} frames: {time.perf_counter() - start:.3f} s")
        start = time.perf_counter()
        project.flush()
        print(f"labels brought in step: {count / (time.perf_counter() - start):.1f} frames/s")
    start = time.perf_counter()
    reader = Project.open(path)
    reader.frames()
    print(f"opened and indexed: {count / (time.perf_counter() - start):.0f} frames/s")
    for name, read in (
        ("masks", reader.masks),
        ("labels", reader.labels.frame),
        ("one record", lambda t: reader.store.get(1, t)),
    ):
        start = time.perf_counter()
        for t in range(count):
            read(t)
        print(f"{name} read: {count / (time.perf_counter() - start):.0f} frames/s")
    shutil.rmtree(where)


if __name__ == "__main__":
    main()
