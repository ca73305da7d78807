"""Recall and false stops of the review queue: tracked synthetic and real videos with the truth, cached on disk.

``python tests/benchmarks/bench_review.py CACHE track [--videos 40] [--first 0] [--data FOLDER]`` follows objects from
one prompt each with nano (minutes) and keeps the masks; ``… CACHE score`` measures what the queue points at (seconds).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import Prompt
from napari_sam2.review import ObjectFacts, facts_of, frame_states, frame_uncertainty, state_items
from napari_sam2.review.states import flags_of, stretches_of
from napari_sam2.session import ArrayFrames, SessionOptions, VideoSession
from napari_sam2.training.benchmarks.data import read_sequences, synthetic_videos
from napari_sam2.training.benchmarks.suites import middle_click, some_ids, tight_box

OBJECTS, FRAMES, SIDE = 5, 24, 256


def videos(args):
    """Yield (name, frames, labels)."""
    for eventful in (False, True):
        for index in range(args.first, args.first + args.videos // 2):
            for frames, labels in synthetic_videos(1, FRAMES, SIDE, eventful, index):
                yield f"synthetic-{index:04d}-{'eventful' if eventful else 'plain'}", frames, labels
    if args.data is not None:
        for sequence in read_sequences(args.data):
            yield f"real-{sequence.name}", sequence.frames[: 2 * FRAMES], sequence.labels[: 2 * FRAMES]


def track(args):
    """Follow up to five objects of each video from one click or one box on the first frame; keep what was found."""
    from napari_sam2 import load_model

    model = load_model("nano")
    args.cache.mkdir(parents=True, exist_ok=True)
    for name, frames, labels in videos(args):
        path = args.cache / f"{name}.npz"
        ids = some_ids(labels[0], OBJECTS)
        if path.exists() or not ids:
            continue
        session = VideoSession(model, ArrayFrames(frames), SessionOptions())
        for place, object_id in enumerate(ids):
            mask = labels[0] == object_id
            prompt = Prompt(points=(middle_click(mask),)) if place % 2 else Prompt(box=tight_box(mask))
            session.set_prompt(0, object_id, prompt)
        masks = np.zeros((len(ids), len(frames), *labels.shape[1:]), bool)
        numbers = np.full((len(ids), len(frames), 3), np.nan, np.float32)
        for found in session.propagate():
            for place, object_id in enumerate(ids):
                record = session.store.get(object_id, found.frame)
                masks[place, found.frame] = found.of(object_id)
                inside = np.count_nonzero(record.logits > 1) / max(np.count_nonzero(record.logits > -1), 1)
                numbers[place, found.frame] = record.object_score, record.predicted_iou, inside
        session.close()
        packed = np.packbits(masks, axis=-1)
        np.savez_compressed(
            path, masks=packed, width=masks.shape[-1], numbers=numbers, ids=ids, labels=labels
        )
        print(name, len(ids), flush=True)


BAD_IOU, NEAR = 0.5, 3  # a mask is wrong below this IoU; a stop counts so many frames around
LEAST = 0.2  # frames on which so little of an object is seen (of its median area) are not judged


def wrong_frames(masks, truth):
    """Return bool (T,): the mask is wrong; frames on which next to nothing of the object is to be seen are not."""
    areas, ours = truth.sum((1, 2)), masks.sum((1, 2))
    union = (masks | truth).sum((1, 2))
    ious = (masks & truth).sum((1, 2)) / np.maximum(union, 1)
    usual = np.median(areas[areas > 0])
    seen = areas >= LEAST * usual
    ghost = (areas == 0) & (ours >= LEAST * usual)
    return (seen & (ious < BAD_IOU)) | ghost


def items_of(video):
    """Return the review items of a cached video by object, as the queue of a project has them."""
    count, width = video["numbers"].shape[1], int(video["width"])
    masks = np.unpackbits(video["masks"], axis=-1)[..., :width].astype(bool)
    facts = {int(i): ObjectFacts(count) for i in video["ids"]}
    prompted = np.zeros(len(facts), bool)
    for t in range(count):
        scores = video["numbers"][:, t, :2].T
        for fact in facts_of(FrameMasks(t, tuple(facts), masks[:, t], *scores, prompted)):
            facts[fact.object_id].put(fact)
    for known in facts.values():
        known.prompted[0] = True
    return masks, open_items(facts)


def open_items(facts):
    items = {}
    for object_id, known in facts.items():
        uncertainty = frame_uncertainty(known)
        states = frame_states(
            known.known, known.seen, known.prompted, np.zeros(len(uncertainty), bool), uncertainty
        )
        items[object_id] = state_items(object_id, states, uncertainty)
    return items


def score(args):
    """Print, for synthetic and for real videos, how many wrong stretches are pointed at, and the stops."""
    totals = {}
    for path in sorted(args.cache.glob("*.npz")):
        video = np.load(path)
        masks, items = items_of(video)
        total = totals.setdefault(path.name.partition("-")[0], np.zeros(5, int))
        total[0] += 1
        for place, object_id in enumerate(int(i) for i in video["ids"]):
            wrong = wrong_frames(masks[place], video["labels"] == object_id)
            if wrong[0]:
                continue  # the prompt was answered wrongly: the user sees that
            stops = np.array([item.frame for item in items[object_id]], int)
            gaps = [(a, b) for a, b in stretches_of(~wrong) if a > 0 and b < len(wrong) - 1 and b - a < NEAR]
            stretches = stretches_of(wrong | flags_of(tuple(gaps), len(wrong)))
            total[1] += len(stretches)
            total[2] += sum(bool((np.abs(stops - first) <= NEAR).any()) for first, _ in stretches)
            total[3] += len(stops)
            total[4] += sum(not wrong[max(stop - NEAR, 0) : stop + NEAR + 1].any() for stop in stops)
    print("| videos | number | wrong stretches | pointed at | stops | false stops | false for each true |")
    print("|---|---|---|---|---|---|---|")
    for kind, (videos_, stretches, found, stops, false) in totals.items():
        share = f"{found} ({found / max(stretches, 1):.0%})"
        print(
            f"| {kind} | {videos_} | {stretches} | {share} | {stops} | {false} | {false / max(stops - false, 1):.2f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("action", choices=("track", "score"))
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    track(args) if args.action == "track" else score(args)


if __name__ == "__main__":
    main()
