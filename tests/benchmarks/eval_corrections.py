"""Where a correction pays off: two rounds of one click for each object, on frames that are chosen in different ways.

::

    python tests/benchmarks/eval_corrections.py FOLDER --objects 1,2,3,4,5,6 --model nano

``FOLDER`` holds ``frames/*`` and ``masks.tif``. Each object begins with a box around its true mask on the first frame
that shows it, and everything is tracked. Then, twice, every object gets a click in the middle of the largest error on
a frame, or an empty mask where it is not there, and is tracked again. Printed is the mean overlap J of the frames
without a prompt.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from napari_sam2 import BoxPrompt, MaskPrompt, PointPrompt, Prompt, VideoSession, load_model, open_source
from napari_sam2.review import ObjectFacts, facts_of, frame_uncertainty


def overlaps(session, truth, object_id):
    """Return J on each frame; 1 where both are empty."""
    found = [mask_of(session, frame, truth) for frame in range(len(truth))]
    pairs = [(masks(object_id), labels == object_id) for masks, labels in zip(found, truth)]
    return np.array([(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs])


def mask_of(session, frame, truth):
    masks = session.masks(frame)
    empty = np.zeros(truth[0].shape, bool)
    return lambda object_id: masks.of(object_id) if object_id in masks.object_ids else empty


def doubt(session, truth, object_id):
    """Return the uncertainty on each frame."""
    facts = ObjectFacts(len(truth))
    for frame in range(len(truth)):
        for fact in facts_of(session.masks(frame)):
            if fact.object_id == object_id:
                facts.put(fact)
        facts.prompted[frame] = (frame, object_id) in session.prompts
    return frame_uncertainty(facts)


def corrected(prompt, found, true):
    """Return the prompt with one more click in the middle of the largest error."""
    if not true.any():
        return Prompt(mask=MaskPrompt.from_array(true))
    depths = [
        ndimage.distance_transform_edt(np.pad(e, 1))[1:-1, 1:-1] for e in (true & ~found, found & ~true)
    ]
    missing = depths[0].max() >= depths[1].max()
    y, x = np.unravel_index(depths[0 if missing else 1].argmax(), true.shape)
    return Prompt((*prompt.points, PointPrompt(float(x), float(y), bool(missing))), prompt.box)


def first_bad(session, truth, object_id):
    j = overlaps(session, truth, object_id)
    return int(np.argmax(j < 0.6)) if (j < 0.6).any() else int(j.argmin())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int)
    args = parser.parse_args()
    ids = [int(word) for word in args.objects.split(",")]
    truth = tifffile.imread(args.folder / "masks.tif")[: args.frames]
    model, frames = load_model(args.model), open_source(args.folder / "frames").frames()
    first = {i: int(np.argmax((truth == i).any((1, 2)))) for i in ids}
    places = {
        "none": None,
        "the first frame again": lambda session, object_id, turn: first[object_id],
        "the middle, then the end": lambda session, object_id, turn: (len(truth) // 2, len(truth) - 1)[turn],
        "the most doubtful": lambda session, object_id, turn: int(doubt(session, truth, object_id).argmax()),
        "the first that is wrong (J < 0.6)": lambda session, object_id, turn: first_bad(
            session, truth, object_id
        ),
    }
    for name, place in places.items():
        session = VideoSession(model, frames)
        track = partial(session.propagate, stop=len(truth) - 1)
        for i in ids:
            rows, columns = np.nonzero(truth[first[i]] == i)
            box = BoxPrompt(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            session.set_prompt(first[i], i, Prompt(box=box))
        for turn in range(3):
            for i in ids if turn and place else ():
                frame = place(session, i, turn - 1)
                before = session.prompts.get((frame, i), Prompt())
                click = corrected(before, mask_of(session, frame, truth)(i), truth[frame] == i)
                session.set_prompt(frame, i, click)
            list(track())
        j = [
            v for i in ids for t, v in enumerate(overlaps(session, truth, i)) if (t, i) not in session.prompts
        ]
        print(f"| {name} | {np.mean(j):.3f} |", flush=True)


if __name__ == "__main__":
    main()
