"""Make the pictures of docs/synthetic.md: python docs/make_synthetic_pictures.py [--speed]."""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image, ImageDraw

from napari_sam2.synthetic import generate_clip, sample_scene, sample_timelapse, scene_kinds

HERE = Path(__file__).parent / "pictures"
TILE, CAPTION, COLUMNS = 144, 14, 5
# seeds whose draw shows what is typical of a kind
SEEDS = {
    "nuclei": 33,
    "phase cells": 32,
    "relief cells": 32,
    "epithelium": 28,
    "spread cells": 33,
    "granular cells": 32,
    "rods": 32,
    "filaments": 32,
    "tubes": 33,
    "organoids": 33,
    "tissue": 29,
    "sections": 29,
    "stack": 33,
    "animals": 24,
    "things": 21,
}


def outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Copy of an image (H, W, 3) with the labels' outlines drawn."""
    line = np.zeros(labels.shape, bool)
    line[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    line[1:] |= labels[1:] != labels[:-1]
    picture = image.copy()
    picture[line] = (255, 70, 0)
    return picture


def cell(kind: str, difficulty: float) -> Image.Image:
    """One kind of scene: its first frame, and its last one with the true outlines."""
    rng = np.random.default_rng(SEEDS[kind])
    clip = generate_clip(sample_scene(rng, (TILE, TILE), 8, difficulty, kind), SEEDS[kind])
    frames, labels = clip.frames.numpy(), clip.labels.numpy()
    picture = Image.new("RGB", (2 * TILE + 6, TILE + CAPTION + 4), "white")
    picture.paste(Image.fromarray(frames[0]), (0, CAPTION))
    picture.paste(Image.fromarray(outlined(frames[-1], labels[-1])), (TILE, CAPTION))
    ImageDraw.Draw(picture).text((2, 1), kind, fill="black")
    return picture


def contact_sheet() -> Image.Image:
    """All kinds of scenes."""
    cells = [cell(kind, 0.5) for kind in scene_kinds()]
    width, height = cells[0].size
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    for i, one in enumerate(cells):
        sheet.paste(one, ((i % COLUMNS) * width, (i // COLUMNS) * height))
    return sheet


def timelapse_strip() -> Image.Image:
    """Every fourth frame of the demo, above the same with true outlines."""
    sample = sample_timelapse()
    times = range(0, len(sample.image), 4)
    sheet = Image.new("RGB", (len(times) * 200, 400), "white")
    for column, t in enumerate(times):
        small = np.asarray(Image.fromarray(sample.image[t]).resize((198, 198)))
        labels = Image.fromarray(sample.labels[t].astype(np.uint8))
        truth = np.asarray(labels.resize((198, 198), Image.Resampling.NEAREST))
        rgb = np.repeat(small[..., None], 3, -1)
        for row, picture in enumerate((rgb, outlined(rgb, truth))):
            sheet.paste(Image.fromarray(picture), (column * 200, row * 200))
    return sheet


def print_speed() -> None:
    """CPU seconds per clip on one thread, over 60 drawn scenes of each size."""
    torch.set_num_threads(1)
    for size, frames in ((128, 8), (256, 4), (256, 8), (512, 6)):
        times = []
        for seed in range(60):
            start = process_time()
            scene = sample_scene(np.random.default_rng(seed), (size, size), frames)
            generate_clip(scene, seed)
            times.append(process_time() - start)
        print(f"{frames} x {size} x {size}: mean {np.mean(times):.3f} s, median {np.median(times):.3f} s")


def main() -> None:
    """Write both pictures with few colours, which keeps them small; with --speed, print timings instead."""
    if "--speed" in sys.argv[1:]:
        print_speed()
        return
    HERE.mkdir(exist_ok=True)
    for name, picture in (("synthetic_kinds", contact_sheet()), ("synthetic_timelapse", timelapse_strip())):
        path = HERE / f"{name}.png"
        picture.quantize(72, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path.name, picture.size, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
