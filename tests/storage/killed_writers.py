"""Script: kill processes that write to projects, and check what is left. One line of JSON says what was seen.

It is a process of its own because it forks: every victim starts with everything imported.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_sam2.formats.registry import FORMATS
from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, is_project, open_session, project_results
from napari_sam2.storage.database import Database

SHAPE = (40, 30, 40)
VERBS = 16


def victim(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Fork a process that does ``work``; returns its number and a pipe with what it reports."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    code = 1
    try:
        work(lambda text: os.write(writer, text.encode() + b"\n") and None)
        code = 0
    finally:
        os._exit(code)  # no clean-up, as if it were killed


def told(pipe: int) -> list[str]:
    with os.fdopen(pipe, "rb") as stream:
        return [line.decode() for line in stream.read().split(b"\n")[:-1]]


def kill_after(child: int, pipe: int, seconds: float) -> tuple[list[str], bool]:
    """Kill a victim some time after its first report; returns its reports and whether it was still alive."""
    first = b""
    while not first.endswith(b"\n"):
        byte = os.read(pipe, 1)
        assert byte, "the victim died by itself"
        first += byte
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return told(pipe), os.WIFSIGNALED(status)


# -- a store that is written to as fast as it goes ---------------------------------------------------------


def mask_of(seed: int) -> np.ndarray:
    y, x, h, w = np.random.default_rng(seed).integers(1, 20, 4)
    mask = np.zeros(SHAPE[1:], bool)
    mask[y : y + h, x : x + w] = True
    return mask


def record_of(seed: int) -> ObjectRecord:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(32, 32)).astype(np.float16)
    return ObjectRecord(logits, rng.normal(size=16).astype(np.float32), float(seed), 0.5, False, False)


def seed_of(object_id: int, frame: int, round_: int) -> int:
    return object_id + 10 * frame + 10000 * round_


def write_rounds(path: Path, rounds: int, report: Callable[[str], None]) -> None:
    project = Project.create(path, SHAPE)
    report("open")
    for round_ in range(rounds):
        with project.history.action(f"round {round_}", whole=False):
            for frame in range(SHAPE[0]):
                results = {}
                for i in (1, 2, 3):
                    seed = seed_of(i, frame, round_)
                    results[i] = (record_of(seed), mask_of(seed))
                project.store.put_frame(frame, results)
                report(f"{round_} {frame}")
        if round_ % 3 == 1:
            project.history.undo()
            report(f"undone {round_}")
            project.history.redo()


def check_rounds(path: Path, reports: list[str]) -> None:
    """Every frame is whole, and at most one frame newer than what was reported."""
    done = [tuple(map(int, r.split())) for r in reports if r[0].isdigit()]
    reader = Project.open(path)
    assert reader.verify() == [], reader.damage
    with Project.open(path, "a") as project:
        assert project.verify() == []
        if not project.history.can_undo:
            assert not done
            return
        last = int(project.history.undo_label.split()[1])  # type: ignore[union-attr]
        undone = project.history.can_redo
        newest = max(done, default=(-1, -1))
        for frame in range(SHAPE[0]):
            reported = [r for r, f in done if f == frame]
            masks = project.masks(frame)
            assert masks.object_ids in ((), (1, 2, 3))
            if not masks.object_ids:
                assert not reported or undone
                continue
            rounds = {int(project.store.get(i, frame).object_score) // 10000 for i in (1, 2, 3)}  # type: ignore[union-attr]
            assert len(rounds) == 1, "a frame is written as a whole"
            found = rounds.pop()
            assert found <= last
            if not undone:
                assert found >= max(reported, default=0), "a finished frame is lost"
                assert (found, frame) <= (newest[0] + 1, 0) or (found, frame) <= (newest[0], newest[1] + 1)
            for i in (1, 2, 3):
                seed = seed_of(i, frame, found)
                assert np.array_equal(masks.of(i), mask_of(seed))
                assert np.array_equal(project.store.get(i, frame).logits, record_of(seed).logits)  # type: ignore[union-attr]
            drawn = project.labels[frame]
            assert np.array_equal(drawn > 0, masks.masks.any(0))
        while project.history.can_undo:
            project.history.undo()
        assert project.frames() == []
        assert not project.labels[:].any()


def kill_stores(folder: Path, trials: int, rng: random.Random) -> int:
    killed = 0
    for trial in range(trials):
        path = folder / f"store-{trial}.sam2"
        child, pipe = victim(lambda report, path=path: write_rounds(path, 8, report))
        reports, alive = kill_after(child, pipe, rng.uniform(0, 1.2))
        killed += alive
        check_rounds(path, reports)
    return killed


# -- a death at every single statement of writing -----------------------------------------------------------


def all_verbs(path: Path, report: Callable[[str], None], defers: bool) -> None:
    project = Project.open(path, "a")
    project.store.defer(defers)
    nan = np.full(1, np.nan, np.float32)
    with project.history.action("track"):
        project.store.put_frame(2, {i: (record_of(i), mask_of(i)) for i in (1, 2)})
        project.save_prompts({(2, 1): Prompt((PointPrompt(1, 1),))})
    report("track")
    with project.history.action("paint"):
        project.store.put_masks(FrameMasks(2, (1,), mask_of(9)[None], nan, nan, np.zeros(1, bool)), "painted")
        project.change_object(1, "name", "#102030")
    report("paint")
    project.store.remove_object(2)
    report("remove")
    project.history.undo()
    report("undo")
    project.history.undo()
    report("undo")
    with project.history.action("again"):
        project.store.put(3, 2, record_of(5), mask_of(5))
    report("again")
    with project.history.action("not told", joins=True):
        project.store.put(1, 2, record_of(11), mask_of(11))
        project.change_object(3, "three")
    report("joined")
    project.store.tidy()
    report("tidy")
    project.flush()
    report("flush")
    project.history.begin("run")
    report("begin")
    for seed in (6, 7):
        project.store.put(3, 2, record_of(seed), mask_of(seed))
        report("step")
    project.history.commit()
    report("commit")
    project.store.put(3, 2, record_of(8), mask_of(8))
    report("outside of actions")
    project.history.compact()
    report("compact")
    project.close()
    report("close")


def look(path: Path, mode: str) -> tuple:
    with Project.open(path, mode) as project:  # type: ignore[arg-type]
        assert project.verify() == [], project.damage
        masks = project.masks(2)
        drawn = project.labels[2]
        assert np.array_equal(
            drawn > 0, masks.masks.any(0) if masks.object_ids else np.zeros(SHAPE[1:], bool)
        )
        return (
            tuple((i, masks.of(i).tobytes()) for i in masks.object_ids),
            tuple(sorted(project.prompts)),
            tuple(project.objects.items()),
            project.history.undo_label,
            project.history.redo_label,
        )


def die_at_every_step(folder: Path, stride: int, defers: bool) -> int:
    """Let a process die before or after its n-th statement, for every ``stride``-th n; returns the last."""
    folder.mkdir()
    start = folder / "verbs.sam2"
    Project.create(start, SHAPE).close()
    legal = [look(start, "r")]  # the states between two verbs, in order

    for _ in range(VERBS):
        child, pipe = victim(lambda report, legal=legal: _until(start, folder / "x.sam2", len(legal), defers))
        told(pipe)
        os.waitpid(child, 0)
        legal.append(look(folder / "x.sam2", "r"))
    step = 0
    for step in range(0, 10**4, stride):
        path = folder / f"verbs-{step}.sam2"
        _copy(start, path)
        child, pipe = victim(lambda report, path=path, step=step: _dying(path, step, report, defers))
        reports = told(pipe)
        _, status = os.waitpid(child, 0)
        at = len(reports)
        # A long action stays as far as it went.
        allowed = [*legal[at : at + 2], (*legal[at][:-2], "run", None)]
        found = look(path, "r")
        assert found in allowed, (step, reports)
        assert look(path, "a") in allowed, (step, reports)
        assert look(path, "a") == look(path, "r")
        if os.WEXITSTATUS(status) == 0:
            return step
    return step


def _until(start: Path, path: Path, verbs: int, defers: bool) -> None:
    _copy(start, path)
    seen = [0]

    def stop_there(text: str) -> None:
        seen[0] += 1
        if seen[0] == verbs:
            os._exit(0)

    all_verbs(path, stop_there, defers)


def _copy(start: Path, path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(start, path)


def _dying(path: Path, step: int, report: Callable[[str], None], defers: bool) -> None:
    left = [step]

    def count() -> None:
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1

    def dying(write: Callable) -> Callable:
        def both(*args: object) -> object:
            count()
            rows = write(*args)
            count()
            return rows

        return both

    Database.write = dying(Database.write)  # type: ignore[method-assign]
    Database.write_rows = dying(Database.write_rows)  # type: ignore[method-assign]
    all_verbs(path, report, defers)


# -- making, importing, exporting, compacting --------------------------------------------------------------


def make_again_and_again(folder: Path, report: Callable[[str], None]) -> None:
    report("open")
    for n in range(10**6):
        Project.create(folder / f"made-{n}.sam2", SHAPE).close()
        report(str(n))


def check_made(folder: Path, reports: list[str]) -> None:
    done = len(reports)
    for n in range(done + 2):
        path = folder / f"made-{n}.sam2"
        assert is_project(path) or (n >= done and not path.exists()), (
            "a project is there as a whole or not at all"
        )
        if path.exists():
            Project.open(path, "a").close()
        else:
            Project.create(path, SHAPE).close()
    assert not list(folder.glob(".made-*.new")), "what was half made is gone once it is made again"


def masks_of(seed: int) -> list[FrameMasks]:
    nan = np.full(2, np.nan, np.float32)
    pairs = [np.stack([mask_of(seed + t), mask_of(seed + t + 50)]) for t in range(SHAPE[0])]
    return [FrameMasks(t, (1, 2), pair, nan, nan, np.zeros(2, bool)) for t, pair in enumerate(pairs)]


def import_again_and_again(path: Path, report: Callable[[str], None]) -> None:
    project = Project.create(path, SHAPE)
    report("open")
    for seed in range(10**6):
        with project.history.action(f"import {seed}"):
            for masks in masks_of(seed):
                project.store.put_masks(masks, "imported")
        report(str(seed))


def check_imported(path: Path, reports: list[str]) -> None:
    with Project.open(path, "a") as project:
        assert project.verify() == []
        if not project.frames():
            assert not reports
            return
        (seed,) = {int(str(project.history.undo_label).split()[1])}
        assert seed in (len(reports) - 1, len(reports)), "the last import that was reported, or the next one"
        for expected in masks_of(seed):
            assert np.array_equal(project.masks(expected.frame).masks, expected.masks), "an import is whole"


def export_again_and_again(path: Path, report: Callable[[str], None]) -> None:
    project = Project.open(path, "a")
    report("open")
    for n in range(10**6):
        results = project_results(project)
        for name in ("tiff", "coco", "csv"):
            target = project.exports_folder / FORMATS[name].file_name
            FORMATS[name].write(results, target, overwrite=True)
        report(str(n))


def check_exported(path: Path, reports: list[str]) -> None:
    with Project.open(path, "a") as project:
        assert project.verify() == []
        assert project.frames() == list(range(SHAPE[0]))
        for name in ("tiff", "coco", "csv"):  # the same again
            target = project.exports_folder / FORMATS[name].file_name
            FORMATS[name].write(project_results(project), target, overwrite=True)
            assert target.stat().st_size > 100


def compact_again_and_again(path: Path, report: Callable[[str], None]) -> None:
    project = Project.create(path, SHAPE, history_budget=100_000)
    project.store.defer()
    report("open")
    for n in range(10**6):
        with project.history.action(f"import {n}"):
            for masks in masks_of(n):
                project.store.put_masks(masks, "imported")
                project.store.put(1, masks.frame, record_of(n), masks.masks[0])
        report(str(n))
        if n % 2:
            project.history.undo()
            project.history.redo()
        project.history.compact()
        project.store.tidy()


def check_compacted(path: Path, reports: list[str]) -> None:
    with Project.open(path, "a") as project:
        assert project.verify() == []
        label = project.history.undo_label or project.history.redo_label
        if label is None:
            return
        project.history.redo() if project.history.can_redo else None
        seed = int(str(project.history.undo_label).split()[1])
        assert len(reports) - 1 <= seed <= len(reports)
        for expected in masks_of(seed):
            assert np.array_equal(project.masks(expected.frame).masks, expected.masks)
            record = project.store.get(1, expected.frame)
            assert record is not None
            assert np.array_equal(record.logits, record_of(seed).logits)
        project.history.compact()
        assert project.verify() == []


def kill_others(folder: Path, trials: int, rng: random.Random) -> dict[str, int]:
    killed = {"making": 0, "importing": 0, "exporting": 0, "compacting": 0}
    for trial in range(trials):
        (folder / f"{trial}").mkdir()
        exported = folder / f"exported-{trial}.sam2"
        with Project.create(exported, SHAPE) as project:
            for masks in masks_of(trial):
                project.store.put_masks(masks, "imported")
        cases = {
            "making": (make_again_and_again, check_made, folder / f"{trial}"),
            "importing": (import_again_and_again, check_imported, folder / f"import-{trial}.sam2"),
            "exporting": (export_again_and_again, check_exported, exported),
            "compacting": (compact_again_and_again, check_compacted, folder / f"compact-{trial}.sam2"),
        }
        for name, (work, check, path) in cases.items():
            child, pipe = victim(lambda report, work=work, path=path: work(path, report))
            reports, alive = kill_after(child, pipe, rng.uniform(0, 0.6))
            killed[name] += alive
            check(path, reports)
    return killed


# -- clicks --------------------------------------------------------------------------------------------------


def click_again_and_again(path: Path, tiny, model, report: Callable[[str], None]) -> None:
    project = Project.create(path, (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH))
    session = open_session(project, model, tiny.frames(), tiny.OPTIONS)
    report("open")
    for n in range(10**6):
        session.set_prompt(n % tiny.LENGTH, 1 + n % 3, Prompt((PointPrompt(n % 50, 20),)))
        report(f"{n + 1}")
        if n % 4 == 3:
            session.undo()
            report(f"{n}")
            session.redo()
            report(f"{n + 1}")


def kill_clicks(folder: Path, trials: int, rng: random.Random) -> int:
    import tiny_sessions as tiny

    model = tiny.network()
    killed = 0
    for trial in range(trials):
        path = folder / f"clicks-{trial}.sam2"
        child, pipe = victim(lambda report, path=path: click_again_and_again(path, tiny, model, report))
        reports, alive = kill_after(child, pipe, rng.uniform(0, 1.0))
        killed += alive
        last = int(reports[-1]) if reports else 0
        with Project.open(path, "a") as project:
            assert project.verify() == []
            assert project.history.applied in (last - 1, last, last + 1)
            drafts = {(t, i) for t in range(tiny.LENGTH) for i in project.masks(t).object_ids}
            assert drafts == set(project.prompts), "a click is its mask and its prompt"
            for _ in range(project.history.applied):
                project.history.undo()
            assert (project.prompts, project.frames()) == ({}, [])
    return killed


# -- sessions with a network -------------------------------------------------------------------------------


def state(project: Project) -> list[tuple]:
    out = []
    for frame in range(project.frame_count):
        masks = project.masks(frame)
        for i in masks.object_ids:
            record = project.store.get(i, frame)
            logits = b"" if record is None else record.logits.tobytes() + record.pointer.tobytes()
            out.append(
                (frame, i, masks.of(i).tobytes(), project.scores(frame)[i], logits, project.origins(frame)[i])
            )
        out.append((frame, project.labels[frame].tobytes()))
    return out


def begin(path: Path, tiny, model) -> tuple[Project, object]:
    project = Project.create(path, (tiny.LENGTH, tiny.HEIGHT, tiny.WIDTH))
    session = open_session(project, model, tiny.frames(), tiny.OPTIONS)
    for (frame, object_id), prompt in tiny.PROMPTS.items():
        session.set_prompt(frame, object_id, prompt)
    return project, session


def track(path: Path, tiny, model, reverse: bool, report: Callable[[str], None]) -> None:
    if path.exists():
        project = Project.open(path, "a")
        session = open_session(project, model, tiny.frames())
        steps = session.resume()
    else:
        project, session = begin(path, tiny, model)
        steps = session.propagate(reverse=reverse)
    report("open")
    for masks in steps:
        report(f"{masks.frame} {masks.masks.sum()}")


def kill_sessions(folder: Path, trials: int, rng: random.Random) -> tuple[int, int]:
    import tiny_sessions as tiny

    model = tiny.network()
    expected, seconds = {}, {}
    for reverse in (False, True):
        project, session = begin(folder / f"whole-{reverse}.sam2", tiny, model)
        start = time.monotonic()
        for _ in session.propagate(reverse=reverse):
            pass
        seconds[reverse] = time.monotonic() - start
        assert session.pending is None
        expected[reverse] = state(project)
        project.close()
    killed = resumed = 0
    for trial in range(trials):
        reverse = trial % 3 == 2
        path = folder / f"session-{trial}.sam2"
        reported: dict[int, int] = {}
        for _ in range(1 + trial % 2):  # every second one is killed twice
            if path.exists() and Project.open(path).pending is None:
                break
            work = lambda report, path=path, reverse=reverse: track(path, tiny, model, reverse, report)  # noqa: E731
            child, pipe = victim(work)
            reports, alive = kill_after(child, pipe, rng.uniform(0, seconds[reverse]))
            killed += alive
            reported |= {int(r.split()[0]): int(r.split()[1]) for r in reports}
        reader = Project.open(path)
        assert reader.damage == []
        for frame, area in reported.items():
            on_disk = reader.masks(frame)
            assert on_disk.masks.sum() >= area > 0, "a reported frame is on disk"
        with Project.open(path, "a") as project:
            session = open_session(project, model, tiny.frames())
            if session.pending is not None:
                for _ in session.resume():
                    pass
                resumed += 1
            elif not reported:  # killed before the propagation began
                for _ in session.propagate(reverse=reverse):
                    pass
            assert session.pending is None
            assert state(project) == expected[reverse], f"trial {trial}: resumed masks differ"
            assert project.verify() == []
            assert session.undo() == "Propagate"
            assert project.store.frames(2) == [9], "the whole run is one step of undo"
    return killed, resumed


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    killed, resumed = kill_sessions(folder, int(sys.argv[3]), rng)
    seen = {
        "sessions killed": killed,
        "sessions resumed": resumed,
        "stores killed": kill_stores(folder, int(sys.argv[4]), rng),
        "clicks killed": kill_clicks(folder, int(sys.argv[4]) // 2, rng),
        "others killed": kill_others(folder, int(sys.argv[4]) // 2, rng),
        "steps": die_at_every_step(folder / "at once", int(sys.argv[5]), False),
        "deferring steps": die_at_every_step(folder / "deferring", int(sys.argv[5]), True),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
