"""kill -9 at any moment loses at most the frame in flight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the victims are forked")
def test_killed_writers_lose_at_most_the_frame_in_flight(tmp_path) -> None:
    """12 sessions and 16 stores are killed at random moments, and some at every 7th file operation."""
    process = subprocess.run(
        [sys.executable, str(HERE / "killed_writers.py"), str(tmp_path), "1", "12", "16", "7"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-4000:]
    seen = json.loads(process.stdout)
    assert seen["sessions killed"] + seen["stores killed"] >= 20
    assert seen["sessions resumed"] >= 4
    assert seen["steps"] > seen["deferring steps"] > 70


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the victims are forked")
def test_a_death_at_every_single_file_operation(tmp_path) -> None:
    process = subprocess.run(
        [sys.executable, str(HERE / "killed_writers.py"), str(tmp_path), "2", "0", "0", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-4000:]
