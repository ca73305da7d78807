"""Script: what a project costs on disk. Prints the numbers of docs/project-format.md as JSON.

``python bench_storage.py [PYTHONPATH OF AN OLDER VERSION]``: with a second tree, both are measured in turns in one run,
each in processes of its own, and the ratios are printed. One thread; the scenes are synthetic.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import ndimage

ROUNDS = 3


def scene(frame: int, size: tuple[int, int], count: int, side: int) -> dict:
    """Blobs on their way, with logits that look like a network's: steep edges, some noise."""
    try:
        from napari_sam2.session.protocols import ObjectRecord
    except ImportError:  # an older version
        from napari_sam2.session.records import FrameRecord as ObjectRecord

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    out = {}
    for i in range(1, count + 1):
        cx, cy, r = (side / 256 * v for v in (*rng.uniform(40, 200, 2), rng.uniform(8, 22)))
        angle = np.arctan2(y - cy, x - cx - frame / 10)
        distance = np.hypot(y - cy, x - cx - frame / 10) - r * (1 + 0.15 * np.sin(5 * angle + i))
        noise = ndimage.gaussian_filter(np.random.default_rng(frame * 100 + i).normal(size=(side, side)), 2)
        logits = (12 * np.tanh(-distance / 6) - 6 + 2 * noise).astype(np.float16)
        large = ndimage.zoom(logits.astype(np.float32), (size[0] / side, size[1] / side), order=1) > 0
        pointer = np.random.default_rng(i).normal(size=256).astype(np.float32)
        out[i] = (ObjectRecord(logits, pointer, 5.0, 0.9, False, False), large)
    return out


def timed(what: str, work: Callable[[int], object], times: int) -> dict[str, float]:
    """Return the median of the milliseconds that ``work(n)`` takes, on the clock and of the processor."""
    clock, processor = [], []
    for n in range(times):
        start, before = time.perf_counter(), time.process_time()
        work(n)
        processor.append(1000 * (time.process_time() - before))
        clock.append(1000 * (time.perf_counter() - start))
    return {f"{what}, ms": median(clock), f"{what}, ms of the processor": median(processor)}


def used(path: Path) -> tuple[int, int]:
    sizes = [p.stat().st_size for p in path.rglob("*") if p.is_file()]
    return len(sizes), sum(sizes)


def frames(folder: Path) -> dict[str, float]:
    """Writing and reading at 540 × 960 with 3 objects, undo and redo of the whole."""
    from napari_sam2.storage import Project

    scenes = [scene(t, (540, 960), 3, 256) for t in range(12)]
    project = Project.create(folder / "frames.sam2", (240, 540, 960))
    out: dict[str, float] = {}
    project.history.begin("track", **({} if _is_new() else {"whole": False}))
    out |= timed("write a frame with 3 objects", lambda n: project.store.put_frame(n, scenes[n % 12]), 240)
    project.history.commit()
    project.close()
    count, size = used(folder / "frames.sam2")
    out["bytes per frame and object"] = size / 720
    project = Project.open(folder / "frames.sam2", "a")
    out |= timed("read a record", lambda n: project.store.get(1 + n % 3, n * 7 % 120), 120)
    out |= timed("read the masks of a frame", lambda n: project.masks(n * 7 % 120), 120)
    out |= timed("read the labels of a frame", lambda n: project.labels.frame(n * 7 % 120), 120)

    def there_and_back(n: int) -> None:
        project.history.undo()
        project.history.redo()

    out |= timed("undo and redo of 240 frames", there_and_back, 15)
    project.close()
    return out


def clicks(folder: Path) -> dict[str, float]:
    """A click (mask, prompt, step of undo) and its undo, with few and with many prompts before it."""
    from napari_sam2.masks import FrameMasks
    from napari_sam2.prompts import PointPrompt, Prompt
    from napari_sam2.storage import Project

    mask = np.zeros((1, 540, 960), bool)
    mask[0, 100:200, 300:420] = True
    facts = np.ones(1, np.float32)
    out: dict[str, float] = {}
    for name, before in (("10", 10), ("1,000", 1000), ("10,000", 10_000 if _is_new() else 0)):
        if not before:
            continue
        project = Project.create(folder / f"clicks-{before}.sam2", (10_100, 540, 960))
        prompts = {(t, 1): Prompt((PointPrompt(t % 900, 20),)) for t in range(before)}
        project.save_prompts(prompts)
        project.store.defer()

        def click(n: int, project: Project = project, prompts: dict = prompts, before: int = before) -> None:
            frame, prompt = before + n, Prompt((PointPrompt(n, 7),))
            with project.history.action(f"Prompt on frame {frame}"):
                project.store.put_masks(
                    FrameMasks(frame, (1,), mask, facts, facts, np.ones(1, bool)), "draft"
                )
                prompts[frame, 1] = prompt
                if _is_new():
                    project.put_prompt(frame, 1, prompt)
                else:
                    project.save_prompts(prompts)

        out |= timed(f"click with {name} prompts", click, 60)
        out |= timed(f"undo with {name} prompts", lambda n, project=project: project.history.undo(), 40)
        project.close()
    return out


def large(folder: Path) -> dict[str, float]:
    """2,000 frames × 50 objects of 96 × 96."""
    from napari_sam2.storage import Project

    count = int(os.environ.get("BENCH_FRAMES", "2000"))
    scenes = [scene(t, (96, 96), 50, 32) for t in range(4)]
    path = folder / "large.sam2"
    project = Project.create(path, (count, 96, 96))
    project.history.begin("track", **({} if _is_new() else {"whole": False}))
    start = time.perf_counter()
    for t in range(count):
        project.store.put_frame(t, scenes[t % 4])
    out = {"write 50 objects on a frame, ms": 1000 * (time.perf_counter() - start) / count}
    project.history.commit()
    if not _is_new():
        project.history.undo()  # the labels of all frames are to be made again: what closing had to wait for
        project.history.redo()
    start = time.perf_counter()
    project.close()
    out["close, s"] = time.perf_counter() - start
    out["files"] = used(path)[0]
    out["megabytes"] = used(path)[1] / 1e6
    for name, mode in (("open for reading, s", "r"), ("open for writing, s", "a")):
        start = time.perf_counter()
        project = Project.open(path, mode)  # type: ignore[arg-type]
        out[name] = time.perf_counter() - start
        if mode == "a":
            out |= _changes(project)
        start = time.perf_counter()
        project.close()
        out[f"close again ({mode}), s"] = time.perf_counter() - start
    return out


def _changes(project: Any) -> dict[str, float]:
    found = timed("read one of 50 records", lambda n: project.store.get(1 + n, n * 7), 30)
    found |= timed("remove an object of all frames", lambda n: project.store.remove_object(1 + n), 5)
    found |= timed("undo of it", lambda n: project.history.undo(), 5)
    return found | timed("list the frames of an object", lambda n: project.frames(7 + n), 5)


def _is_new() -> bool:
    import importlib.util

    return importlib.util.find_spec("napari_sam2.storage.database") is not None


def measured(python_path: str, part: str) -> dict[str, float]:
    process = subprocess.run(
        [sys.executable, __file__, "--part", part],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    return json.loads(process.stdout)


def main() -> None:
    new, old = str(Path(__file__).parents[2]), sys.argv[1] if len(sys.argv) > 1 else None
    for part, rounds in (("frames", ROUNDS), ("clicks", ROUNDS), ("large", 1)):
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(rounds):
            for name, tree in (("new", new), ("old", old)):
                for what, value in (measured(tree, part) if tree else {}).items():
                    found.setdefault(what, {}).setdefault(name, []).append(value)
        for what, by_tree in found.items():
            best = {name: min(values) for name, values in by_tree.items()}
            ratio = f"{best['old'] / best['new']:10.1f} ×" if len(best) == 2 and best["new"] else ""
            shown = "  ".join(f"{name} {value:10.3f}" for name, value in best.items())
            print(f"{what:50s} {shown} {ratio}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        where = Path(tempfile.mkdtemp())
        try:
            print(json.dumps({"frames": frames, "clicks": clicks, "large": large}[sys.argv[2]](where)))
        finally:
            shutil.rmtree(where)
    else:
        main()
