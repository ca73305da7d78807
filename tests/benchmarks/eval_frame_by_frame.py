"""Masks of an expert on key frames, followed with memory (hybrid) and without (frame by frame), on real sequences.

    python -m tests.benchmarks.eval_frame_by_frame FOLDER --frames 10 --objects 6

FOLDER holds sequences: NAME/frames/*.png or *.jpg with NAME/masks.tif, labels (T, H, W). The expert is an oracle: the
true mask, moved and grown by up to two pixels. ``nano`` stands in for the per-frame network, with its memory
switched off. Prints the mean overlap J with the truth on the frames that are no key frames.
"""

import argparse
import copy
import json
import zlib
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from scipy import ndimage

from napari_sam2.metrics import region_similarity
from napari_sam2.model.sam1 import frame_by_frame
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import PromptTensors
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.prompts import MaskPrompt, Prompt
from napari_sam2.session import ArrayFrames, LastFramePolicy, Recall, VideoSession

LEAST = 30  # pixels of an object that counts


class PerFrame(Sam2):
    """SAM 2 without its memory, following objects as Segment Anything 1 does here, or by a variant of it."""

    kind, motion = "mask and box", False

    def condition_on_memory(self, features, readout):
        embedding = super().condition_on_memory(features, None)
        return (
            embedding
            if readout is None
            else frame_by_frame.conditioned(embedding, readout.spatial.flatten(1, 2))
        )

    def encode_memory(self, features, logits, object_score, binarize):
        return frame_by_frame.as_memory(logits)

    def decode_masks(self, embedding, features, prompts, multimask):
        embedding, last = frame_by_frame.separated(embedding, self.config.embed_dim)
        if last is None or prompts.points is not None or prompts.mask_logits is not None:
            return super().decode_masks(embedding, features, prompts, multimask)
        newest = moved(last) if self.motion else last[:, -1:]
        prompts = frame_by_frame.next_prompts(newest)
        if self.kind == "box":
            prompts = PromptTensors(prompts.points, prompts.labels)
        elif self.kind == "mask":
            prompts = PromptTensors(prompts.points[:, :0], prompts.labels[:, :0], newest)
        embedding = embedding.expand(prompts.batch, -1, -1, -1)
        found = super().decode_masks(embedding, features.expand(prompts.batch), prompts, False)
        return frame_by_frame.scored(found, newest)


class LastTwoFrames(LastFramePolicy):
    """The last frame and the one before it, or the last one twice."""

    def recall(self, frame, reverse, conditioning, usable, length):
        last = super().recall(frame, reverse, conditioning, usable, length)
        if not last:
            return last
        (_, newest), *_ = last.spatial
        before = super().recall(newest, reverse, [f for f in conditioning if f < newest], usable, length)
        return Recall((before.spatial or last.spatial)[:1] + last.spatial[:1], (), 1)


def moved(logits):
    """The newer of two masks (B, 2, h, w), moved on by as much as its middle has moved."""
    out = logits[:, 1:].clone()
    for row, (before, now) in enumerate((logits > 0).numpy()):
        if before.any() and now.any():
            shift = (
                np.subtract(ndimage.center_of_mass(now), ndimage.center_of_mass(before)).round().astype(int)
            )
            out[row, 0] = torch.from_numpy(ndimage.shift(logits[row, 1].numpy(), shift, order=0, cval=-10.0))
    return out


def expert(mask, rng):
    """A mask as an expert that is a little wrong gives it."""
    steps = int(rng.integers(-2, 3))
    change = ndimage.binary_dilation if steps > 0 else ndimage.binary_erosion
    noisy = change(mask, iterations=abs(steps)) if steps else mask
    noisy = np.roll(noisy, rng.integers(-1, 2, 2), (0, 1))
    return noisy if noisy.any() else mask


def followed(model, frames, truth, keys, policy=None):
    """Mean J of objects from the expert's masks on key frames."""
    video = VideoSession(model, ArrayFrames(frames), policy=policy)
    rng = np.random.default_rng(0)
    ids = [int(i) for i in np.unique(truth[0]) if i]
    for key in keys:
        for i in ids:
            if (truth[key] == i).sum() >= LEAST:
                video.set_prompt(key, i, Prompt(mask=MaskPrompt.from_array(expert(truth[key] == i, rng))))
    found = {masks.frame: masks for masks in video.propagate(0)}
    scores = overlaps(
        lambda t, i: found[t].of(i) if i in found[t].object_ids else np.zeros_like(truth[0], bool),
        truth,
        keys,
    )
    video.close()
    return scores


def overlaps(mask_of, truth, keys):
    """Mean J over objects and the frames between key frames on which they are."""
    ids = [int(i) for i in np.unique(truth[0]) if i]
    there = [
        (t, i) for t in range(len(truth)) if t not in keys for i in ids if (truth[t] == i).sum() >= LEAST
    ]
    return float(np.mean([region_similarity(mask_of(t, i), truth[t] == i) for t, i in there]))


def sequence(folder, count, objects):
    """Frames (T, H, W, 3) and labels of some of the largest objects on the first one."""
    paths = sorted((folder / "frames").iterdir())[:count]
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    truth = tifffile.imread(folder / "masks.tif")[: len(frames)]
    ids, areas = np.unique(truth[0][truth[0] > 0], return_counts=True)
    kept = ids[np.argsort(-areas)][:objects]
    return frames, np.where(np.isin(truth, kept), truth, 0)


def main():
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--objects", type=int, default=6)
    parser.add_argument("--sequences", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("nano", "cpu")
    encode, known = model.encode_image, {}

    def remembered(images):
        key = zlib.crc32(images.numpy().tobytes())
        if key not in known:
            known[key] = encode(images)
        return known[key]

    model.encode_image = remembered
    alone = copy.copy(model)
    alone.__class__ = PerFrame
    names = args.sequences or sorted(p.parent.name for p in args.folder.glob("*/masks.tif"))
    for name in names:
        frames, truth = sequence(args.folder / name, args.frames, args.objects)
        known.clear()
        half = [0, len(frames) // 2]
        row = {"sequence": name, "frames": len(frames), "objects": len(np.unique(truth)) - 1}
        row["first mask left"] = overlaps(lambda t, i, truth=truth: truth[0] == i, truth, [0])
        row["hybrid, one key frame"] = followed(model, frames, truth, [0])
        row["hybrid, two key frames"] = followed(model, frames, truth, half)
        for kind in ("mask and box", "box", "mask"):
            for motion in (False, True):
                alone.kind, alone.motion = kind, motion
                policy = LastTwoFrames() if motion else LastFramePolicy()
                title = f"frame by frame, {kind}{', moved on' if motion else ''}"
                row[title] = followed(alone, frames, truth, [0], policy)
        alone.kind, alone.motion = "mask and box", False
        row["frame by frame, two key frames"] = followed(alone, frames, truth, half, LastFramePolicy())
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
