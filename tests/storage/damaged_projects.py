"""Damage projects in every way that a disk, a copy or a person may, and look what is left.

As a script: ``python damaged_projects.py CASES SEED`` (needs the package; prints what was seen).
"""

from __future__ import annotations

import collections
import contextlib
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, ProjectError

SHAPE = (5, 12, 16)
PROMPTS = {
    (1, 1): Prompt((PointPrompt(3.25, 4.5), PointPrompt(7, 8, False))),
    (2, 3): Prompt(box=BoxPrompt(1, 2, 9, 8)),
}


def mask_of(seed: int) -> np.ndarray:
    y, x = np.random.default_rng(seed).integers(0, 8, 2)
    mask = np.zeros(SHAPE[1:], bool)
    mask[y : y + 4, x : x + 5] = True
    return mask


def record_of(seed: int) -> ObjectRecord:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 4)).astype(np.float16)
    return ObjectRecord(logits, rng.normal(size=3).astype(np.float32), float(seed), 0.5, False, False)


def make(path: Path) -> None:
    """Make a project with two objects, two versions, and something that was undone."""
    with Project.create(path, SHAPE) as project:
        for round_ in range(3):
            with project.history.action(f"round {round_}"):
                for frame in range(SHAPE[0]):
                    seeds = {i: 100 * round_ + 10 * frame + i for i in (1, 3)}
                    project.store.put_frame(frame, {i: (record_of(s), mask_of(s)) for i, s in seeds.items()})
                project.save_prompts(PROMPTS if round_ else {})
                project.put_object(3, name=f"three {round_}", color="#010203")
        project.history.undo()


def content(project: Project) -> dict[int, tuple]:
    """What can be seen of every frame."""
    out = {}
    for frame in range(min(SHAPE[0], project.frame_count)):
        masks = project.masks(frame)
        records = {}
        for i in masks.object_ids:
            record = project.store.get(i, frame)
            records[i] = None if record is None else record.logits.tobytes() + record.pointer.tobytes()
        labels = project.labels[frame].tobytes()
        out[frame] = ({i: masks.of(i).tobytes() for i in masks.object_ids}, records, labels)
    return out


def damage(folder: Path, rng: random.Random) -> tuple[str, Path]:
    """Damage one file; returns how, and which."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    kind = rng.choice(
        ["flip", "flip", "flip", "bytes", "cut", "empty", "delete", "longer", "noise", "swap", "folder"]
    )
    if kind == "flip" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "bytes" and data:
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "cut":
        data = data[: rng.randrange(len(data) + 1)]
    elif kind == "longer":
        data += rng.randbytes(rng.randint(1, 100))
    elif kind == "noise":
        data = bytearray(rng.randbytes(len(data)))
    elif kind == "swap":
        data = bytearray(rng.choice(files).read_bytes())
    elif kind == "empty":
        data = bytearray()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "delete":
        path.write_bytes(bytes(data))
    return kind, path.relative_to(folder)


def harmed(path: Path) -> tuple[int | None, bool]:
    """Return the frame whose masks a file holds (None: of no frame), and whether it holds records."""
    if path.parts[0] == "masks" and path.name.startswith("c."):
        return int(path.name[2:]), False
    if path.parts[0] == "memories" and path.name.startswith("c."):
        return int(path.name.split(".")[1]), True
    return None, False


def check(folder: Path, mode: str, kind: str, path: Path, whole: dict[int, tuple]) -> str:
    """Open a damaged project and check that nothing but the damaged part is lost; returns what happened."""
    try:
        project = Project.open(folder, mode)  # type: ignore[arg-type]
    except ProjectError as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 400
        return "refused"
    # A folder where a file should be cannot be written over: that is said.
    with contextlib.suppress(ProjectError) if kind == "folder" else contextlib.nullcontext(), project:
        frame, records_only = harmed(path)
        found = content(project)
        if kind == "swap" and path.parts[0] == "labels":
            wrong = [t for t in whole if found[t][2] != whole[t][2]]
            project.verify()  # a whole chunk of another frame is only found by comparing
            assert project.damaged_frames == wrong
            found = content(project)
        for t, (masks, records, labels) in whole.items():
            if t == frame and not records_only:
                if found[t][0] != masks:
                    assert t in project.damaged_frames or kind == "delete", "damage is reported by number"
                continue
            assert found[t][0] == masks, f"masks of frame {t} are lost"
            assert found[t][2] == labels, f"labels of frame {t} are lost"
            if t == frame:
                if found[t][1] != records:
                    assert t in project.damaged_frames, "damage is reported by number"
            elif path.parts[0] != "memories":
                assert found[t][1] == records, f"records of frame {t} are lost"
        if path.parts[0] != "prompts":
            assert project.prompts == PROMPTS
        if path.parts[0] != "objects":
            assert project.objects[3].name == "three 1"
        project.verify()
        if mode == "a":
            go_on(project, kind, path)
    return "reported" if project.damage else "unharmed"


def go_on(project: Project, kind: str, path: Path) -> None:
    """Work in a damaged project: what is new is kept."""
    with project.history.action("new"):
        project.store.put_frame(0, {2: (record_of(77), mask_of(77))})
    assert np.array_equal(project.masks(0).of(2), mask_of(77))
    for _ in range(4):
        if project.history.can_undo:
            try:
                project.history.undo()
            except ProjectError:
                assert path.parts[0] == "history", (kind, path)
                break


def run(cases: int, seed: int, folder: Path) -> collections.Counter[str]:
    """Try ``cases`` kinds of damage; returns how often which end was seen."""
    rng = random.Random(seed)
    original, copy = folder / "original.sam2", folder / "copy.sam2"
    make(original)
    whole = content(Project.open(original))
    seen: collections.Counter[str] = collections.Counter()
    for case in range(cases):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy)
        kind, path = damage(copy, rng)
        for mode in "ra":
            try:
                seen[f"{mode} {check(copy, mode, kind, path, whole)}"] += 1
            except Exception as error:
                raise AssertionError(
                    f"case {case} of seed {seed}: {kind} {path} opened with {mode}"
                ) from error
    return seen


if __name__ == "__main__":
    start = time.monotonic()
    where = Path(tempfile.mkdtemp())
    try:
        print(dict(run(int(sys.argv[1]), int(sys.argv[2]), where)))
    finally:
        shutil.rmtree(where)
    print(f"{sys.argv[1]} cases, each read and written, in {time.monotonic() - start:.0f} s")
