"""vit_b here and in Meta's package, with the same random weights: processor time of each part, and memory.

    pip install segment-anything torchvision
    python -m tests.benchmarks.bench_sam1 --rounds 3

The two take turns in one process; memory is measured in a process for each. Every line of output is one JSON object.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

BOXES = 8
SIDE = 8  # points of automatic masks on each side


def meta_network(name="vit_b"):
    """Meta's network with seeded weights; ends the program where the package is missing."""
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        sys.exit(
            f"skipped: Meta's package is needed to compare with ({error}): pip install segment-anything torchvision"
        )
    torch.manual_seed(0)
    model = sam_model_registry[name]()
    # Positions begin as zeros there, which no trained file has.
    for key, value in model.named_parameters():
        if "pos" in key:
            torch.nn.init.normal_(value, std=0.02)
    return model.requires_grad_(False).eval()


def our_network(state):
    """The same weights here."""
    from napari_sam2.model.weights.sam1_layouts import build_sam1, read_sam1

    return build_sam1(read_sam1(state), "vit_b").requires_grad_(False)


def picture(height=768, width=1024):
    """Blurred noise."""
    noise = np.random.default_rng(0).integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.kron(noise, np.ones((16, 16, 1), np.uint8))


def parts(module, model):
    """The parts of a package's work as functions, by name."""
    predictor = module.SamPredictor(model)
    everything = module.SamAutomaticMaskGenerator(
        model, points_per_side=SIDE, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    image = picture()
    boxes = torch.tensor([[100.0 + 90 * k, 200, 180 + 90 * k, 300] for k in range(BOXES)])
    return {
        "encode": lambda: predictor.set_image(image),
        "click": lambda: predictor.predict(np.array([[400, 300]]), np.array([1])),
        f"{BOXES} boxes": lambda: predictor.predict_torch(None, None, boxes, multimask_output=False),
        f"automatic, {SIDE**2} points": lambda: everything.generate(image),
    }


def compare(rounds):
    """Print the median processor time of each part, in turns."""
    import segment_anything

    import napari_sam2

    meta = meta_network()
    packages = {
        "meta": parts(segment_anything, meta),
        "here": parts(napari_sam2, our_network(meta.state_dict())),
    }
    for part in packages["meta"]:
        seconds = {name: [] for name in packages}
        for turn in range(rounds):
            for name in sorted(packages, reverse=bool(turn % 2)):
                start = time.process_time()
                packages[name][part]()
                seconds[name].append(time.process_time() - start)
        medians = {name: round(statistics.median(found), 3) for name, found in seconds.items()}
        print(
            json.dumps({"part": part, **medians, "ratio": round(medians["here"] / medians["meta"], 2)}),
            flush=True,
        )


def memory(name):
    """Print how much more memory this process took at its peak than with the weights alone."""
    meta = meta_network()
    if name == "meta":
        import segment_anything as module

        model = meta
    else:
        import napari_sam2 as module

        model = our_network(meta.state_dict())
        del meta
    before = psutil.Process().memory_info().rss
    work = parts(module, model)
    for part in ("encode", "click", f"{BOXES} boxes"):
        work[part]()
    print(json.dumps({"memory": name, "MB above the weights": round((peak() - before) / 1e6)}), flush=True)


def decoder_memory():
    """Print what micro-sam's decoder takes at its peak, on an embedding of 64 × 64 tokens."""
    from napari_sam2.model.sam1.instance_decoder import InstanceDecoder

    torch.manual_seed(0)
    decoder, embedding = InstanceDecoder().eval(), torch.randn(1, 256, 64, 64)
    before, start = psutil.Process().memory_info().rss, time.process_time()
    with torch.inference_mode():
        decoder(embedding)
    seconds = round(time.process_time() - start, 1)
    print(json.dumps({"decoder": seconds, "MB above": round((peak() - before) / 1e6)}), flush=True)


def peak():
    """Highest memory of this process so far, in bytes (Linux)."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main():
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=("meta", "here", "decoder"), help="only this, in this process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory == "decoder":
        decoder_memory()
    elif args.memory:
        memory(args.memory)
    else:
        meta_network()
        for name in ("meta", "here", "decoder"):
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.bench_sam1", "--memory", name], check=True
            )
        load = psutil.getloadavg()[0]
        print(json.dumps({"processor": platform.processor() or platform.machine(), "load": round(load, 1)}))
        compare(args.rounds)


if __name__ == "__main__":
    main()
