"""How responsive the plugin is: scrubbing, click overhead, and the event loop while tracking.

Run it by hand, on a quiet machine: ``python tests/benchmarks/bench_gui.py [model]`` (needs a display or Xvfb).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
from napari.components import ViewerModel

from napari_sam2.storage.recorded import RecordedSession
from napari_sam2.synthetic.samples import sample_timelapse
from napari_sam2.widgets.opening import open_tracker
from napari_sam2.widgets.states import Preferences


def movie(frames, height=1080, width=1920):
    """A lazy RGB video: a large picture that is shifted."""
    sample = sample_timelapse().image
    tile = np.tile(sample[0], (height // 256 + 3, width // 256 + 2))[..., None].repeat(3, axis=2)

    def block(block_id):
        shift = block_id[0] % 200
        return tile[None, shift : shift + height, :width]

    chunks = ((1,) * frames, (height,), (width,), (3,))
    return da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0, 0), np.uint8))


def percentile(values, q):
    return float(np.percentile(np.array(values) * 1000, q))


def scrub(viewer):
    times = []
    for frame in range(300):
        start = time.perf_counter()
        viewer.dims.set_point(0, frame)
        times.append(time.perf_counter() - start)
    return times


def scrubbing(folder, model):
    """Steps per second over a 20,000-frame lazy video, with and without the tracker's layers; nothing is drawn."""
    viewer = ViewerModel()
    image = viewer.add_image(movie(20_000), rgb=True, name="long", cache=False)
    plain = scrub(viewer)
    tracker = open_tracker(viewer, image, model, device="cpu", preferences=quiet(folder))
    tracker.wait()
    mask = np.zeros((1080, 1920), np.uint16)
    mask[300:600, 500:900] = 3
    for frame in range(300):
        tracker.results.put(frame, mask)
    with_results = scrub(viewer)
    tracker.close()
    print(
        f"scrubbing: {1 / np.mean(plain):.0f} steps/s without, {1 / np.mean(with_results):.0f} with results "
        f"(p99 {percentile(plain, 99):.0f} and {percentile(with_results, 99):.0f} ms)"
    )


def quiet(folder):
    return Preferences(autosave_folder=folder, encode_ahead=0)


def clicking(folder, model):
    """Time of a click that is not the network's, at 1080p."""
    viewer = ViewerModel()
    image = viewer.add_image(movie(50), rgb=True, name="click")
    viewer.dims.set_point(0, 0)
    tracker = open_tracker(viewer, image, model, device="cpu", preferences=quiet(folder))
    tracker.wait()
    inside = []
    original = RecordedSession.set_prompt

    def timed(self, frame, object_id, prompt):
        session = self.session
        start = time.perf_counter()
        session.features.get(frame)
        answered = session.set_prompt
        spent = []

        def inner(*args):
            begin = time.perf_counter()
            found = answered(*args)
            spent.append(time.perf_counter() - begin)
            return found

        session.set_prompt = inner
        encoded = time.perf_counter() - start
        try:
            return original(self, frame, object_id, prompt)
        finally:
            del session.set_prompt
            inside.append(encoded + sum(spent))

    RecordedSession.set_prompt = timed
    overheads = []
    try:
        for i in range(12):
            start = time.perf_counter()
            tracker.prompts.add_point(400 + 20 * i, 300 + 10 * i)
            tracker.wait()
            overheads.append(time.perf_counter() - start - inside[-1])
    finally:
        RecordedSession.set_prompt = original
    tracker.close()
    print(
        f"click: all but the network {percentile(overheads, 50):.0f} ms median, {percentile(overheads, 95):.0f} ms p95"
    )


def tracking(folder, model):
    """How long the event loop is blocked while a 1080p video is tracked."""
    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.Viewer()
    image = viewer.add_image(movie(40), rgb=True, name="track")
    viewer.dims.set_point(0, 0)
    tracker = open_tracker(
        viewer, image, model, device="cpu", preferences=Preferences(autosave_folder=folder)
    )
    tracker.wait()
    for i in range(3):
        tracker.prompts.add_point(300 + 300 * i, 400, object_id=i + 1)
    tracker.wait()
    gaps, last = [], [time.perf_counter()]

    def tick():
        now = time.perf_counter()
        gaps.append(now - last[0] - 0.01)
        last[0] = now
        if tracker.propagation.phase == "idle":
            timer.stop()
            tracker.close()
            viewer.close()

    timer = QTimer()
    timer.timeout.connect(tick)
    tracker.propagate()
    timer.start(10)
    napari.run()
    print(
        f"event loop while tracking 3 objects at 1080p: blocked {percentile(gaps, 50):.0f} ms median, "
        f"{percentile(gaps, 99):.0f} ms p99, {max(gaps) * 1000:.0f} ms at most ({len(gaps)} turns)"
    )


def main():
    model = sys.argv[1] if len(sys.argv) > 1 else "nano"
    for benchmark in (scrubbing, clicking, tracking):
        with tempfile.TemporaryDirectory() as folder:
            benchmark(Path(folder), model)


if __name__ == "__main__":
    main()
