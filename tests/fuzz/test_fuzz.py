"""Damaged recordings, masks and prompts files: the right value or one sentence; `make fuzz` tries thousands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of time and memory are set as Unix does")


def fuzz(cases: int, seed: int, folder: Path) -> dict[str, int]:
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("damaged_files.py")), str(cases), str(seed)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def test_damaged_files_give_the_right_value_or_a_sentence(tmp_path: Path) -> None:
    seen = fuzz(120, 1, tmp_path)
    assert sum(seen.values()) == 120
    for end in (
        "recordings: refused",
        "recordings: read",
        "masks: refused",
        "masks: read",
        "documents: refused",
    ):
        assert seen[end] >= 3, seen


@pytest.mark.slow
@pytest.mark.skipif("NAPARI_SAM2_LONG" not in os.environ, reason="takes half an hour: set NAPARI_SAM2_LONG")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(200, 210))
def test_a_thousand_kinds_of_damage(tmp_path: Path, seed: int) -> None:
    assert sum(fuzz(1000, seed, tmp_path).values()) == 1000
