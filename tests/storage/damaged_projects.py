"""Script: damage projects in many ways, and check that nothing wrong is shown, lost in silence or overwritten.

``python damaged_projects.py CASES SEED`` prints how often which end was seen. It is a process of its own because
a crash of the database library must not end the tests.
"""

from __future__ import annotations

import collections
import json
import random
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from napari_sam2.prompts import BoxPrompt, PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, ProjectError

SHAPE = (5, 12, 16)
SECONDS = 20  # of the processor; no case may take longer
PROMPTS = {
    (1, 1): Prompt((PointPrompt(3.25, 4.5), PointPrompt(7, 8, False))),
    (2, 3): Prompt(box=BoxPrompt(1, 2, 9, 8)),
}
DATABASE = "project.db"


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
        work(project)


def work(project: Project) -> None:
    for round_ in range(3):
        with project.history.action(f"round {round_}"):
            for frame in range(SHAPE[0]):
                seeds = {i: 100 * round_ + 10 * frame + i for i in (1, 3)}
                project.store.put_frame(frame, {i: (record_of(s), mask_of(s)) for i, s in seeds.items()})
            project.save_prompts(PROMPTS if round_ else {})
            project.change_object(3, name=f"three {round_}", color="#010203")
    project.history.undo()


def make_left_open(path: Path) -> None:
    """Make a project as a process leaves it that was killed: most of it is in the log."""
    kept = path.with_name("open.sam2")
    with Project.create(kept, SHAPE) as project:
        work(project)
        shutil.copytree(kept, path)


def genuine() -> dict[tuple[int, int], set[bytes]]:
    """All masks that any version ever had, by (frame, object)."""
    return {
        (frame, i): {mask_of(100 * round_ + 10 * frame + i).tobytes() for round_ in range(3)}
        for frame in range(SHAPE[0])
        for i in (1, 3)
    }


def memories() -> dict[tuple[int, int], set[bytes]]:
    return {
        (frame, i): {
            record_of(s).logits.tobytes() + record_of(s).pointer.tobytes()
            for s in (100 * round_ + 10 * frame + i for round_ in range(3))
        }
        for frame in range(SHAPE[0])
        for i in (1, 3)
    }


# -- kinds of damage -----------------------------------------------------------------------------------------


def _bytes_of(rng: random.Random, data: bytearray, others: list[bytes]) -> bytearray:
    """Damage some bytes, as a failing disk or a broken copy does."""
    kinds = (
        "flip",
        "flip",
        "bytes",
        "cut",
        "empty",
        "longer",
        "noise",
        "page",
        "zero page",
        "swap",
        "header",
    )
    kind = rng.choice(kinds)
    size = len(data)
    if kind == "flip" and size:
        data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "bytes" and size:
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(size)] = rng.randrange(256)
    elif kind == "cut":
        del data[rng.randrange(size + 1) :]
    elif kind == "empty":
        data.clear()
    elif kind == "longer":
        data += rng.randbytes(rng.randint(1, 9000))
    elif kind == "noise":
        data[:] = rng.randbytes(size)
    elif kind in ("page", "zero page") and size >= 8192:
        start = 4096 * rng.randrange(size // 4096)
        other = 4096 * rng.randrange(size // 4096)
        data[start : start + 4096] = data[other : other + 4096] if kind == "page" else bytes(4096)
    elif kind == "swap":
        data[:] = rng.choice(others)
    elif kind == "header" and size >= 100:
        place = rng.choice([16, 18, 19, 20, 21, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 92, 96])
        number = rng.choice([0, 1, 2, 255, 65536, 2**31, 2**32 - 1, rng.getrandbits(32)])
        data[place : place + 4] = struct.pack(">I", number)
    return data


ABSURD = [
    -1,
    0,
    2**31,
    2**62,
    -(2**63),
    5,
    "",
    "x" * 5000,
    "[" * 3000,
    '{"a":1e999}',
    None,
    1e308,
    b"",
    b"\0" * 5000,
]
_COLUMNS = {
    "mask": (
        "frame",
        "object_id",
        "step",
        "present",
        "bytes",
        "origin",
        "object_score",
        "prompted",
        "rle",
        "checksum",
    ),
    "record": (
        "frame",
        "object_id",
        "step",
        "height",
        "width",
        "dtype",
        "logits",
        "pointer",
        "prompt_hash",
        "checksum",
    ),
    "entry": ("frame", "object_id", "step", "rank", "data", "checksum"),
    "project": ("key", "value", "checksum"),
    "step": ("label", "applied", "reach", "replaced", "written"),
}
STATEMENTS = [
    "DROP TABLE {table}",
    "DROP VIEW current_mask",
    "DELETE FROM {table}",
    "PRAGMA user_version = 7",
    "PRAGMA user_version = 0",
    "PRAGMA application_id = 1",
    "CREATE TRIGGER evil AFTER INSERT ON mask BEGIN DELETE FROM entry; END",
    "CREATE VIEW evil AS SELECT load_extension('x')",
    "CREATE INDEX other ON {table} ({column})",
    "ALTER TABLE {table} ADD COLUMN extra TEXT",
    "INSERT INTO removal VALUES (1, 4000000000)",
    "INSERT INTO removal SELECT object_id, step FROM mask",
    "UPDATE step SET applied = 1 - applied",
    "UPDATE record SET logits = zeroblob(2000000), checksum = NULL WHERE frame = 1",
    "UPDATE mask SET rle = CAST(zeroblob(2000000) AS TEXT), checksum = NULL WHERE frame = 1",
    "UPDATE project SET value = replace(value, '\"frames\":5', '\"frames\":2000000000'), checksum = NULL",
    "UPDATE project SET value = replace(value, '\"frames\":5', '\"frames\":16000000'), checksum = NULL",
    "UPDATE project SET value = replace(value, '\"height\":12', '\"height\":40000'), checksum = NULL",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
    "INSERT OR IGNORE INTO entry SELECT i % 5, i, 2, i, '{}', NULL FROM n",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE mask (x)' WHERE name = 'mask'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 2 WHERE name = '{table}'",
]  # fmt: skip


def _edited(rng: random.Random, path: Path) -> str:
    """Change the database with SQL, as somebody does who knows it, or who means harm."""
    table = rng.choice(list(_COLUMNS))
    column = rng.choice(_COLUMNS[table])
    if rng.random() < 0.5:
        statement, values = f"UPDATE {table} SET {column} = ?", [rng.choice(ABSURD)]
        if rng.random() < 0.5:
            statement += f" WHERE rowid % {rng.randint(1, 5)} = 0" if table in ("record", "step") else ""
        if "checksum" in _COLUMNS[table] and column != "checksum" and rng.random() < 0.7:
            statement = statement.replace(" = ?", " = ?, checksum = NULL", 1)
    else:
        statement, values = rng.choice(STATEMENTS).replace("{table}", table).replace("{column}", column), []
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.Error):
        if values:
            database.execute("PRAGMA ignore_check_constraints = ON")
            database.execute(statement, values)
            database.commit()
        else:
            database.executescript(statement)
    return statement[:60]


def damage(folder: Path, rng: random.Random) -> str:
    """Damage a project; returns how."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != "writer.lock")
    kind = rng.choice(["bytes"] * 6 + ["edit"] * 4 + ["delete", "folder", "link"])
    if kind == "edit":
        return f"edit {_edited(rng, folder / DATABASE)}"
    large = [p for p in files if p.name.startswith(DATABASE)]
    path = rng.choice(large if rng.random() < 0.8 else files)
    if kind == "bytes":
        data = _bytes_of(rng, bytearray(path.read_bytes()), [p.read_bytes() for p in files])
        path.write_bytes(bytes(data))
    else:
        content = path.read_bytes()
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            other = folder.parent / "elsewhere"
            other.write_bytes(content)
            path.symlink_to(other)
    return f"{kind} {path.name}"


# -- what has to hold ----------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    keep = {DATABASE, "prompts.json", "objects.json", "settings.json"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name in keep and p.is_file()}


def look(project: Project, masks: dict, records: dict) -> None:
    """Look at everything: what is shown was once written just there."""
    for frame in range(min(SHAPE[0], project.frame_count)):
        if project.size != SHAPE[1:]:
            break
        found = project.masks(frame)
        for i in found.object_ids:
            if (frame, i) in masks and (frame, i) in records:
                assert found.of(i).tobytes() in masks[frame, i] or project.origins(frame)[i] != "tracked"
            record = project.store.get(i, frame)
            if record is not None and (frame, i) in records:
                assert record.logits.tobytes() + record.pointer.tobytes() in records[frame, i]
        assert project.labels[frame].shape == SHAPE[1:]
        project.scores(frame), project.origins(frame)
    _ = (
        project.objects,
        project.prompts,
        project.pending,
        project.history.steps,
        project.source,
        project.options,
    )
    _ = [project.frames(i) for i in (1, 3)], project.store.frames(1)
    if project.frame_count < 1e6:
        project.frames()


def write(project: Project) -> None:
    """Go on working: what is new is kept."""
    if project.size != SHAPE[1:]:
        return
    with project.history.action("new"):
        project.store.put_frame(0, {2: (record_of(77), mask_of(77))})
        project.put_prompt(0, 2, PROMPTS[1, 1])
    for _ in range(3):
        if project.history.can_undo:
            project.history.undo()
    if project.history.can_redo:
        project.history.redo()
    project.store.remove_object(1)
    project.history.compact(0.5)


def attempt(folder: Path, mode: str, masks: dict, records: dict) -> str:
    before = content(folder)
    try:
        project = Project.open(folder, mode)  # type: ignore[arg-type]
    except ProjectError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        assert len(text) < 700, text
        assert content(folder) == before, "a project that is refused is not touched"
        return "refused"
    end = "unharmed"
    try:
        look(project, masks, records)
        if mode == "a":
            write(project)
        elif project.frame_count < 1e6:
            project.verify()
        end = "reported" if project.damage else "unharmed"
    except ProjectError:
        end = "refused later"
    finally:
        with suppress(ProjectError):
            project.close()
    if mode == "r":
        assert content(folder) == before, "a reader writes nothing"
    return end


def run(cases: int, seed: int, folder: Path) -> collections.Counter[str]:
    """Try ``cases`` kinds of damage; returns how often which end was seen."""
    rng = random.Random(seed)
    originals = [folder / "closed.sam2", folder / "killed.sam2"]
    make(originals[0])
    make_left_open(originals[1])
    copy = folder / "copy.sam2"
    masks, records = genuine(), memories()
    seen: collections.Counter[str] = collections.Counter()
    for case in range(cases):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(originals[rng.random() < 0.4], copy)
        kind = damage(copy, rng)
        for mode in "ra":
            start = time.process_time()
            try:
                end = attempt(copy, mode, masks, records)
            except Exception as error:
                raise AssertionError(
                    f"case {case} of seed {seed}: {kind!r} opened with {mode}: {error!r}"
                ) from error
            assert time.process_time() - start < SECONDS, (
                f"case {case} of seed {seed}: {kind!r} took too long"
            )
            seen[f"{mode} {end}"] += 1
    return seen


if __name__ == "__main__":
    if resource is not None:  # what would fill the memory ends here, with the case that does it
        resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    where = Path(tempfile.mkdtemp())
    try:
        print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), where)))
    finally:
        shutil.rmtree(where, ignore_errors=True)
