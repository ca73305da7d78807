"""Automatic masks: time and memory, beside the reference where its package can be imported.

Run from the repository root::

    python tests/benchmarks/bench_automatic.py                   # ours, and the reference's if `import sam2` works
    python tests/benchmarks/bench_automatic.py --points 8        # 64 instead of 1,024 points
    python tests/benchmarks/bench_automatic.py --only fast live
    python tests/benchmarks/bench_automatic.py --threads 1       # seconds of computing mean most with one thread

Every measurement runs in a process of its own. All use the same weights (the recipe of tests/golden), the tiny
configuration and one 1280 × 720 frame; thresholds of 0 keep every candidate. "realistic" replaces the network's logits
by smooth blobs after they were computed: trained networks give such masks, random ones give noise.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import threading
import time
import types
import zlib
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
SIZE = (720, 1280)
OPEN = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
MEGABYTE = 2**20
SEEDS = itertools.count()


def frame():
    """A frame with something on it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (18, 32, 3)).astype(np.uint8)
    return np.kron(small, np.ones((40, 40, 1), np.uint8))


def blobs(shape, seed):
    """Logits of smooth blobs (N, h, w)."""
    count, side = shape[0], shape[-1]
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, side, (2, count, 1, 1))
    r = rng.uniform(5, 60, (count, 1, 1))
    grid = np.arange(side) + 0.5
    out = 20 - 20 * np.hypot(grid - x, grid[:, None] - y) / r
    return torch.from_numpy(out.astype(np.float32)).clamp(-32, 32).reshape(shape)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / MEGABYTE


class Peak:
    """The largest resident memory while something runs, sampled every 5 ms."""

    def __enter__(self):
        self.before = self.most = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.005):
            self.most = max(self.most, resident())

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()


def timed(work):
    """Run once; returns (result, seconds of the wall clock, seconds of computing, peak MiB above the start)."""
    with Peak() as peak:
        wall, computing = time.perf_counter(), time.process_time()
        result = work()
        wall, computing = time.perf_counter() - wall, time.process_time() - computing
    return result, wall, computing, peak.most - peak.before


def _row(wall, computing, peak, areas, candidates):
    """What is printed; equal areas in the same order are as good as equal masks here."""
    return {
        "seconds": wall,
        "cpu_seconds": computing,
        "peak_mb": peak,
        "candidates": candidates,
        "masks": len(areas),
        "areas": f"{sum(areas)} pixels, digest {zlib.crc32(json.dumps(areas).encode()):08x}",
        "load": Path("/proc/loadavg").read_text().split()[0],
    }


# -- ours --------------------------------------------------------------------------------------------------


def our_model():
    from napari_sam2.model.config import ModelConfig
    from tests.golden.recipe import recipe_model

    return recipe_model(ModelConfig.preset("tiny"))


def run_ours(mode, points, realistic):
    from napari_sam2.automatic import AutomaticOptions, InteractiveFilter, find_candidates
    from napari_sam2.automatic.sampling.grid_decoder import GridDecoder
    from napari_sam2.session.image import ImageSession

    model = our_model()
    if realistic:
        decode = GridDecoder.decode

        def smooth(*args):
            logits, ious = decode(*args)
            return torch.stack([blobs(planes.shape, next(SEEDS)) for planes in logits]), ious

        GridDecoder.decode = smooth
    session = ImageSession(model)
    image = frame()
    options = AutomaticOptions(points_per_side=points, mode=mode, **OPEN)

    def work():
        return InteractiveFilter(find_candidates(session, image, options)).result()

    result, wall, computing, peak = timed(work)
    return _row(wall, computing, peak, [mask.area for mask in result.masks], result.stages[0].left)


def run_live():
    """3,072 candidates of smooth masks: how long moving a slider takes."""
    from napari_sam2.automatic import AutomaticOptions, Candidates, InteractiveFilter
    from napari_sam2.automatic.candidates.candidate_masks import fast_masks
    from napari_sam2.automatic.sampling.crops import Crop

    options = AutomaticOptions(**OPEN)
    shapes = fast_masks(blobs((3072, 256, 256), 0), options)
    rng = np.random.default_rng(0)
    found = Candidates(
        SIZE,
        options,
        np.zeros((3072, 2), np.float32),
        rng.random(3072).astype(np.float32),
        np.zeros(3072, np.int64),
        (Crop(0, 0, SIZE[1], SIZE[0]),),
        shapes,
        3072,
    )
    live = InteractiveFilter(found)
    moves = {
        "predicted IoU 0.5": {"pred_iou_thresh": 0.5},
        "stability 0.8": {"stability_score_thresh": 0.8},
        "stability offset 2": {"stability_score_offset": 2.0, "stability_score_thresh": 0.5},
        "mask threshold 1": {"mask_threshold": 1.0},
        "box overlap 0.3": {"box_nms_thresh": 0.3},
        "nothing suppressed": {"box_nms_thresh": 1.0},
    }
    out = {}
    for name, move in moves.items():
        changed = options.changed(**move)
        times = []
        for _ in range(5):
            start = time.process_time()
            kept = len(live.select(changed))
            times.append(time.process_time() - start)
        out[name] = {"cpu_ms": 1000 * min(times), "kept": kept}
    return out


# -- the reference -----------------------------------------------------------------------------------------


def stand_in_for_torchvision():
    """The five functions of torchvision that the reference calls, so that torchvision need not be installed."""
    from napari_sam2.automatic.nms import suppress

    class Resize(torch.nn.Module):
        def __init__(self, size: tuple[int, int]):
            super().__init__()
            self.height, self.width = size

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            size = [self.height, self.width]
            return torch.nn.functional.interpolate(
                x[None], size=size, mode="bilinear", align_corners=False, antialias=True
            )[0]

    class Normalize(torch.nn.Module):
        def __init__(self, mean: list[float], std: list[float]):
            super().__init__()
            self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - self.mean) / self.std

    def to_tensor():
        return lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255

    def batched_nms(boxes, scores, labels, iou_threshold):
        return torch.from_numpy(suppress(boxes.numpy(), scores.float().numpy(), iou_threshold))

    def box_area(boxes):
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    modules = {
        name: types.ModuleType(name)
        for name in ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes")
    }
    transforms, boxes = modules["torchvision.transforms"], modules["torchvision.ops.boxes"]
    transforms.Resize, transforms.Normalize, transforms.ToTensor = Resize, Normalize, to_tensor
    boxes.batched_nms, boxes.box_area = batched_nms, box_area
    sys.modules.update(modules)


def run_reference(points, realistic):
    stand_in_for_torchvision()
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.build_sam import build_sam2

    from tests.golden.recipe import recipe_state

    model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    model.load_state_dict(recipe_state(our_model()), strict=True)
    if realistic:
        decode = model.sam_mask_decoder.forward

        def smooth(*args, **kwargs):
            masks, *rest = decode(*args, **kwargs)
            return torch.stack([blobs(planes.shape, next(SEEDS)) for planes in masks]), *rest

        model.sam_mask_decoder.forward = smooth
    generator = SAM2AutomaticMaskGenerator(
        model, points_per_side=points, output_mode="uncompressed_rle", **OPEN
    )
    image = frame()
    result, wall, computing, peak = timed(lambda: generator.generate(image))
    return _row(wall, computing, peak, [int(record["area"]) for record in result], 3 * points**2)


def reference_importable():
    done = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; assert u.find_spec('sam2')"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=32, help="points along each side of the grid")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    parser.add_argument("--only", nargs="*", choices=["fast", "exact", "reference", "live"])
    parser.add_argument("--realistic", action="store_true", help="smooth masks instead of noise")
    parser.add_argument("--here", choices=["fast", "exact", "reference", "live"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        torch.set_num_threads(args.threads)
        with torch.inference_mode():
            if args.here == "live":
                out = run_live()
            elif args.here == "reference":
                out = run_reference(args.points, args.realistic)
            else:
                out = run_ours(args.here, args.points, args.realistic)
        print(json.dumps(out))
        return
    wanted = args.only or ["live", "fast", "exact"] + (["reference"] if reference_importable() else [])
    for name in wanted:
        command = [sys.executable, __file__, "--here", name, "--points", str(args.points)]
        command += ["--threads", str(args.threads)]
        command += ["--realistic"] if args.realistic else []
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode:
            print(f"{name}: failed\n{done.stderr[-1500:]}")
            continue
        print(name, json.dumps(json.loads(done.stdout.splitlines()[-1]), indent=1), flush=True)


if __name__ == "__main__":
    main()
