"""kill -9 at any moment loses at most the frame in flight, and never half of anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def kill(folder: Path, *numbers: int) -> dict:
    process = subprocess.run(
        [sys.executable, str(HERE / "killed_writers.py"), str(folder), *map(str, numbers)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(process.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the victims are forked")
def test_killed_writers_lose_at_most_the_frame_in_flight(tmp_path) -> None:
    """Sessions, clicks, imports, exports and more are killed at random moments, some at every 23rd statement."""
    seen = kill(tmp_path, 1, 6, 6, 23)
    # Moments are random: how many writers are still at work then depends on how fast the machine is.
    others = sum(seen["others killed"].values())
    assert seen["sessions killed"] + seen["stores killed"] + seen["clicks killed"] + others >= 5
    assert seen["steps"] > 100


@pytest.mark.slow
@pytest.mark.skipif("NAPARI_SAM2_LONG" not in os.environ, reason="takes minutes: set NAPARI_SAM2_LONG")
def test_two_hundred_kills_and_a_death_at_every_single_statement(tmp_path) -> None:
    seen = kill(tmp_path, 2, 60, 50, 1)
    others = sum(seen["others killed"].values())
    assert seen["sessions killed"] + seen["stores killed"] + seen["clicks killed"] + others >= 200
