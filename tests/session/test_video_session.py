"""What users expect of a session: prompts stick, results are kept, one object never disturbs another."""

import numpy as np
import pytest
import torch

from napari_sam2.masks import cleaned
from napari_sam2.session import ArrayFrames, SessionOptions, VideoSession
from napari_sam2.session.protocols import STALE
from tests.session.conftest import HEIGHT, WIDTH, box, click, clicks, moving_discs, painted


@pytest.fixture
def session(model, frames):
    with_store = VideoSession(model, frames)
    yield with_store
    with_store.close()


def run(session, **arguments):
    return {m.frame: m for m in session.propagate(**arguments)}


def stored(session, object_id):
    """Everything the store has of an object, bit for bit."""
    out = {}
    for frame in session.store.frames(object_id):
        record = session.store.get(object_id, frame)
        out[frame] = (
            record.logits.tobytes(),
            record.pointer.tobytes(),
            record.object_score,
            record.conditioning,
            record.prompt_hash,
        )
    return out


class Counted:
    """Counts how often the network runs."""

    def __init__(self, session, monkeypatch):
        self.tracked = 0
        track = session.runner.track

        def counted(features, readouts):
            self.tracked += len(readouts)
            return track(features, readouts)

        monkeypatch.setattr(session.runner, "track", counted)


def test_a_click_gives_a_mask_at_once(session):
    result = session.set_prompt(3, 7, click(15, 12))
    assert (result.frame, result.object_ids) == (3, (7,))
    assert result.masks.shape == (1, HEIGHT, WIDTH)
    assert result.prompted.all()
    assert session.object_ids == (7,)
    assert session.prompts == {(3, 7): click(15, 12)}
    assert np.array_equal(session.masks(3).masks, result.masks)
    assert session.masks(4).object_ids == ()
    assert session.scores(3)[7] == (result.object_scores[0], result.predicted_ious[0])


def test_propagation_visits_every_frame_and_stores_it_before_it_is_shown(session):
    session.set_prompt(4, 1, click(15, 12))
    seen = []
    for masks in session.propagate():
        assert session.store.get(1, masks.frame) is not None
        assert np.array_equal(session.masks(masks.frame).masks, masks.masks)
        seen.append(masks.frame)
    assert seen == list(range(4, 24))
    assert sorted(run(session, reverse=True)) == list(range(5))


def test_range_and_direction(session):
    session.set_prompt(10, 1, click(15, 12))
    assert list(run(session, start=10, stop=14)) == [10, 11, 12, 13, 14]
    assert list(run(session, start=10, stop=7, reverse=True)) == [10, 9, 8, 7]
    assert list(run(session, start=6, stop=6)) == [6]


def test_closing_the_generator_keeps_what_is_done(session):
    session.set_prompt(0, 1, click(15, 12))
    generator = session.propagate()
    for _ in range(5):
        next(generator)
    generator.close()
    assert session.store.frames(1) == [0, 1, 2, 3, 4]


def test_the_answer_depends_on_the_prompt_alone(session, model, frames):
    three = clicks((15, 12), (40, 30, False), (18, 10))
    session.set_prompt(0, 1, clicks((15, 12)))
    session.set_prompt(0, 1, clicks((15, 12), (40, 30, False)))
    stepwise = session.set_prompt(0, 1, three)
    at_once = VideoSession(model, frames).set_prompt(0, 1, three)
    assert np.array_equal(stepwise.masks, at_once.masks)
    assert stepwise.predicted_ious == at_once.predicted_ious
    session.set_prompt(0, 1, box(5, 5, 30, 30))
    again = session.set_prompt(0, 1, three)
    assert again.predicted_ious == at_once.predicted_ious


def test_a_mask_is_taken_over_and_can_be_refined(session):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:50] = True
    taken = session.set_prompt(0, 1, painted(mask)).of(1)
    assert (taken & mask).sum() / (taken | mask).sum() > 0.9
    both = session.set_prompt(0, 1, type(painted(mask))(clicks((25, 15)).points, None, painted(mask).mask))
    assert both.prompted.all()


def test_an_empty_mask_says_that_the_object_is_absent(session):
    result = session.set_prompt(5, 1, painted(np.zeros((HEIGHT, WIDTH), bool)))
    assert not result.masks.any()
    assert result.object_scores[0] < 0
    run(session)


def test_alternatives_for_an_ambiguous_click(session):
    result = session.set_prompt(0, 1, click(15, 12))
    offered = session.alternatives(0, 1)
    assert offered.masks.shape == (3, HEIGHT, WIDTH)
    assert offered.best == offered.ious.argmax()
    assert result.predicted_ious[0] == offered.ious[offered.best]
    session.commit()
    assert np.array_equal(session.alternatives(0, 1).masks, offered.masks)
    chosen = session.set_prompt(0, 1, painted(offered.masks[(offered.best + 1) % 3]))
    assert chosen.prompted.all()


def test_corrections_stick(session):
    session.set_prompt(0, 1, click(15, 12))
    before = run(session)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:25, 5:40] = True
    corrected = session.set_prompt(8, 1, painted(mask)).of(1)
    for reverse in (False, True):
        after = run(session, reverse=reverse)
        assert np.array_equal(after[8].of(1), corrected)
        assert after[8].prompted.all()
    assert session.conditioning_frames(1) == [0, 8]
    assert any(not np.array_equal(before[t].of(1), session.masks(t).of(1)) for t in range(9, 24))


def test_the_reference_loses_corrections(model, frames):
    """The claim above is about our default: with the reference's options the same correction is lost."""
    session = VideoSession(model, frames, SessionOptions.reference())
    session.set_prompt(0, 1, click(15, 12))
    before = run(session)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:25, 5:40] = True
    corrected = session.set_prompt(8, 1, painted(mask)).of(1)
    after = run(session)
    assert not np.array_equal(after[8].of(1), corrected)
    assert np.array_equal(after[8].of(1), before[8].of(1))


def test_frames_around_a_correction_are_tracked_again_and_no_others(session, monkeypatch):
    session.set_prompt(6, 1, click(15, 12))
    session.set_prompt(14, 1, click(20, 12))
    run(session)
    run(session, reverse=True)
    counted = Counted(session, monkeypatch)
    run(session, start=0)
    assert counted.tracked == 0
    session.set_prompt(10, 1, click(18, 12))
    run(session, start=0)
    # 7-9 and 11-13 lie between the correction and the neighbouring prompts.
    assert counted.tracked == 6


def test_taking_a_correction_back_makes_the_old_results_current_again(session, monkeypatch):
    session.set_prompt(0, 1, click(15, 12))
    run(session)
    before = stored(session, 1)
    session.set_prompt(8, 1, click(18, 12))
    session.commit()
    session.clear_prompt(8, 1)
    assert session.masks(8).object_ids == ()
    counted = Counted(session, monkeypatch)
    run(session)
    assert counted.tracked == 1
    after = stored(session, 1)
    assert {t: after[t] for t in after if t != 8} == {t: before[t] for t in before if t != 8}


def test_nothing_is_computed_twice(session, monkeypatch):
    session.set_prompt(0, 1, click(15, 12))
    run(session, stop=12)
    counted = Counted(session, monkeypatch)
    first = {t: m.of(1) for t, m in run(session).items()}
    assert counted.tracked == 11
    encoded = session.features.encoded
    again = run(session)
    assert counted.tracked == 11
    assert session.features.encoded == encoded
    assert all(np.array_equal(first[t], again[t].of(1)) for t in first)


def test_an_unchanged_prompt_is_not_decoded_again(session):
    session.set_prompt(0, 1, click(15, 12))
    run(session)
    before = stored(session, 1)
    session.set_prompt(0, 1, click(15, 12))
    session.commit()
    assert stored(session, 1) == before


def test_a_new_object_is_tracked_from_its_own_first_prompt_both_ways(session):
    session.set_prompt(0, 1, click(15, 12))
    run(session)
    session.set_prompt(10, 2, click(45, 30))
    forward = run(session)
    assert [t for t in forward if 2 in forward[t].object_ids] == list(range(10, 24))
    backward = run(session, reverse=True)
    assert [t for t in sorted(backward) if 2 in backward[t].object_ids] == list(range(11))
    assert session.store.frames(2) == list(range(24))


def test_only_the_chosen_objects_are_carried(session):
    for object_id, x in ((1, 15), (2, 45), (3, 25)):
        session.set_prompt(0, object_id, click(x, 30))
    assert all(m.object_ids == (3, 1) for m in session.propagate(objects=[3, 1], stop=4))
    assert session.store.frames(2) == [0]


def test_clearing_the_last_prompt_keeps_the_masks_but_not_the_object_s_place_in_propagation(session):
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(0, 2, click(45, 30))
    run(session)
    session.clear_prompt(0, 1)
    assert session.masks(5).object_ids == (1, 2)
    assert session.masks(0).object_ids == (2,)
    assert all(m.object_ids == (2,) for m in session.propagate())
    with pytest.raises(ValueError, match="object 1 has no prompt"):
        session.propagate(objects=[1])


def test_clearing_a_draft_shows_the_tracked_mask_again(session):
    session.set_prompt(0, 1, click(15, 12))
    run(session)
    before = stored(session, 1)
    tracked = session.masks(8).of(1)
    session.set_prompt(8, 1, painted(np.ones((HEIGHT, WIDTH), bool)))
    assert not np.array_equal(session.masks(8).of(1), tracked)
    session.clear_prompt(8, 1)
    assert np.array_equal(session.masks(8).of(1), tracked)
    assert stored(session, 1) == before


def test_a_prompt_between_two_steps_of_a_propagation(session):
    session.set_prompt(0, 1, click(15, 12))
    generator = session.propagate()
    for _ in range(4):
        next(generator)
    session.set_prompt(2, 2, click(45, 30))
    rest = {m.frame: m for m in generator}
    assert all(m.object_ids == (1,) for m in rest.values())
    assert sorted(rest) == list(range(4, 24))


def test_an_object_removed_between_two_steps_stays_removed(session):
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(0, 2, click(45, 30))
    generator = session.propagate()
    for _ in range(4):
        next(generator)
    session.remove_object(1)
    assert all(m.object_ids == (2,) for m in generator)
    assert session.store.frames(1) == []


def test_exclusive_masks_do_not_touch_what_is_stored(model, frames):
    plain, exclusive = (
        VideoSession(model, frames),
        VideoSession(model, frames, SessionOptions(non_overlap=True)),
    )
    for session in (plain, exclusive):
        session.set_prompt(0, 1, painted(np.eye(HEIGHT, WIDTH, dtype=bool) | True))
        session.set_prompt(0, 2, painted(np.tri(HEIGHT, WIDTH, dtype=bool)))
    ours = run(exclusive)
    run(plain)
    assert all(m.masks.sum(0).max() <= 1 for m in ours.values())
    assert stored(plain, 1) == stored(exclusive, 1)


def test_holes_are_filled_in_what_is_shown_but_not_in_what_was_painted(model, frames):
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[20:27, 30:37] = False
    shown = {}
    for area in (0, 50):
        session = VideoSession(model, frames, SessionOptions(fill_hole_area=area))
        np.testing.assert_array_equal(session.set_prompt(0, 1, painted(mask)).of(1), mask)
        tracked = session.output(0, 1).changed(given=None)  # as the network would have said it
        shown[area] = session._writer.masks([tracked])[0]
    assert not shown[0].all()
    assert shown[50].all()


def test_features_of_cached_frames_are_not_encoded_again(session):
    session.set_prompt(0, 1, click(15, 12))
    run(session)
    assert session.features.encoded == 24
    session.set_prompt(0, 2, click(45, 30))
    run(session)
    assert session.features.encoded == 24


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (700, 1)])
def test_frames_of_odd_shapes(model, size):
    session = VideoSession(model, ArrayFrames(np.full((3, *size), 90, np.uint8)))
    session.set_prompt(0, 1, click(size[1] - 1, 0))
    assert all(m.masks.shape == (1, *size) for m in session.propagate())


def test_a_video_of_one_frame(model):
    session = VideoSession(model, ArrayFrames(moving_discs(1)))
    session.set_prompt(0, 1, click(15, 12))
    assert len(list(session.propagate())) == 1
    assert len(list(session.propagate(reverse=True))) == 1
    session.set_prompt(0, 1, click(30, 12))
    assert session.masks(0).object_ids == (1,)


def test_it_can_be_made_while_gradients_are_on_and_leaves_none(session):
    assert torch.is_grad_enabled()
    session.set_prompt(0, 1, click(15, 12))
    for _ in session.propagate(stop=2):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def stale_frames(session, object_id=1):
    records = {f: session.store.get(object_id, f) for f in session.store.frames(object_id)}
    return [f for f, record in records.items() if record.prompt_hash == STALE]


def test_results_around_a_prompt_are_forgotten_when_it_is_committed(model, frames):
    session = VideoSession(model, frames, SessionOptions(forget_around_prompts=True))
    session.set_prompt(0, 1, click(15, 12))
    session.set_prompt(0, 2, click(45, 30))
    run(session)
    assert stale_frames(session) == []
    masks = {t: session.masks(t).masks for t in range(24)}
    session.set_prompt(12, 1, click(17, 12))
    session.commit()
    # Seven frames on both sides, as many as the network has memories; they are shown as before.
    assert stale_frames(session) == [*range(5, 12), *range(13, 20)]
    assert stale_frames(session, 2) == []
    assert [f for _, f in session._objects[1].recall(14, False, own=True).spatial] == [0, 12]
    assert all(np.array_equal(session.masks(t).masks, masks[t]) for t in range(24) if t != 12)
    run(session)
    # Passing the prompted frame forgets what was tracked before it once more; what comes after is tracked anew.
    assert stale_frames(session) == list(range(5, 12))


def test_options_can_be_changed_for_what_is_computed_from_then_on(model, frames):
    session, other = VideoSession(model, frames), VideoSession(model, frames, SessionOptions(max_memories=2))
    for each in (session, other):
        each.set_prompt(0, 1, click(15, 12))
    session.change_options(SessionOptions(max_memories=2))
    run(session)
    run(other)
    assert stored(session, 1) == stored(other, 1)
    with pytest.raises(ValueError, match="precision can't be changed in a session: make a new one"):
        session.change_options(SessionOptions(precision="fast"))


def test_tracked_masks_are_cleaned_and_nothing_else(model, frames):
    found = {}
    for name, options in (("plain", {}), ("clean", {"clean_area": 60, "largest_piece": True})):
        session = VideoSession(model, frames, SessionOptions(**options))
        session.set_prompt(2, 1, click(15, 12))
        found[name] = {masks.frame: masks.of(1) for masks in session.propagate(stop=8)}
        found[name, "records"] = [session.store.get(1, t).logits.tobytes() for t in range(2, 9)]
    assert found["clean", "records"] == found["plain", "records"]
    assert np.array_equal(found["clean"][2], found["plain"][2])
    changed = 0
    for t in range(3, 9):
        assert np.array_equal(found["clean"][t], cleaned(found["plain"][t], 60, True))
        changed += not np.array_equal(found["clean"][t], found["plain"][t])
    assert changed  # else this would test nothing
