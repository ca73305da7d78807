"""Which version counts: checked against a model that copies everything at every step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam2.storage.tables.versions import Versions

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("do"), st.lists(st.sampled_from(["write", "remove", "gone"]), min_size=1, max_size=3)
        ),
        st.tuples(st.sampled_from(["undo", "redo", "forget", "fail", "more", "fail more"]), st.just([])),
    ),
    max_size=14,
)


class Copies:
    """One object on one frame; every state is kept as a whole."""

    def __init__(self) -> None:
        self.states: list[int | None] = [None]
        self.at = 0


@given(STEPS)
@settings(max_examples=400, deadline=None)
def test_current_version_is_that_of_a_model_that_copies_every_state(steps) -> None:
    versions, copies = Versions(), Copies()
    written: dict[int, bool] = {}  # serial -> whether it says "gone"

    def visible() -> int | None:
        serial = versions.current(1, written)
        return None if serial is None or written[serial] else serial

    for kind, writes in steps:
        if kind in ("do", "fail", "more", "fail more"):
            more = kind.endswith("more")
            if more and not versions.applied:
                continue
            versions = versions.continued("y") if more else versions.begun("x", True)
            assert Versions.from_json(versions.to_json()) == versions
            value = copies.states[copies.at]
            for write in writes or ["write"]:
                if write == "remove":
                    versions, value = versions.removed(1), None
                else:
                    written[versions.head] = write == "gone"
                    value = None if write == "gone" else versions.head
            assert visible() == value
            if kind.startswith("fail"):
                settled = versions.settled
                versions = versions.abandoned()
                assert versions.settled == settled
                copies.states = copies.states[: copies.at + 1]
            else:
                versions = versions.committed()
                keep = copies.at if more else copies.at + 1
                copies.states = [*copies.states[:keep], value]
                copies.at = keep
        elif kind == "undo" and versions.applied:
            versions, copies.at = versions.moved(-1), copies.at - 1
        elif kind == "redo" and versions.applied < len(versions.actions):
            versions, copies.at = versions.moved(1), copies.at + 1
        elif kind == "forget":
            shorter = versions.without_oldest()
            if versions.applied:
                copies.states, copies.at = copies.states[1:], copies.at - 1
            else:
                copies.states = copies.states[: copies.at + 1]
            versions = shorter
        assert visible() == copies.states[copies.at]
        needed = versions.needed(1, written)
        assert {s for s in copies.states if s is not None} <= needed
        assert Versions.from_json(versions.to_json()) == versions
        # Removing what is not needed, and then the ranges that only concerned it, changes nothing.
        pruned = {s: g for s, g in written.items() if s in needed}
        swept = versions.swept()
        for step in range(-versions.applied, len(versions.actions) - versions.applied + 1):
            found = swept.moved(step).current(1, pruned)
            expected = copies.states[copies.at + step]
            assert (None if found is None or pruned[found] else found) == expected


def test_an_undone_action_is_dead_once_something_else_was_done() -> None:
    versions = Versions().begun("a", True).committed().begun("b", True).committed()
    versions = versions.moved(-1).begun("c", True).committed()
    assert versions.dead == ((2, 2),)
    assert versions.current(1, [1, 2, 3]) == 3
    assert versions.moved(-1).current(1, [1, 2, 3]) == 1


def test_neighbouring_dead_serials_are_joined() -> None:
    versions = Versions()
    for _ in range(100):
        versions = versions.begun("a", True).abandoned()
    assert versions.dead == ((1, 100),)


def test_writes_of_which_the_versions_do_not_know_are_dead_for_ever() -> None:
    versions = Versions().begun("a", True).committed()
    beyond = versions.beyond(4)
    assert beyond.dead == ((2, 4),)
    assert beyond.begun("b", True).head == 5
    assert beyond.begun("b", True).current(1, [1, 2, 3, 4]) == 1
    assert versions.beyond(1) == versions


def test_only_so_many_actions_can_be_undone() -> None:
    versions = Versions()
    for name in "abcd":
        versions = versions.begun(name, True).committed()
    short = versions.kept_to(2)
    assert [a.label for a in short.actions] == ["c", "d"]
    assert (short.applied, short.base, short.head) == (2, 2, versions.head)


@pytest.mark.parametrize(
    "change",
    [
        {"applied": 5},
        {"next_serial": 1},
        {"base": -1},
        {"reopened": 0},
        {"actions": [{"label": "x", "first": 2, "last": 1, "whole": True}]},
    ],
)
def test_a_history_that_makes_no_sense_is_refused(change) -> None:
    data = Versions().begun("a", True).committed().to_json()
    with pytest.raises(ValueError):
        Versions.from_json(data | change)
