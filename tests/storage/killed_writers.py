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

from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session.protocols import ObjectRecord
from napari_sam2.storage import Project, open_session
from napari_sam2.storage.files import atomic_files as files

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
                assert found >= max(reported, default=0)
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


# -- a death at every single step of writing ---------------------------------------------------------------


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
        project.put_object(1, "name", "#102030")
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
        project.put_object(3, "three")
    report("joined")
    project.store.tidy()
    report("tidy")
    project.flush()
    report("flush")
    project.history.begin("run", whole=False)
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
    """Let a process die before or after its n-th file operation, for every ``stride``-th n; returns the last."""
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
        # An action that had begun takes what could be redone with it; a long one stays as far as it went.
        allowed = [*legal[at : at + 2], (*legal[at][:-1], None), (*legal[at][:-2], "run", None)]
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
    replace, unlink, real_open = os.replace, Path.unlink, open

    def count() -> None:
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1

    def dying_replace(*args: object) -> None:
        count()
        replace(*args)  # type: ignore[arg-type]
        count()

    def dying_unlink(self: Path, missing_ok: bool = False) -> None:
        count()
        unlink(self, missing_ok)

    def dying_open(*args: object) -> object:
        file = real_open(*args)  # type: ignore[call-overload]
        count()  # the file is empty now
        return file

    os.replace, Path.unlink = dying_replace, dying_unlink  # type: ignore[assignment]
    files.open = dying_open  # type: ignore[attr-defined]
    all_verbs(path, report, defers)


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
        "steps": die_at_every_step(folder / "at once", int(sys.argv[5]), False),
        "deferring steps": die_at_every_step(folder / "deferring", int(sys.argv[5]), True),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
