"""A loss of power takes back what was not yet forced to the disk, and leaves no half of anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)


def lose(folder: Path, trials: int, mode: str) -> dict[str, int]:
    process = subprocess.run(
        [sys.executable, str(HERE / "power_loss.py"), str(folder), str(trials), "1", mode],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


@pytest.mark.parametrize("mode", ["log", "journal"])
def test_a_loss_of_power_leaves_a_whole_project(tmp_path, mode) -> None:
    seen = lose(tmp_path, 12, mode)
    assert seen["losses"] == 12
    assert seen["forced"] > 5
    if mode == "journal":
        assert seen["most frames at risk"] <= 1, "each transaction waits for the disk"


@pytest.mark.slow
@pytest.mark.skipif("NAPARI_SAM2_LONG" not in os.environ, reason="takes minutes: set NAPARI_SAM2_LONG")
@pytest.mark.parametrize("mode", ["log", "journal"])
def test_many_losses_of_power(tmp_path, mode) -> None:
    assert lose(tmp_path, 300, mode)["losses"] == 300
