"""A session that needs no network: every object is a disc that walks one pixel to the right per frame."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.masks import FrameMasks, compose_labels
from napari_sam2.objects import ObjectInfo
from napari_sam2.plugin.state import Preferences, ProjectState, UndoStep
from napari_sam2.plugin.worker.session_spec import OpenedSession, SessionSpec
from napari_sam2.prompts import Prompt
from napari_sam2.session import Alternatives

# PySide 6.12 takes thousands of references to None away with every window that is closed (with napari alone, too),
# and before Python 3.12 the interpreter aborts when none is left: here there are enough.
if os.environ.get("QT_API") == "pyside6" and sys.version_info < (3, 12):
    ctypes.c_ssize_t.from_address(id(None)).value += 10**9
RADIUS = 6
# Beside the checkout, where the development data is; absent elsewhere.
TRIAL = Path(__file__).parents[3] / "shared" / "sketches" / "nano_trial.safetensors"


def nano_name() -> str:
    """The embedded model, or the trial's weights until there is one."""
    from napari_sam2.model.weights.checkpoints import NANO_FILE

    if NANO_FILE.exists():
        return "nano"
    if TRIAL.exists():
        return str(TRIAL)
    pytest.skip("no trained network is at hand")


@pytest.fixture(scope="session")
def nano() -> str:
    """What to give to ``load_model`` for a small network that was trained."""
    return nano_name()


@dataclass
class Content:
    """State of a fake session, copied for undo."""

    prompts: dict[tuple[int, int], Prompt] = field(default_factory=dict)
    objects: dict[int, ObjectInfo] = field(default_factory=dict)
    masks: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def copy(self) -> Content:
        return Content(dict(self.prompts), dict(self.objects), dict(self.masks))


class FakeSession:
    """The verbs of a RecordedSession that requests use, for discs; ``gate`` holds the thread before a tracked frame."""

    pending = None
    runs_on = ("cpu", "float32", 512)
    frame_by_frame = finds_instances = False

    def __init__(self, spec: SessionSpec) -> None:
        self.spec = spec
        self.n_frames, self.size = len(spec.frames), spec.frames.size
        self.content = Content()
        self.undone: list[tuple[UndoStep, Content]] = []
        self.done: list[tuple[UndoStep, Content]] = []
        self.numbers = itertools.count(1)
        self.group = 0
        self.stepping = False
        self.written = 0
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[str] = set()
        self.gate = threading.Semaphore(10**6)
        self.fail_on: Callable[[str], bool] = lambda call: False
        self.encoded: list[int] = []
        self.closed = False

    @property
    def prompts(self):
        return self.content.prompts

    @property
    def objects(self):
        ids = {i for _, i in self.content.prompts} | set(self.content.objects)
        return {i: self.content.objects.get(i, ObjectInfo(i)) for i in sorted(ids)}

    @property
    def history(self) -> SimpleNamespace:
        steps = tuple((s.number, s.label) for s, _ in (*self.done, *reversed(self.undone)))
        return SimpleNamespace(steps=steps, applied=len(self.done))

    @contextmanager
    def step(self, label: str, joins: bool = False, group: int = 0) -> Iterator[None]:
        before, done, undone = self.content.copy(), list(self.done), list(self.undone)
        if not (self.done and (joins or self.group == group != 0)):
            self._push(label)
        self.stepping = True
        try:
            yield
        except BaseException:
            self.content, self.done, self.undone = before, done, undone
            raise
        finally:
            self.stepping = False
        self.group = group

    def _push(self, label: str) -> None:
        self.done.append((UndoStep(next(self.numbers), label), self.content.copy()))
        self.undone.clear()
        self.group = 0

    def _do(self, label: str, *call: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.calls.append((label, *call))
        if self.fail_on(label):
            raise RuntimeError(f"{label} broke")
        assert self.stepping or label == "propagate", "every change is a step of undo"

    def write_deferred(self) -> None:
        self.written += 1

    def set_prompt(self, frame: int, object_id: int, prompt: Prompt) -> FrameMasks:
        self._do("prompt", frame, object_id, prompt)
        prompt.check(self.size)
        self.content.prompts[frame, object_id] = prompt
        self.content.objects.setdefault(object_id, ObjectInfo(object_id))
        self.content.masks[frame, object_id] = self.disc(frame, frame, prompt)
        return self.masks(frame)

    def clear_prompt(self, frame: int, object_id: int) -> None:
        self._do("clear", frame, object_id)
        del self.content.prompts[frame, object_id]
        self.content.masks.pop((frame, object_id), None)

    def put_object(self, info: ObjectInfo) -> None:
        self._do("object", info)
        self.content.objects[info.object_id] = info

    def remove_object(self, object_id: int) -> None:
        self._do("remove", object_id)
        self.content.prompts = {k: p for k, p in self.content.prompts.items() if k[1] != object_id}
        self.content.masks = {k: m for k, m in self.content.masks.items() if k[1] != object_id}
        self.content.objects.pop(object_id, None)

    def propagate(self, start, stop, reverse, objects, label, joins, group) -> Iterator[FrameMasks]:
        self._do("propagate", start, stop, reverse, tuple(objects))
        if self.done and (joins or self.group == group != 0):
            self.done[-1] = (UndoStep(self.done[-1][0].number, label), self.done[-1][1])
        else:
            self._push(label)
        for frame in range(start, stop - 1, -1) if reverse else range(start, stop + 1):
            self.gate.acquire()
            if self.fail_on(f"frame {frame}"):
                raise RuntimeError(f"frame {frame} broke")
            for object_id in objects:
                own = [f for f, i in self.content.prompts if i == object_id]
                if (reverse and frame > max(own)) or (not reverse and frame < min(own)):
                    continue
                nearest = min(own, key=lambda f: abs(f - frame))
                self.content.masks[frame, object_id] = self.disc(
                    frame, nearest, self.content.prompts[nearest, object_id]
                )
            self.calls.append(("step", frame))
            yield self.masks(frame)

    def disc(self, frame: int, origin: int, prompt: Prompt) -> np.ndarray:
        if prompt.mask is not None and frame == origin:
            return prompt.mask.array()
        if prompt.mask is not None:
            return np.roll(prompt.mask.array(), frame - origin, axis=1)
        good = [(p.x, p.y) for p in prompt.points if p.positive]
        if prompt.box is not None:
            b = prompt.box
            good.append(((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2))
        if not good:
            return np.zeros(self.size, bool)
        x, y = np.mean(good, axis=0)
        rows, columns = np.mgrid[: self.size[0], : self.size[1]]
        return (columns - x - (frame - origin)) ** 2 + (rows - y) ** 2 <= RADIUS**2

    def masks(self, frame: int) -> FrameMasks:
        ids = tuple(sorted(i for f, i in self.content.masks if f == frame))
        stack = [self.content.masks[frame, i] for i in ids]
        there = np.array([m.any() for m in stack], bool)
        return FrameMasks(
            frame,
            ids,
            np.stack(stack) if stack else np.zeros((0, *self.size), bool),
            np.where(there, 5, -5).astype(np.float32),
            np.full(len(ids), 0.9, np.float32),
            np.array([(frame, i) in self.content.prompts for i in ids], bool),
        )

    def labels(self, frame: int) -> np.ndarray:
        return compose_labels(self.masks(frame))

    def tracked_frames(self):
        return sorted({f for f, _ in self.content.masks})

    def alternatives(self, frame: int, object_id: int) -> Alternatives:
        disc = self.content.masks[frame, object_id]
        other = np.zeros_like(disc)
        other[:4, :4] = True
        return Alternatives(np.stack([disc, other, ~disc]), np.array([0.9, 0.5, 0.2], np.float32), 0)

    def encode(self, frame: int) -> None:
        self.encoded.append(frame)

    def undo(self) -> str:
        if not self.done:
            raise ValueError("there is nothing to undo")
        step, before = self.done.pop()
        self.undone.append((step, self.content))
        self.content = before
        self.group = 0
        return step.label

    def redo(self) -> str:
        if not self.undone:
            raise ValueError("there is nothing to redo")
        step, after = self.undone.pop()
        self.done.append((step, self.content.copy()))
        self.content = after
        return step.label

    def results(self) -> TrackingResults:
        return TrackingResults(self.size, self.n_frames, self.masks, tuple(self.objects.values()))

    def close(self) -> None:
        self.closed = True


class FakeOpener:
    """Opens fake sessions, and keeps them for the test to look at."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.specs: list[SessionSpec] = []
        self.error: Exception | None = None
        self.saved: Content | None = None

    @property
    def session(self) -> FakeSession:
        return self.sessions[-1]

    def __call__(self, spec: SessionSpec, progress: Callable[[int, int], None]) -> OpenedSession:
        self.specs.append(spec)
        progress(1, 2)
        if self.error is not None:
            raise self.error
        session = FakeSession(spec)
        project = ProjectState(resumed=self.saved is not None)
        if self.saved is not None:
            session.content = self.saved.copy()
        self.sessions.append(session)
        return OpenedSession(session, project, session.labels, session.results, session.close)


@pytest.fixture
def fake() -> FakeOpener:
    """An opener of fake sessions."""
    return FakeOpener()


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    """Preferences that save nowhere but in the test's folder, and encode nothing ahead."""
    return Preferences(autosave_folder=tmp_path / "autosave", encode_ahead=0)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Fail a test that leaves a session's thread behind."""
    before = {t.ident for t in threading.enumerate()}
    yield
    left = [t for t in threading.enumerate() if t.name.startswith("napari-sam2") and t.ident not in before]
    for thread in left:
        thread.join(5)
    assert not [t for t in left if t.is_alive()], "a session's thread was left running: close the controller"
