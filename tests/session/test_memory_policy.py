"""What is remembered and recalled, with words in place of tensors."""

import pytest

from napari_sam2.session.memory_bank import MemoryBank, Recall, RecencyPolicy


def bank_with(conditioning, tracked, length=100, **policy):
    bank = MemoryBank(RecencyPolicy(**policy), length)
    for frame in conditioning:
        bank.add(frame, f"memory of {frame}", conditioning=True)
    for frame in tracked:
        bank.add(frame, f"memory of {frame}")
    return bank


def test_an_empty_bank_recalls_nothing():
    recall = bank_with([], []).read(5)
    assert recall == Recall((), (), 15)
    assert not recall


def test_six_recent_frames_oldest_first_after_all_conditioning_ones():
    recall = bank_with([0, 30], range(1, 20)).read(20)
    assert recall.spatial == ((0, 0), (0, 30), (6, 14), (5, 15), (4, 16), (3, 17), (2, 18), (1, 19))


def test_pointers_come_from_the_past_only_and_at_most_fifteen_tracked():
    recall = bank_with([0, 30], range(1, 20)).read(20)
    assert recall.pointers == ((20, 0), *((d, 20 - d) for d in range(1, 16)))
    assert recall.span == 15


def test_reverse_is_the_mirror_image():
    recall = bank_with([30], range(10, 30)).read(9, reverse=True)
    assert recall.spatial == ((0, 30), (6, 15), (5, 14), (4, 13), (3, 12), (2, 11), (1, 10))
    assert recall.pointers[0] == (21, 30)
    assert recall.pointers[1] == (1, 10)


def test_the_own_conditioning_memory_can_be_left_out():
    bank = bank_with([0, 5], [])
    assert [f for _, f in bank.read(5).spatial] == [0, 5]
    assert [f for _, f in bank.read(5, own=False).spatial] == [0]


def test_short_videos_shorten_the_span_but_never_to_zero():
    assert bank_with([0], [], length=6).read(3).span == 5
    assert bank_with([0], [], length=1).read(0).span == 1


def test_only_the_nearest_conditioning_frames_and_the_others_stand_in():
    recall = bank_with([0, 10, 18, 40], [17, 19], max_conditioning=2).read(20)
    assert recall.spatial == ((0, 18), (0, 40), (3, 17), (1, 19))
    near = bank_with([14, 18, 40], [17, 19], max_conditioning=2).read(20)
    assert near.spatial == ((0, 18), (0, 40), (6, 14), (3, 17), (1, 19))
    assert (6, 14) in near.pointers


def test_a_stride_reads_every_other_frame_on_even_places():
    recall = bank_with([0], range(1, 20), stride=2).read(20)
    assert recall.spatial == ((0, 0), (6, 10), (5, 12), (4, 14), (3, 16), (2, 18), (1, 19))
    odd = bank_with([0], range(1, 21), stride=2).read(21)
    assert [f for _, f in odd.spatial] == [0, 10, 12, 14, 16, 18, 20]


def test_nothing_outside_the_video_is_asked_for():
    asked = []
    bank_with([0], [], length=4).read(2, usable=lambda f: asked.append(f) or False)
    bank_with([3], [], length=4).read(2, reverse=True, usable=lambda f: asked.append(f) or False)
    assert asked
    assert all(0 <= f < 4 for f in asked)


def test_eviction_keeps_the_window_and_all_that_conditions():
    bank = bank_with([0, 50], range(1, 50))
    gone = bank.evict(49)
    assert gone == list(range(1, 34))
    assert bank.frames == [0, *range(34, 51)]
    assert bank.get(20) is None
    assert bank.get(0) == "memory of 0"


def test_an_evicted_memory_is_recalled_when_it_can_be_had_elsewhere():
    bank = bank_with([0], range(1, 50))
    bank.evict(49)
    elsewhere = bank.read(21, usable=lambda frame: True)
    assert (1, 20) in elsewhere.spatial
    assert (1, 20) not in bank.read(21).spatial


def test_forgetting_and_marking():
    bank = bank_with([3], [4])
    bank.forget(3)
    assert bank.conditioning == []
    bank.mark(4, True)
    assert bank.is_conditioning(4)
    bank.mark(4, True)
    assert bank.conditioning == [4]


@pytest.mark.parametrize(
    ("frame", "expected"), [(0, (None, 4)), (4, (None, 9)), (6, (4, 9)), (9, (4, None)), (20, (9, None))]
)
def test_neighbours(frame, expected):
    assert bank_with([4, 9], []).neighbours(frame) == expected


def test_another_policy_is_one_class():
    class OnlyTheFirstPrompt:
        spatial_reach = pointer_reach = 0

        def recall(self, frame, reverse, conditioning, usable, length):
            first = conditioning[:1]
            return Recall(tuple((0, f) for f in first), tuple((frame - f, f) for f in first), 15)

    bank = MemoryBank(OnlyTheFirstPrompt(), 10)
    bank.add(2, "two", conditioning=True)
    bank.add(5, "five", conditioning=True)
    assert bank.read(7).spatial == ((0, 2),)
