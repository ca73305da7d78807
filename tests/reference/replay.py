"""Replay the golden scenarios through Meta's names and compare every recorded output."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from napari_sam2.reference import build_sam2_video_predictor
from napari_sam2.session.tensors import fill_holes
from tests.golden.recipe import SMALL, SMALL_20, recipe_model, recipe_state

HERE = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3] / "shared" / "golden"

# tag -> (overrides, precision of memories, "occluded" weights, SAM 2.0)
TAGS = {
    "nano256": ([], "bfloat16", False, False),
    "nano256_mem32": ([], "float32", False, False),
    "nano256_corrcond": (["++model.add_all_frames_to_correct_as_cond=true"], "bfloat16", False, False),
    "nano256_maxcond2": (["++model.max_cond_frames_in_attn=2"], "bfloat16", False, False),
    "nano256_nonoverlap": (["++model.non_overlap_masks=true"], "bfloat16", False, False),
    "nano256_fillholes": (["++model.fill_hole_area=8"], "bfloat16", False, False),
    "nano256_occ": ([], "bfloat16", True, False),
    "nano256_occ_mem32": ([], "float32", True, False),
    "nano256_v20": ([], "bfloat16", False, True),
}


def split_name(name):
    """Return (tag, scenario) of a golden file's stem."""
    tag = max((t for t in TAGS if name.startswith(t + "_")), key=len)
    return tag, name[len(tag) + 1 :]


def write_checkpoint(folder, occluded=False, version20=False):
    """Write the small network as Meta would: a YAML file and a ``.pt``."""
    config = SMALL_20 if version20 else SMALL
    model = recipe_model(config)
    tree = yaml.safe_load((Path(__file__).parent / "data" / "small.yaml").read_text())
    if version20:
        for key in ("no_obj_embed_spatial", "add_tpos_enc_to_obj_ptrs"):
            tree["model"][key] = False
    stem = f"small_{occluded}_{version20}"
    (folder / f"{stem}.yaml").write_text(yaml.safe_dump(tree))
    torch.save({"model": recipe_state(model, occluded)}, folder / f"{stem}.pt")
    return str(folder / f"{stem}.yaml"), str(folder / f"{stem}.pt")


def build_predictor(tag, folder):
    overrides, memory, occluded, version20 = TAGS[tag]
    config, checkpoint = write_checkpoint(folder, occluded, version20)
    # On the CPU the reference's hole filling does nothing, so its goldens were made without.
    extra = ["++model.fill_hole_area=0", *overrides]
    return build_sam2_video_predictor(
        config, checkpoint, device="cpu", hydra_overrides_extra=extra, memory_dtype=memory
    )


def scenario(name, folder):
    return json.loads((folder / "scenarios.json").read_text())["scenarios"][name]


def video(folder):
    with np.load(folder / "video.npz") as file:
        return file[file.files[0]]


def disc(cx, cy, radius, height=180, width=240):
    y, x = np.mgrid[:height, :width]
    return (x - cx) ** 2 + (y - cy) ** 2 < radius**2


def replay(predictor, frames, operations):
    """Yield (op, frame, object, output, video logits) for everything that the reference recorded."""
    state = predictor.init_state(frames)
    for index, op in enumerate(operations):
        kind = op["op"]
        if kind == "propagate":
            for output in predictor.propagate_in_video(state, op["start"], op["max"], op["reverse"]):
                yield from _rows(state, index, output)
        elif kind == "points":
            yield from _rows(
                state,
                index,
                predictor.add_new_points_or_box(
                    state,
                    op["frame"],
                    op["obj"],
                    points=op["points"],
                    labels=op["labels"],
                    clear_old_points=op["clear_old"],
                    box=op["box"],
                ),
            )
        elif kind == "mask":
            yield from _rows(
                state, index, predictor.add_new_mask(state, op["frame"], op["obj"], disc(*op["circle"]))
            )
        elif kind == "clear":
            predictor.clear_all_prompts_in_frame(state, op["frame"], op["obj"])
        elif kind == "remove":
            predictor.remove_object(state, op["obj"])
        else:
            predictor.reset_state(state)


def _rows(state, index, output):
    frame, obj_ids, logits = output
    for row, obj_id in enumerate(obj_ids):
        found = state.session.output(frame, state.known_id(obj_id))
        if found is not None:
            yield index, frame, obj_id, found, logits[row, 0].numpy()


@dataclass
class Errors:
    """Largest differences: of all logits, of the first record, and so on; shares of pixels are means."""

    logits: float = 0.0
    first: float = 0.0
    score: float = 0.0
    pointer: float = 0.0
    iou: float = 0.0
    wrong_pixels: float = 0.0
    far_off: float = 0.0


def largest_errors(predictor, frames, operations, golden, area=0):
    """Compare everything that was recorded, after checking that it comes in the same order."""
    errors = Errors()
    wrong, far_off = [], []
    for row, (op, frame, obj, output, shown) in enumerate(replay(predictor, frames, operations)):
        expected = tuple(int(golden[key][row]) for key in ("rec_op", "rec_frame", "rec_obj"))
        assert (op, frame, obj) == expected, f"record {row}"
        assert output.conditioning == bool(golden["rec_cond"][row]), f"record {row}: {expected}"
        difference = np.abs(fill_holes(output.logits, area).numpy() - golden["low_res"][row])
        errors.logits = max(errors.logits, float(difference.max()))
        if row == 0:
            errors.first = float(difference.max())
        errors.score = max(errors.score, abs(output.object_score - golden["score"][row]))
        pointer = np.abs(output.pointer.numpy() - golden["obj_ptr"][row])
        errors.pointer = max(errors.pointer, float(pointer.max()))
        ious = golden["ious"][row]
        # A mask that was taken over has an IoU of 1 by definition; the goldens recorded the decoder's guess.
        if np.isfinite(ious).any() and output.predicted_iou != 1.0:
            errors.iou = max(errors.iou, abs(output.predicted_iou - np.nanmax(ious)))
        bits = np.unpackbits(golden["video_mask_bits"][row])[: shown.size].reshape(shown.shape)
        wrong.append(np.mean((shown > 0) != bits))
        far_off.append(np.mean(difference > 0.15))
    assert len(wrong) == len(golden["rec_op"])
    errors.wrong_pixels, errors.far_off = float(np.mean(wrong)), float(np.mean(far_off))
    return errors
