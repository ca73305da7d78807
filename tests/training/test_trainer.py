"""The loop on a tiny network: it learns, resumes without a trace, and what it exports loads."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.training.data.batches import StepPlan, draw_batch, step_batches
from napari_sam2.training.data.clips import TrainingClip
from napari_sam2.training.export import average_checkpoints, export_checkpoint
from napari_sam2.training.heldout import HeldOutScores
from napari_sam2.training.losses import LossOptions
from napari_sam2.training.recipe import TrainingStage, TrainOptions
from napari_sam2.training.tracker import follow_clip
from napari_sam2.training.trainer import Trainer, open_memory, train
from tests.golden.tiny_network import TINY as TINY_NETWORK

TINY = replace(TINY_NETWORK, embed_dim=64)


class Discs:
    """A bright and a grey disc that drift over a dark ground; the grey one leaves the frame in long clips."""

    altered = 1.0

    def draw(self, rng, size, frames, motion):
        yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        labels = torch.zeros(frames, size, size, dtype=torch.int32)
        start = rng.uniform(0.3, 0.7, 2) * size
        for t in range(frames):
            labels[t][(xx - start[0] + 2 * t) ** 2 + (yy - 16) ** 2 < 169] = 1
            labels[t][(xx - 40 - 13 * t) ** 2 + (yy - 48) ** 2 < 169] = 2
        pixels = torch.tensor([0.1, 0.9, 0.5])[labels.long()][:, None].expand(frames, 3, size, size)
        return TrainingClip(pixels.contiguous(), labels)


class PlainDiscs(Discs):
    """The same discs, whose looks are left alone."""

    altered = 0.0


SOURCES = [(Discs(), 1.0)]


@pytest.fixture
def start(tmp_path):
    """A random tiny network as a checkpoint file that carries its own configuration."""
    torch.manual_seed(0)
    return export_checkpoint(
        Sam2(TINY).state_dict(), TINY, tmp_path / "tiny.safetensors", dtype=torch.float32
    )


def options(start, **changes):
    stage = TrainingStage(
        "tiny",
        changes.pop("steps", 6),
        1e-3,
        sizes=((64, 1.0),),
        frames=(3, 4),
        clips=1,
        objects=2,
        pixels=64 * 64 * 4,
    )
    return TrainOptions(**{"stages": (stage,), "start": str(start), "warmup": 2, **changes})


def weights(folder):
    with safe_open(folder / "last.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, start, optimizer):
    recipe = options(start, optimizer=optimizer)
    whole = Trainer(recipe, tmp_path / "whole", SOURCES, SOURCES, torch.device("cpu"))
    whole.run()
    first = Trainer(recipe, tmp_path / "parts", SOURCES, SOURCES, torch.device("cpu"))
    first.run(minutes=0)  # stops after the first step
    assert first.step == 1
    second = Trainer(recipe, tmp_path / "parts", SOURCES, SOURCES, torch.device("cpu"))
    assert second.resume()
    second.run()
    assert second.step == whole.step == 6
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(one[key], two[key]) for key in one)
    before = load_model(start, device="cpu").state_dict()
    assert any(not torch.equal(before[key], value) for key, value in whole.model.state_dict().items())


def test_a_tiny_network_overfits_one_clip():
    torch.manual_seed(0)
    model = open_memory(Sam2(TINY)).train()
    plan = StepPlan(0, "mask", 64, 4, 1, 0.0, 0, 2)
    stage = TrainingStage("one", 1, 1e-3, objects=2)
    batch = draw_batch(SOURCES, plan, stage, seed=3, augment=False)
    leaving = ~batch.truth[:, -1].flatten(1).any(1)
    assert leaving.sum() == 1
    batch = replace(batch, truth=batch.truth[leaving], owner=batch.owner[leaving])
    optimizer = torch.optim.AdamW(model.parameters(), lr=7e-4)
    losses = []
    for step in range(60):
        outcome = follow_clip(model, batch, torch.Generator().manual_seed(step), LossOptions())
        optimizer.zero_grad()
        outcome.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
    assert np.mean(losses[-5:]) < 0.4 * losses[0]
    tracked = torch.cat(
        [iou[seen] for iou, seen in zip(outcome.tracked_iou, outcome.tracked_visible, strict=True)]
    )
    assert tracked.mean() > 0.6
    # the disc has left on the last frame: absence is learnt as well
    assert torch.cat(outcome.presence).all()


def test_skimmed_frames_are_followed_but_not_learnt_from():
    torch.manual_seed(4)
    model = open_memory(Sam2(TINY)).train()
    # an untrained score may call everything gone, and then all walks look the same
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    stage = TrainingStage("one", 1, 1e-3, objects=2)
    plan = StepPlan(0, "mask", 64, 5, 2, 0.3, 0, None)
    batch = draw_batch(SOURCES, plan, stage, seed=3, augment=False)

    def followed(plan, truth):
        part = replace(batch, plan=plan, truth=truth)
        outcome = follow_clip(model, part, torch.Generator().manual_seed(0), LossOptions())
        model.zero_grad()
        outcome.loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return outcome, gradient

    skims = replace(plan, skimmed=2)
    whole, whole_gradient = followed(plan, batch.truth)
    part, part_gradient = followed(skims, batch.truth)
    # the same walk ...
    for one, other in zip(whole.tracked_iou, part.tracked_iou, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.cat(whole.tracked_iou).any()
    # ... with another lesson: what is true on skimmed frames does not matter, on the others it does
    assert not torch.allclose(whole_gradient, part_gradient)
    early, late = batch.truth.clone(), batch.truth.clone()
    early[:, 1:3] = ~early[:, 1:3]
    late[:, 3:] = ~late[:, 3:]
    torch.testing.assert_close(followed(skims, early)[1], part_gradient)
    assert not torch.allclose(followed(skims, late)[1], part_gradient)


def test_gradients_reach_every_part_that_tracking_uses():
    torch.manual_seed(1)
    model = Sam2(TINY).train()
    # an untrained score may call everything hidden, which would cut pointers off
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    stage = TrainingStage("one", 1, 1e-3, objects=2)
    used = set()
    for prompt, corrections in (("click", 1), ("box", 0), ("mask", 0)):
        plan = StepPlan(0, prompt, 64, 4, 1, 0.0, corrections, 2)
        batch = draw_batch(SOURCES, plan, stage, seed=0, augment=False)
        model.zero_grad()
        outcome = follow_clip(model, batch, torch.Generator().manual_seed(0), LossOptions())
        outcome.loss.backward()
        used |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    # in every released checkpoint, and used by none
    assert {name.split(".")[0] for name in used} == parts - {"no_mem_pos_enc"} - absent_only(used)


def absent_only(used):
    """Parameters that only matter once the network believes that an object is hidden."""
    return {"no_obj_ptr", "no_obj_embed_spatial"} - used


def test_the_export_loads_and_computes_the_same(tmp_path):
    torch.manual_seed(2)
    model = Sam2(TINY).eval()
    path = export_checkpoint(model.state_dict(), TINY, tmp_path / "x.safetensors", {"steps": 3})
    loaded = load_model(path, device="cpu")
    assert loaded.config == TINY
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        one, two = model.encode_image(image).stride16, loaded.encode_image(image).stride16
    assert (one - two).abs().max() < 0.02 * one.std()
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["training"]) == {"steps": 3}
        assert any(key.startswith("sam_mask_decoder.") for key in file.keys())  # noqa: SIM118


def test_a_mean_of_checkpoints_lies_between_them(tmp_path):
    paths = []
    for index, value in enumerate((1.0, 3.0)):
        state = {name: torch.full_like(p, value) for name, p in Sam2(TINY).state_dict().items()}
        paths.append(export_checkpoint(state, TINY, tmp_path / f"{index}.safetensors", {"steps": index}))
    mean = load_model(str(average_checkpoints(paths, [1, 3], tmp_path / "mean.safetensors")))
    assert {float(v) for p in mean.state_dict().values() for v in (p.min(), p.max())} == {2.5}
    with safe_open(tmp_path / "mean.safetensors", framework="pt") as file:
        parts = json.loads(file.metadata()["training"])["mean_of"]
    assert parts == [{"share": 0.25, "training": {"steps": 0}}, {"share": 0.75, "training": {"steps": 1}}]
    other = replace(TINY, image_size=96)
    odd = export_checkpoint(Sam2(other).state_dict(), other, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="another network"):
        average_checkpoints([paths[0], odd], [1, 1], tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="as many shares"):
        average_checkpoints(paths, [1], tmp_path / "no.safetensors")


def test_training_writes_a_log_a_best_checkpoint_and_can_be_continued(tmp_path, start, monkeypatch):
    monkeypatch.setattr("napari_sam2.training.trainer.held_out_batches", small_exam)
    seen = []
    recipe = options(start, steps=3, threads=1)
    best = train(
        recipe,
        tmp_path / "run",
        sources=SOURCES,
        held_out=SOURCES,
        device="cpu",
        progress=lambda step, _: seen.append(step),
    )
    assert seen == [1, 2, 3]
    assert load_model(best, device="cpu").config == TINY
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [0, 1, 2, 3, 3]
    assert ["held_out" in entry for entry in log] == [True, False, False, False, True]
    assert 0 <= log[-1]["held_out"]["click"] <= 1
    with pytest.raises(ValueError, match="already holds a run"):
        train(recipe, tmp_path / "run", sources=SOURCES, held_out=SOURCES, resume=False)
    longer = replace(recipe, stages=(replace(recipe.stages[0], steps=4),))
    train(longer, tmp_path / "run", sources=SOURCES, held_out=SOURCES, device="cpu")
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[5])["step"] == 4
    stage = longer.stages[0]
    onwards = replace(longer, stages=(stage, replace(stage, steps=1, sizes=((96, 1.0),))))
    train(onwards, tmp_path / "run", sources=SOURCES, held_out=SOURCES, device="cpu")
    assert "96" in (tmp_path / "run" / "log.jsonl").read_text().splitlines()[-2]
    other = replace(longer, stages=(replace(stage, sizes=((96, 1.0),)),))
    with pytest.raises(ValueError, match="input sizes"):
        train(other, tmp_path / "run", sources=SOURCES, held_out=SOURCES, device="cpu")


def test_an_exam_that_is_interrupted_leaves_the_weights_as_they_were(tmp_path, start, monkeypatch):
    runner = Trainer(options(start), tmp_path / "run", SOURCES, SOURCES, torch.device("cpu"))
    runner.run(minutes=0)
    before = {name: p.clone() for name, p in runner.model.state_dict().items()}
    assert any(not torch.equal(p, runner.averaged_state()[name]) for name, p in before.items())

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_sam2.training.trainer.score_held_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.evaluate()
    for name, parameter in runner.model.state_dict().items():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize(
    ("at_first", "at_last", "kept"),
    [(0.5, 0.3, 0), (0.3, 0.5, 3), (0.5, math.nan, 0), (math.nan, 0.1, 3), (math.nan, math.nan, 0)],
)
def test_the_best_is_never_worse_than_the_start(tmp_path, start, monkeypatch, at_first, at_last, kept):
    marks = iter([at_first, at_last])
    monkeypatch.setattr("napari_sam2.training.trainer.held_out_batches", lambda *_: [])
    monkeypatch.setattr(
        "napari_sam2.training.trainer.score_held_out", lambda *_: HeldOutScores(*[next(marks)] * 5)
    )
    recipe = options(start, steps=3)
    best = train(recipe, tmp_path / "run", sources=SOURCES, held_out=SOURCES, device="cpu")
    with safe_open(best, framework="pt") as file:
        assert json.loads(file.metadata()["training"])["steps"] == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "muon"}, "optimizer 'adamw', not 'muon'"),
        ({"start": "nano"}, "start"),
        ({"steps": 2}, "3 steps already, the recipe has 2"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, start, change, said):
    train_options = options(start, steps=3)
    trainer = Trainer(train_options, tmp_path / "run", SOURCES, SOURCES, torch.device("cpu"))
    trainer.step = 3
    trainer.save()
    before = (tmp_path / "run" / "state.pt").read_bytes()
    changed = dict(change)
    other = options(changed.pop("start", start), **{"steps": 3, **changed})
    with pytest.raises(ValueError, match=said):
        train(other, tmp_path / "run", sources=SOURCES, held_out=SOURCES, device="cpu")
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_what_is_called_gone_counts_as_not_found():
    torch.manual_seed(0)
    model = Sam2(TINY).eval()
    plan = StepPlan(0, "mask", 64, 3, 1, 0.0, 0, None)
    batch = draw_batch(SOURCES, plan, TrainingStage("one", 1, 1e-3, objects=2), seed=3, augment=False)
    bias = model.mask_decoder.pred_obj_score_head.layers[-1].bias
    found = {}
    for name, value in (("gone", -50.0), ("there", 50.0)):
        torch.nn.init.constant_(bias, value)
        with torch.no_grad():
            outcome = follow_clip(model, batch, torch.Generator().manual_seed(0), LossOptions())
        found[name] = torch.cat(outcome.tracked_iou)
    assert (found["gone"] == 0).all()
    assert (found["there"] > 0).any()


def test_the_first_click_on_a_lost_object_starts_from_no_mask(monkeypatch):
    torch.manual_seed(0)
    model = Sam2(TINY).eval()
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.layers[-1].bias, 4.0)
    plan = StepPlan(0, "mask", 64, 3, 2, 0.0, 0, corrected_frame=1)
    batch = draw_batch(SOURCES, plan, TrainingStage("one", 1, 1e-3, objects=2), seed=3, augment=False)
    decode, remember = model.decode_masks, model.encode_memory
    clicked, remembered = [], []

    def decoding(embedding, features, prompts, multimask):
        answer = decode(embedding, features, prompts, multimask)
        if prompts.points is not None:
            clicked.append((prompts.mask_logits is not None, answer.best().logits))
        elif prompts.mask_logits is None:  # tracked: the first object is lost
            score = answer.object_score * torch.tensor([[-1.0], [1.0]])
            answer = replace(answer, object_score=score)
        return answer

    def remembering(features, logits, score, binarize):
        remembered.append(logits)
        return remember(features, logits, score, binarize)

    monkeypatch.setattr(model, "decode_masks", decoding)
    monkeypatch.setattr(model, "encode_memory", remembering)
    with torch.no_grad():
        follow_clip(model, batch, torch.Generator().manual_seed(0), LossOptions())
    (fed, found), (also_fed, lost) = clicked
    assert (fed, also_fed) == (True, False)
    assert len(found) == len(lost) == 1
    torch.testing.assert_close(remembered[1], torch.cat([lost, found]))


def test_data_without_an_object_to_follow_is_given_up_with_a_reason():
    class Dust(Discs):
        def draw(self, rng, size, frames, motion):
            clip = super().draw(rng, size, frames, motion)
            dots = torch.zeros_like(clip.labels)
            dots[:, 5, 5:9] = 1
            return replace(clip, labels=dots)

    plan = StepPlan(0, "mask", 64, 3, 1, 0.0, 0, None)
    with pytest.raises(ValueError, match="no object of at least 12 pixels at an input of 64"):
        draw_batch([(Dust(), 1.0)], plan, TrainingStage("one", 1, 1e-3), seed=0)


def test_an_exam_counts_what_it_could_ask():
    assert HeldOutScores(0.1, 0.2, 0.3, 0.6, 0.9).overall == pytest.approx(0.4 * 0.2 + 0.5 * 0.6 + 0.1 * 0.9)
    nobody_stayed = HeldOutScores(0.1, 0.2, 0.3, math.nan, 0.9)
    assert nobody_stayed.overall == pytest.approx((0.4 * 0.2 + 0.1 * 0.9) / 0.5)
    assert math.isnan(HeldOutScores(*[math.nan] * 5).overall)


def small_exam(sources, size):
    assert size == 64  # the largest of the recipe, which is the network's own
    stage = TrainingStage("exam", 1, 1e-3, objects=2)
    plans = [
        StepPlan(0, "click", 64, 1, 1, 0.0, 2, None),
        StepPlan(1, "box", 64, 1, 1, 0.0, 0, None),
        StepPlan(2, "mask", 64, 3, 1, 0.0, 0, None),
    ]
    return [draw_batch(sources, plan, stage, 1, augment=False) for plan in plans]


def test_a_stage_can_teach_a_part_only(tmp_path, start):
    recipe = options(start, steps=2)
    part = "mask_decoder.iou_prediction_head."
    recipe = replace(recipe, stages=(replace(recipe.stages[0], only=(part,)), recipe.stages[0]))
    run = Trainer(recipe, tmp_path / "run", SOURCES, SOURCES, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}

    def changed():
        return {
            name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])
        }

    batches = list(step_batches(SOURCES, recipe, 0))
    run.train_step(batches[0])
    run.train_step(batches[1])
    assert changed() == {name for name in before if name.startswith(part)}
    run.train_step(batches[2])
    assert len(changed()) > 100
    wrong = replace(recipe, stages=(replace(recipe.stages[0], only=("decoder",)),))
    with pytest.raises(ValueError, match="'decoder'"):
        Trainer(wrong, tmp_path / "wrong", SOURCES, SOURCES, torch.device("cpu")).train_step(batches[0])


def test_bfloat16_learns_in_float32_weights(tmp_path, start):
    run = Trainer(
        options(start, precision="bfloat16"), tmp_path / "run", SOURCES, SOURCES, torch.device("cpu")
    )
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    batch = draw_batch(
        SOURCES, StepPlan(0, "click", 64, 3, 1, 0.0, 1, None), TrainingStage("x", 1, 1e-3, objects=2), 0
    )
    assert np.isfinite(run.train_step(batch))
    after = run.model.state_dict()
    assert all(value.dtype == torch.float32 for value in after.values())
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 100


def test_a_step_with_an_infinite_loss_changes_nothing(tmp_path, start):
    trainer = Trainer(options(start), tmp_path / "run", SOURCES, SOURCES, torch.device("cpu"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    plan = StepPlan(0, "click", 64, 1, 1, 0.0, 0, None)
    batch = draw_batch(SOURCES, plan, TrainingStage("x", 1, 1e-3, objects=2), 0)
    batch.images.fill_(float("inf"))
    trainer.train_step(batch)
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_source_says_how_often_its_looks_are_changed():
    plan = StepPlan(0, "click", 64, 1, 1, 0.0, 0, None)
    stage = TrainingStage("x", 1, 1e-3, objects=2)
    plain, altered = (
        [draw_batch([(source, 1.0)], plan, stage, seed).images.unique().numel() for seed in range(4)]
        for source in (PlainDiscs(), Discs())
    )
    # three greys in three channels; most changes of the looks make many more
    assert plain == [9] * 4
    assert max(altered) > 100
