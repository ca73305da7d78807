"""Recipes: presets, stages, and the schedule."""

import json

import pytest

from napari_sam2.training.data.batches import plan_step
from napari_sam2.training.recipe import TrainingStage, TrainOptions
from napari_sam2.training.trainer import learning_rate


@pytest.mark.parametrize("name", ["nano", "nano-continue", "finetune"])
def test_presets_can_be_planned_from_end_to_end(name):
    options = TrainOptions.preset(name).at_side(1024)
    json.dumps(options.to_json())
    for step in range(0, options.total_steps, max(1, options.total_steps // 150)):
        plan = plan_step(options, step)
        stage, _ = options.stage_at(step)
        sizes = stage.sizes if plan.frames == 1 else stage.clip_sizes or stage.sizes
        assert plan.size in [size for size, _ in sizes]
        assert plan.frames == 1 or stage.frames[0] <= plan.frames - plan.skimmed <= stage.frames[1]
        assert stage.skimmed[0] * (plan.frames > 1) <= plan.skimmed <= stage.skimmed[1] * (plan.frames > 1)
        assert not (plan.frames == 1 and plan.prompt == "mask")
        assert plan.corrected_frame is None or plan.skimmed < plan.corrected_frame < plan.frames - 1


def test_plans_depend_on_seed_and_step_only():
    options = TrainOptions.preset("nano")
    assert plan_step(options, 9000) == plan_step(TrainOptions.preset("nano"), 9000)
    assert len({plan_step(options, step).motion for step in range(8000, 8020)}) == 20


def test_the_rate_warms_up_falls_and_restarts_with_each_stage():
    options = TrainOptions(
        stages=(TrainingStage("one", 200, 1e-3), TrainingStage("two", 100, 5e-4)), warmup=10
    )
    rates = [learning_rate(options, step) for step in range(300)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates[:200]) == pytest.approx(1e-3, rel=0.02)
    assert rates[199] < 6e-5
    assert max(rates[200:]) == pytest.approx(5e-4, rel=0.03)
    assert rates[9:200] == sorted(rates[9:200], reverse=True)


def test_stages_follow_each_other():
    options = TrainOptions(stages=(TrainingStage("one", 3, 1e-3), TrainingStage("two", 2, 1e-3)))
    assert [options.stage_at(s)[0].name for s in range(5)] == ["one"] * 3 + ["two"] * 2
    assert options.stage_at(4)[1] == 1
    with pytest.raises(ValueError, match="beyond"):
        options.stage_at(5)


def test_scaling_changes_the_length_only():
    options = TrainOptions.preset("nano-continue")
    half = options.scaled(0.5)
    assert half.total_steps == options.total_steps // 2
    assert half.stages[0].learning_rate == options.stages[0].learning_rate


def test_fine_tuning_takes_the_side_that_the_network_is_used_with():
    options = TrainOptions.preset("finetune")
    with pytest.raises(ValueError, match="at_side"):
        plan_step(options, 0)
    assert plan_step(options.at_side(1024), 0).size == 1024
    assert TrainOptions.preset("nano").at_side(1024) == TrainOptions.preset("nano")


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"sizes": ((100, 1.0),)}, {"frames": (1, 3)}, {"frames": (4, 3)}, {"skimmed": (2, 1)}],
)
def test_impossible_stages_are_refused(wrong):
    with pytest.raises(ValueError):
        TrainingStage(**{"name": "x", "steps": 1, "learning_rate": 1e-3, **wrong})


def test_impossible_options_are_refused():
    stage = TrainingStage("x", 1, 1e-3)
    for wrong in ({"stages": ()}, {"precision": "int8"}, {"synthetic_share": 2.0}, {"eventful": -0.1}):
        with pytest.raises(ValueError):
            TrainOptions(**{"stages": (stage,), **wrong})
    with pytest.raises(ValueError, match="no recipe"):
        TrainOptions.preset("huge")
