"""RAM does not grow with the frames tracked; what was evicted is rebuilt when a prompt lands near it."""

import gc
import tracemalloc

import numpy as np
import torch

from napari_sam2.session import ArrayFrames, RecencyPolicy, SessionOptions, VideoSession
from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.memory_bank import MemoryBank
from tests.session.conftest import HEIGHT, WIDTH, click, moving_discs, painted

LENGTH = 541


class Loop:
    """A long video from a few frames, so that the video itself takes no memory."""

    def __init__(self, length, period=20):
        self._frames = ArrayFrames(moving_discs(period))
        self._length, self._period = length, period
        self.size = self._frames.size

    def __len__(self):
        return self._length

    def frame(self, index):
        return self._frames.frame(index % self._period)


def tensor_bytes():
    gc.collect()
    seen = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def test_neither_tensors_nor_python_objects_grow(model):
    session = VideoSession(model, Loop(240), SessionOptions(feature_cache_mb=0))
    for object_id in (1, 2, 3):
        session.set_prompt(0, object_id, click(15 * object_id, 20))
    measured = {}
    tracemalloc.start()
    for masks in session.propagate():
        if masks.frame in (60, 230):
            gc.collect()
            measured[masks.frame] = (tensor_bytes(), tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert measured[230][0] == measured[60][0]
    # Caches of the interpreter still warm up; one record kept for each object and frame would be 500 kB.
    assert measured[230][1] - measured[60][1] < 120_000
    for object_id in (1, 2, 3):
        assert len(session.store.frames(object_id)) == 240


def test_the_bank_keeps_a_window(model):
    session = VideoSession(model, Loop(60))
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(30, 1, click(15, 12))
    for _ in session.propagate():
        bank = session._objects[1].bank
        recent = [f for f in bank.frames if not bank.is_conditioning(f)]
        assert len(recent) <= 16
        assert sum(bank.get(f).spatial is not None for f in recent) <= 9
    assert {0, 30} <= set(bank.frames)


class KeepEverything(MemoryBank):
    """What a session without eviction would do."""

    def evict(self, frame, reverse=False):
        return []


def test_a_correction_after_500_frames_equals_a_session_that_kept_everything(model, monkeypatch):
    forward, backward = [], []
    for keep in (False, True):
        with monkeypatch.context() as patch:
            if keep:
                patch.setattr("napari_sam2.session.object_table.MemoryBank", KeepEverything)
                patch.setattr(RecencyPolicy, "spatial_reach", property(lambda self: 10**6))
            session = VideoSession(model, Loop(LENGTH))
            session.set_prompt(0, 1, click(15, 12))
            for _ in session.propagate():
                pass
            assert len(session._objects[1].bank.frames) == (LENGTH if keep else 17)
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[8:20, 10:30] = True
            session.set_prompt(40, 1, painted(mask))
            forward.append(list(session.propagate(start=40, stop=60)))
            backward.append(list(session.propagate(start=40, stop=20, reverse=True)))
    for ours, theirs in [*zip(*forward), *zip(*backward)]:
        union = (ours.of(1) | theirs.of(1)).sum()
        assert union == 0 or (ours.of(1) & theirs.of(1)).sum() / union >= 0.999
        assert np.allclose(ours.predicted_ious, theirs.predicted_ious, atol=1e-3)
    # The masks differ from frame to frame, so the comparison is not one of constants.
    assert len({m.of(1).tobytes() for m in forward[0]}) > 5


def test_a_click_far_back_rebuilds_the_memories_around_it(model, monkeypatch):
    session = VideoSession(model, Loop(120))
    session.set_prompt(0, 1, click(15, 12))
    for _ in session.propagate():
        pass
    recalled = session._objects[1].recall(50, False, own=False)
    assert [f for _, f in recalled.spatial] == [0, 44, 45, 46, 47, 48, 49]
    made = []
    encode = FrameWriter.encode
    monkeypatch.setattr(FrameWriter, "encode", lambda self, f, o: made.append(f) or encode(self, f, o))
    session.set_prompt(50, 1, click(18, 12))
    assert made == [44, 45, 46, 47, 48, 49]


def test_a_rebuilt_memory_is_the_same_to_the_last_bit(model):
    session = VideoSession(model, Loop(40))
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(0, 2, click(45, 30))
    for _ in session.propagate():
        pass
    tracked = session._objects[1]
    fresh = {f: tracked.bank.get(f).spatial.clone() for f in (0, 35, 39)}
    for frame, spatial in fresh.items():
        tracked.bank.forget(frame)
        if frame == 0:
            tracked.bank.mark(0, True)
        assert torch.equal(tracked._spatial(frame), spatial)
