"""Make the animation of the README: two flies, tracked by nano from a box each on the first frame.

``python docs/make_animation.py VIDEO [PROJECT]``, where VIDEO is the clip of two flies among the test data of SLEAP
(see pictures/CREDITS.txt). Without a PROJECT it is tracked first, which takes minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_sam2 import Project, open_source

TARGET = Path(__file__).parent / "pictures" / "flies.gif"
BOXES = ("0:1:84,133,190,215", "0:2:197,145,290,240")
LAST, STEP, TOP, BOTTOM = 75, 2, 70, 310
COLORS = {1: (70, 190, 170), 2: (240, 150, 60)}
PER_SECOND = 8


def track(video: Path) -> Path:
    """Track the clip on the command line and return the project."""
    command = [sys.executable, "-m", "napari_sam2.cli", "track", str(video), "--range", f"0:{LAST}"]
    subprocess.run([*command, *(word for box in BOXES for word in ("--box", box))], check=True)
    return Path(f"{video.stem}.sam2")


def picture(frame: np.ndarray, masks: dict[int, np.ndarray], number: int) -> Image.Image:
    """Return a frame with outlined masks, and the boxes on the first one."""
    shown = np.clip(frame.astype(float) * 1.25, 0, 255)
    for object_id, mask in masks.items():
        rim = mask & ~ndimage.binary_erosion(mask, iterations=2)
        shown[mask] = 0.6 * shown[mask] + 0.4 * np.array(COLORS[object_id])
        shown[rim] = COLORS[object_id]
    image = Image.fromarray(shown.astype(np.uint8)[TOP:BOTTOM])
    draw = ImageDraw.Draw(image)
    if number == 0:
        for object_id, box in enumerate(BOXES, start=1):
            x0, y0, x1, y1 = map(int, box.split(":")[2].split(","))
            draw.rectangle((x0, y0 - TOP, x1, y1 - TOP), outline=COLORS[object_id])
    draw.rectangle(
        (0, image.height - 4, image.width * (number + 1) / LAST, image.height), fill=(120, 130, 140)
    )
    return image.resize((image.width * 5 // 4, image.height * 5 // 4), Image.Resampling.LANCZOS)


def main(video: Path, project: Path | None = None) -> None:
    """Write the animation."""
    pictures = []
    with Project.open(project or track(video)) as tracked, open_source(video) as source:
        frames = source.frames()
        for number in range(0, LAST, STEP):
            found = tracked.masks(number)
            masks = {i: found.of(i) for i in found.object_ids}
            pictures.append(picture(frames.frame(number), masks, number))
    palette = pictures[len(pictures) // 2].quantize(96)
    small = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    durations = [1500] + [1000 // PER_SECOND] * (len(small) - 1)
    small[0].save(TARGET, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
