"""Seconds per frame for 1, 3 and 10 objects, and memory against frames tracked.

Run it from the repository:

    python -m tests.benchmarks.bench_session --model nano --objects 1 3 10 --frames 20
    python -m tests.benchmarks.bench_session --rss --frames 1000

Every line of output is one JSON object, so that the same run of the reference can be put beside it.
"""

import argparse
import json
import os
import time

import numpy as np
import psutil
import torch

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.session import SessionOptions, VideoSession


class Drifting:
    """Discs that drift over noise, drawn when a frame is read."""

    def __init__(self, length, height=480, width=640):
        self._length, self.size = length, (height, width)
        self._noise = np.random.default_rng(0).integers(0, 60, (height, width, 3), dtype=np.uint8)

    def __len__(self):
        return self._length

    def frame(self, index):
        height, width = self.size
        y, x = np.ogrid[:height, :width]
        picture = self._noise.copy()
        for k in range(10):
            cx, cy = self.centre(k, index)
            picture[(x - cx) ** 2 + (y - cy) ** 2 < 900] = (200 - 15 * k, 90 + 12 * k, 60 + 15 * k)
        return picture

    def centre(self, k, index):
        height, width = self.size
        return (
            width * (0.1 + 0.16 * (k % 5)) + 20 * np.sin(index / 10 + k),
            height * (0.3 + 0.4 * (k // 5)) + 12 * np.cos(index / 8 + k),
        )


def network(name, device, seed=0):
    """A network by name; with random weights where none are installed (time and memory do not depend on them)."""
    from napari_sam2.model.weights.checkpoints import load_model

    if name == "nano" or os.path.isfile(name):
        try:
            return load_model(name, device)
        except ValueError as error:
            print(json.dumps({"note": f"random weights: {error}"}))
    torch.manual_seed(seed)
    return Sam2(ModelConfig.preset(name)).eval().requires_grad_(False).to(device)


def speed(model, count, frames, options):
    """Median seconds per frame once all memories are filled, and seconds for a click on a cached frame."""
    source = Drifting(frames)
    session = VideoSession(model, source, options)
    for k in range(count):
        x, y = source.centre(k, 0)
        session.set_prompt(0, k + 1, Prompt((PointPrompt(float(x), float(y)),)))
    started = time.perf_counter()
    x, y = source.centre(0, 0)
    session.set_prompt(0, 1, Prompt((PointPrompt(float(x) + 3, float(y)),)))
    click = time.perf_counter() - started
    times = []
    started = time.perf_counter()
    for _ in session.propagate():
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    session.close()
    steady = times[min(8, len(times) // 2) :]
    return {
        "objects": count,
        "seconds_per_frame": round(float(np.median(steady)), 4),
        "click": round(click, 4),
    }


def memory(model, frames, options):
    """Resident memory every tenth of a long run."""
    source = Drifting(frames)
    session = VideoSession(model, source, options)
    for k in range(3):
        x, y = source.centre(k, 0)
        session.set_prompt(0, k + 1, Prompt((PointPrompt(float(x), float(y)),)))
    process, every = psutil.Process(), max(1, frames // 10)
    for masks in session.propagate():
        if masks.frame % every == 0 or masks.frame == frames - 1:
            yield {"frame": masks.frame, "rss_mb": round(process.memory_info().rss / 2**20, 1)}
    session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large or a weight file"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="exact", choices=["auto", "exact", "fast"])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--cache-mb", type=int, default=64)
    parser.add_argument("--rss", action="store_true", help="memory against frames instead of speed")
    args = parser.parse_args()
    model = network(args.model, args.device)
    options = SessionOptions(precision=args.precision, feature_cache_mb=args.cache_mb)
    common = {
        "tool": "napari-sam2",
        "model": args.model,
        "image_size": model.config.image_size,
        "device": args.device,
        "precision": args.precision,
        "threads": torch.get_num_threads(),
    }
    rows = (
        memory(model, args.frames, options)
        if args.rss
        else (speed(model, count, args.frames, options) for count in args.objects)
    )
    for row in rows:
        print(json.dumps(common | row), flush=True)


if __name__ == "__main__":
    main()
