from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sam2.formats import TrackingResults
from napari_sam2.formats.ctc import TrackTable, write_ctc
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo

FIELDS = ("object_ids", "masks", "object_scores", "predicted_ious", "prompted")


# The challenge's rules for result folders, written from their description and without our code.
def broken_rules(folder: Path, n_frames: int) -> list[str]:
    """Return every rule that a result folder breaks; an empty list means it is valid."""
    broken: list[str] = []
    names = sorted(p.name for p in folder.iterdir())
    images = [n for n in names if n.endswith(".tif")]
    if sorted(set(names) - set(images)) != ["res_track.txt"]:
        broken.append(f"other files than images and res_track.txt: {names}")
    digits = 3 if n_frames <= 1000 else 4
    if images != [f"mask{t:0{digits}d}.tif" for t in range(n_frames)]:
        broken.append(f"images are not numbered from 0 to {n_frames - 1} with {digits} digits: {images}")
    frames = [_read(folder / n, broken) for n in images]
    tracks = _read_table(folder / "res_track.txt", broken)
    _check_tracks(tracks, broken)
    _check_presence(tracks, frames, broken)
    return broken


def _read(path: Path, broken: list[str]) -> set[int]:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) != 1:
            broken.append(f"{path.name} has more than one page")
        pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        broken.append(f"{path.name} is not a 16-bit grey image")
    return set(np.unique(pixels).tolist()) - {0}


def _read_table(path: Path, broken: list[str]) -> dict[int, tuple[int, int, int]]:
    tracks: dict[int, tuple[int, int, int]] = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if not re.fullmatch(r"\d+ \d+ \d+ \d+", line):
            broken.append(f"not four numbers with single blanks: {line!r}")
            continue
        label, begin, end, parent = (int(v) for v in line.split())
        if label in tracks:
            broken.append(f"label {label} has two lines")
        tracks[label] = (begin, end, parent)
    if not tracks:
        broken.append("there is no track")
    return tracks


def _check_tracks(tracks: dict[int, tuple[int, int, int]], broken: list[str]) -> None:
    for label, (begin, end, parent) in tracks.items():
        if not 1 <= label <= 65535:
            broken.append(f"label {label} is not a positive 16-bit number")
        if end < begin:
            broken.append(f"track {label} ends before it begins")
        if parent and parent not in tracks:
            broken.append(f"track {label} has the unknown parent {parent}")
        elif parent and tracks[parent][1] >= begin:
            broken.append(f"track {label} begins before its parent {parent} has ended")


def _check_presence(
    tracks: dict[int, tuple[int, int, int]], frames: list[set[int]], broken: list[str]
) -> None:
    for t, present in enumerate(frames):
        expected = {label for label, (begin, end, _) in tracks.items() if begin <= t <= end}
        if present != expected:
            broken.append(f"frame {t} shows {sorted(present)}, the table says {sorted(expected)}")


def table(folder: Path) -> dict[int, tuple[int, int, int]]:
    rows = (line.split() for line in (folder / "res_track.txt").read_text(encoding="ascii").splitlines())
    return {int(label): (int(b), int(e), int(p)) for label, b, e, p in rows}


def test_the_toy_run_keeps_the_rules(run: TrackingResults, tmp_path: Path) -> None:
    assert broken_rules(write_ctc(run, tmp_path / "01_RES"), 8) == []


def test_a_gap_starts_a_new_track_with_a_parent(
    run: TrackingResults, labels: np.ndarray, tmp_path: Path
) -> None:
    folder = write_ctc(run, tmp_path / "01_RES")
    # 1 leaves after frame 2 and comes back on 5 as 2; on 6 it is wholly covered. 3 continues nothing.
    assert table(folder) == {1: (0, 2, 0), 2: (5, 5, 1), 7: (0, 6, 0), 40: (3, 6, 0)}
    for t in range(8):
        image = tifffile.imread(folder / f"mask{t:03d}.tif")
        expected = np.where(labels[t] == 1, 2, labels[t]) if t == 5 else labels[t]
        np.testing.assert_array_equal(image, expected)


def test_the_challenge_s_own_validator_accepts_it(run: TrackingResults, tmp_path: Path) -> None:
    validate = pytest.importorskip("ctc_metrics.scripts.validate")
    folder = write_ctc(replace(run, n_frames=7), tmp_path / "01_RES")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert validate.validate_sequence(str(folder), threads=1)["Valid"] == 1


def test_the_checker_finds_broken_folders(run: TrackingResults, tmp_path: Path) -> None:
    folder = write_ctc(run, tmp_path / "01_RES")
    text = (folder / "res_track.txt").read_text(encoding="ascii")
    for old, new in (
        ("1 0 2 0\n", "1 0 5 0\n"),
        ("2 5 5 1\n", ""),
        ("2 5 5 1", "2 5 5 9"),
        ("2 5 5 1", "2 5 5 7"),
    ):
        (folder / "res_track.txt").write_text(text.replace(old, new), encoding="ascii")
        assert broken_rules(folder, 8), (old, new)
    (folder / "res_track.txt").write_text(text, encoding="ascii")
    (folder / "mask003.tif").unlink()
    assert broken_rules(folder, 8)


@given(
    seen=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12),
    ids=st.lists(st.integers(1, 9), min_size=3, max_size=3, unique=True),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pattern_of_appearances_is_valid(
    seen: list[list[bool]], ids: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids = sorted(ids)
    frames = []
    for t, there in enumerate(seen):
        masks = np.zeros((3, 5, 6), bool)
        for k in range(3):
            masks[k, :, 2 * k : 2 * k + 2] = there[k]
        score = np.ones(3, np.float32)
        frames.append(FrameMasks(t, tuple(ids), masks, score, score, np.zeros(3, bool)))
    run = TrackingResults.from_frames(frames)
    folder = tmp_path_factory.mktemp("ctc") / "01_RES"
    if not any(any(s) for s in seen):
        with pytest.raises(ValueError, match="no object is seen"):
            write_ctc(run, folder)
        assert not folder.exists()
        return
    write_ctc(run, folder)
    assert broken_rules(folder, len(frames)) == []
    # Following the parents from each stretch must lead back to exactly the frames on which the object was seen.
    tracks = table(folder)
    for k, object_id in enumerate(ids):
        frames_of = set()
        for label, (begin, end, _) in tracks.items():
            root = label
            while tracks[root][2]:
                root = tracks[root][2]
            if root == object_id:
                frames_of |= set(range(begin, end + 1))
        assert frames_of == {t for t, s in enumerate(seen) if s[k]}


def test_a_thousand_and_one_frames_get_four_digits(tmp_path: Path) -> None:
    one = np.ones(1, np.float32)
    frame = FrameMasks(0, (1,), np.ones((1, 2, 2), bool), one, one, np.zeros(1, bool))
    run = TrackingResults(
        (2, 2), 1001, lambda t: FrameMasks(t, *(getattr(frame, f) for f in FIELDS)), (ObjectInfo(1),)
    )
    folder = write_ctc(run, tmp_path / "01_RES")
    assert (folder / "mask0000.tif").exists()
    assert (folder / "mask1000.tif").exists()


def test_more_tracks_than_labels_is_an_error() -> None:
    tracks = TrackTable(frozenset(range(1, 65536)))
    assert tracks.label(5, 0) == 5
    with pytest.raises(ValueError, match="65535"):
        tracks.label(5, 2)
