"""How good automatic masks are: on images with known objects beside a classical baseline, and as a start for tracking.

::

    python tests/benchmarks/eval_automatic.py images FOLDER [FOLDER ...] --model nano
    python tests/benchmarks/eval_automatic.py images FOLDER --first 2
    python tests/benchmarks/eval_automatic.py track FOLDER --frames 20 --model nano
    python tests/benchmarks/eval_automatic.py track crowd --frames 12 --model nano

``FOLDER`` holds ``images/*.png`` and ``masks/*.tif`` (images), or ``frames/*`` and ``masks.tif`` (track). Options of
the masks are those of the preset; ``--set name=value`` changes some.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from napari_sam2.automatic import AutomaticOptions, generate_masks, track_everything
from napari_sam2.masks import compose_labels
from napari_sam2.metrics import evaluate_sequences, instance_score
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.session.array_frames import ArrayFrames
from napari_sam2.session.video import VideoSession
from napari_sam2.synthetic import crowd


def otsu_watershed(image, smallest=20):
    """The classical way: threshold, split at the peaks of the distance to the background."""
    grey = image.astype(float).mean(-1) if image.ndim == 3 else image.astype(float)
    smooth = ndimage.gaussian_filter(grey, 1)
    bright = smooth > threshold_otsu(smooth)
    # Objects are what covers less of the frame.
    mask = bright if bright.mean() < 0.5 else ~bright
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    seeds = np.zeros(mask.shape, int)
    for number, (y, x) in enumerate(
        peak_local_max(distance, min_distance=5, labels=mask.astype(int)), start=1
    ):
        seeds[y, x] = number
    labels = watershed(-distance, seeds, mask=mask)
    areas = np.bincount(labels.ravel())
    labels[(areas < smallest)[labels]] = 0
    return labels


def summary(scores):
    tp, fp, fn = (
        sum(getattr(s, n) for s in scores) for n in ("true_positives", "false_positives", "false_negatives")
    )
    matched = sum(s.matched_iou * s.true_positives for s in scores if s.true_positives)
    each = np.mean([s.average_precision for s in scores])
    pooled = tp / max(1, tp + fp + fn)
    return f"{each:.3f} ({pooled:.3f}; {tp} found, {fp} wrong, {fn} missed), {matched / max(1, tp):.3f}"


def evaluate_images(model, folders, options, first=None):
    begin = time.perf_counter()
    for folder in folders:
        ours, classical, seconds = [], [], []
        for path in sorted((folder / "images").glob("*.png"))[:first]:
            image = np.array(Image.open(path).convert("RGB"))
            truth = tifffile.imread(folder / "masks" / f"{path.stem}.tif")
            start = time.perf_counter()
            found = generate_masks(model, image, options)
            seconds.append(time.perf_counter() - start)
            ours.append(instance_score(found.labels().astype(int), truth.astype(int)))
            classical.append(instance_score(otsu_watershed(image), truth.astype(int)))
            print(
                f"{path.name}: AP@0.5 {ours[-1].average_precision:.3f}, Otsu + watershed "
                f"{classical[-1].average_precision:.3f} ({found.explanation})",
                flush=True,
            )
        print(
            f"{folder.name}: AP@0.5 per image (pooled), mean IoU of matched objects, over {len(ours)} images"
        )
        print(f"  automatic masks:  {summary(ours)}; {np.median(seconds):.1f} s an image")
        print(f"  Otsu + watershed: {summary(classical)}")
    print(f"{time.perf_counter() - begin:.0f} s in all")


def evaluate_tracking(model, source, count, options):
    if source == "crowd":
        sample = crowd(30, (256, 256), count)
        frames = np.asarray(sample.image)
        truth = np.asarray(sample.labels)
    else:
        paths = sorted((Path(source) / "frames").iterdir())[:count]
        frames = np.stack([np.array(Image.open(path).convert("RGB")) for path in paths])
        truth = tifffile.imread(Path(source) / "masks.tif")[:count]
    session = VideoSession(model, ArrayFrames(frames))
    start = time.perf_counter()
    predicted, first = [], None
    for masks in track_everything(session, options):
        first = first or time.perf_counter()
        predicted.append(compose_labels(masks, np.int32))
    end = time.perf_counter()
    objects = len(session.object_ids)
    session.close()
    if not predicted:
        print("nothing was found, so nothing was tracked")
        return
    labels = np.stack(predicted)
    start_score = instance_score(labels[0], truth[0].astype(int))
    score = evaluate_sequences(labels, truth.astype(int), matching="overlap")
    print(
        f"{source}: {objects} objects for {len(np.unique(truth[0])) - 1} true ones on frame 0 "
        f"(AP@0.5 {start_score.average_precision:.3f}, matched IoU {start_score.matched_iou:.3f})"
    )
    print(
        f"  J&F {score.j_and_f:.3f} (J {score.j:.3f}, F {score.f:.3f}), {score.identity_switches} identity switches "
        f"over {len(labels)} frames; {(len(labels) - 1) / (end - first):.2f} frames/s tracking "
        f"({first - start:.0f} s to the first frame)"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["images", "track"])
    parser.add_argument("source", nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--preset", default="cells")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--first", type=int, help="only so many images of each folder")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    changes = {
        name: float(value) if "." in value else int(value) for name, value in (s.split("=") for s in args.set)
    }
    options = AutomaticOptions.preset(args.preset, **changes)
    model = load_model(args.model)
    if args.what == "images":
        evaluate_images(model, [Path(source) for source in args.source], options, args.first)
    else:
        for source in args.source:
            evaluate_tracking(model, source, args.frames, options)


if __name__ == "__main__":
    main()
