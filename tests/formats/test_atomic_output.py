from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import FORMATS, TrackingResults, export_format
from napari_sam2.formats.atomic_output import SIGNATURE, foreign_part, staged
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo, object_color

ALL = [
    pytest.param(
        name, marks=pytest.mark.skipif(name == "geff" and not find_spec("geff"), reason="needs geff")
    )
    for name in FORMATS
]


@pytest.mark.parametrize("name", ALL)
def test_every_format_refuses_to_overwrite_unless_told(
    run: TrackingResults, tmp_path: Path, name: str
) -> None:
    fmt = export_format(name)
    path = fmt.write(run, tmp_path / fmt.file_name)
    before = content(path)
    with pytest.raises(FileExistsError, match="exists already"):
        fmt.write(run, path)
    assert content(path) == before
    fmt.write(run.select([7]), path, overwrite=True)
    assert content(path) != before
    assert [p.name for p in tmp_path.iterdir()] == [fmt.file_name]


@pytest.mark.parametrize("name", ALL)
def test_every_writer_refuses_by_itself(run: TrackingResults, tmp_path: Path, name: str) -> None:
    module, function = export_format(name).writer.split(":")
    write = getattr(import_module(f"napari_sam2.formats.{module}"), function)
    path = tmp_path / export_format(name).file_name
    assert write(run, path) == path
    before = content(path)
    with pytest.raises(FileExistsError, match=f"{path} exists already: choose another name or allow it"):
        write(run.select([7]), path)
    assert content(path) == before


@pytest.mark.parametrize("name", ALL)
def test_a_failure_midway_keeps_the_old_export_and_leaves_no_rubbish(
    run: TrackingResults, tmp_path: Path, name: str
) -> None:
    fmt = export_format(name)
    path = fmt.write(run, tmp_path / fmt.file_name)
    before = content(path)

    def fails(t: int) -> FrameMasks:
        if t == 4:
            raise OSError("disk full")
        return run.masks(t)

    with pytest.raises(OSError, match="disk full"):
        fmt.write(replace(run, masks=fails), path, overwrite=True)
    assert content(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [fmt.file_name]


@pytest.mark.parametrize("name", ALL)
def test_stopping_with_ctrl_c_leaves_no_rubbish(run: TrackingResults, tmp_path: Path, name: str) -> None:
    def stop(t: int) -> None:
        if t == 4:
            raise KeyboardInterrupt

    fmt = export_format(name)
    with pytest.raises(KeyboardInterrupt):
        fmt.write(run.watched(stop), tmp_path / fmt.file_name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ALL)
def test_every_format_streams(tmp_path: Path, name: str) -> None:
    alive: weakref.WeakSet[FrameMasks] = weakref.WeakSet()
    most = 0
    picture = np.zeros((32, 32, 3), np.uint8)
    one = np.ones(1, np.float32)

    def read(t: int) -> FrameMasks:
        nonlocal most
        mask = np.zeros((1, 32, 32), bool)
        mask[0, t % 20 : t % 20 + 8, 4:12] = True
        found = Unhashed(t, (1,), mask, one, one, np.zeros(1, bool))
        alive.add(found)
        most = max(most, len(alive))
        return found

    run = TrackingResults(
        (32, 32),
        40,
        read,
        (ObjectInfo(1),),
        Calibration(),
        intensity=lambda t: picture,
        channels=("r", "g", "b"),
        picture=lambda t: picture,
    )
    fmt = export_format(name)
    fmt.write(run, tmp_path / fmt.file_name)
    assert 1 <= most <= 3


class Unhashed(FrameMasks):
    """Can be kept in a weak set: compared by identity."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.mark.parametrize("name", ["ctc", "davis", "ome-zarr"])
def test_a_folder_with_other_files_is_never_replaced(run: TrackingResults, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("all of it", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        export_format(name).write(run, tmp_path / "home", overwrite=True)
    assert precious.read_text(encoding="utf-8") == "all of it"


@pytest.mark.parametrize("name", ["tiff", "ome-tiff", "coco", "tracks", "csv", "mp4"])
@pytest.mark.parametrize("kind", ["another program's", "edited", "a link", "a folder"])
def test_a_file_that_is_no_export_is_never_replaced(
    run: TrackingResults, tmp_path: Path, name: str, kind: str
) -> None:
    fmt = export_format(name)
    path, other = tmp_path / fmt.file_name, tmp_path / "other"
    if kind == "a folder":
        (path / "inside").mkdir(parents=True)
    elif kind == "another program's":
        path.write_bytes(b"track_id,t,y,x\n1,0,2,3\n" if path.suffix == ".csv" else b'{"images": []}')
    else:
        fmt.write(run, path)
        path.rename(other)
        if kind == "a link":
            path.symlink_to(other)
        else:  # opened in a spreadsheet, or another program, and saved
            data = other.read_bytes().replace(SIGNATURE.encode(), b"Some other program")
            path.write_bytes(data.replace(b"name", b"name,remark", 1))
    before = content(tmp_path)
    with pytest.raises(
        FileExistsError, match=rf"{path} is .* and is not replaced: .*, or remove it yourself"
    ):
        fmt.write(run, path, overwrite=True)
    assert content(tmp_path) == before
    assert path.is_symlink() == (kind == "a link")
    if kind == "another program's":
        assert fmt.write(run.select([7]), path, overwrite="confirmed").is_file()
        assert content(path) != before


@pytest.mark.parametrize("name", ALL)
def test_an_empty_file_or_folder_may_be_replaced(run: TrackingResults, tmp_path: Path, name: str) -> None:
    fmt = export_format(name)
    path = tmp_path / fmt.file_name
    path.mkdir() if name in ("ctc", "davis", "ome-zarr") else path.touch()
    assert content(fmt.write(run, path, overwrite=True)) != {}


def test_the_comment_of_a_long_video_is_found(tmp_path: Path) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    empty = TrackingResults(
        (16, 16), 3_000, lambda t: FrameMasks.empty(t, (16, 16)), (), picture=lambda t: picture
    )
    path = export_format("mp4").write(empty, tmp_path / "a.mp4", ids=False)
    assert foreign_part(path) is None


def test_a_folder_of_files_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where nothing that is open can be renamed."""
    with staged(tmp_path / "a.txt") as part:
        part.write_text(SIGNATURE, encoding="utf-8")

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Access is denied", str(source))

    monkeypatch.setattr("napari_sam2.formats.atomic_output.os.replace", refuse)
    sentence = r"a\.txt can't be replaced: close the programs that have it open"
    with pytest.raises(PermissionError, match=sentence), staged(tmp_path / "a.txt", overwrite=True) as part:
        part.write_text("2", encoding="utf-8")
    assert content(tmp_path) == {f"{tmp_path.name}/a.txt": SIGNATURE.encode()}


@pytest.mark.parametrize("name", ["ctc", "davis", "ome-zarr"])
def test_a_folder_that_only_looks_like_an_export_is_never_replaced(
    run: TrackingResults, tmp_path: Path, name: str
) -> None:
    """The same files, written by another program: without the signature."""
    fmt = export_format(name)
    path = fmt.write(run, tmp_path / "alike")
    for file in (f for f in path.rglob("*") if f.is_file()):
        file.write_bytes(file.read_bytes().replace(SIGNATURE.encode(), b"some other program"))
    before = content(path)
    with pytest.raises(FileExistsError, match=r"alike is a folder with other files in it \(.+\) and is not"):
        fmt.write(run, path, overwrite=True)
    assert content(path) == before


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("ctc", "mask999.tif"),
        ("davis", "99999.png"),
        ("davis", "0001/movie.png"),
        ("ome-zarr", "0/movie.mp4"),
        ("ome-zarr", "2024-movie.tif"),
    ],
)
def test_an_export_to_which_something_was_added_is_never_replaced(
    run: TrackingResults, tmp_path: Path, name: str, foreign: str
) -> None:
    fmt = export_format(name)
    path = fmt.write(run, tmp_path / "out")
    added = path / foreign
    added.parent.mkdir(exist_ok=True)
    added.write_text("precious", encoding="utf-8")
    with pytest.raises(FileExistsError, match=foreign.split("/")[0 if name == "davis" else -1]):
        fmt.write(run, path, overwrite=True)
    assert added.read_text(encoding="utf-8") == "precious"


def test_remains_of_a_killed_process_are_removed_and_others_are_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with staged(tmp_path / "a.txt") as part:
        part.write_text("1", encoding="utf-8")
        own = part.name
    host, _, rest = own.partition("-")
    dead = rest.replace(str(os.getpid()), str(ended.pid), 1)
    names = {
        "dead": f"{host}-{dead}",
        "running": own,
        "other host": f".00000000-{dead}",
        "other export": f"{host}-{dead}".replace("a.txt", "b.txt"),
        "was open on Windows": own.replace(".part.a.txt", ".old.a.txt"),
    }
    for name in names.values():
        (tmp_path / name).write_text("half", encoding="utf-8")
    with staged(tmp_path / "a.txt", overwrite="confirmed") as part:
        part.write_text("2", encoding="utf-8")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.txt", names["running"], names["other host"]}
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "2"
    # Killed between the two renames of a folder: the older export comes back.
    (tmp_path / "a.txt").unlink()
    (tmp_path / names["dead"].replace(".part.", ".old.")).write_text("older", encoding="utf-8")
    with pytest.raises(OSError, match="disk full"), staged(tmp_path / "a.txt"):
        raise OSError("disk full")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "older"


def test_a_file_does_not_replace_a_folder(run: TrackingResults, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").touch()
    with pytest.raises(
        FileExistsError, match=r"sub is a folder with other files in it \(x\) and is not replaced"
    ):
        export_format("coco").write(run, tmp_path / "sub", overwrite=True)
    assert (tmp_path / "sub" / "x").exists()


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "b" / "c.txt") as part:
        part.write_text("1", encoding="utf-8")
        assert not (tmp_path / "a" / "b" / "c.txt").exists()
        assert part.suffix == ".txt"
    assert (tmp_path / "a" / "b" / "c.txt").read_text(encoding="utf-8") == "1"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that can't be written")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), staged(tmp_path / "a.txt") as part:
        part.write_text("1", encoding="utf-8")


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ValueError, match=r"'gif'.*tiff.*davis"):
        export_format("gif")


def test_masks_of_another_size_are_refused(run: TrackingResults, tmp_path: Path) -> None:
    wrong = replace(run, size=(8, 11))
    with pytest.raises(ValueError, match=r"7 × 11.*8 × 11"):
        export_format("tiff").write(wrong, tmp_path / "a.tif")


def test_unknown_objects_are_left_out(run: TrackingResults) -> None:
    assert [f.object_ids for f in run.select([40, 1]).frames()][:3] == [(1,), (1,), (1, 40)]


@pytest.mark.parametrize(
    "bad",
    [
        {"axis": "time"},
        {"axis": "x"},
        {"scale": (0.0, 1.0, 1.0)},
        {"scale": (1.0, float("nan"), 1.0)},
        {"frame_rate": -1.0},
    ],
)
def test_impossible_calibrations_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        Calibration(**bad)


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(),
        Calibration("z", (2.0, 0.5, 0.25), ("µm", "micrometer", None)),
        Calibration("t", frame_times=(0.0, 0.4, 1.7), frame_rate=29.97),
    ],
)
def test_calibrations_survive_json(calibration: Calibration) -> None:
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    "bad",
    [{"scale": 3}, {"scale": [1]}, {"units": ["s"]}, {"frame_times": 1}, {"frame_rate": "x"}, {"axis": None}],
)
def test_damaged_calibrations_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        Calibration.from_json(bad)


def test_the_first_hundred_objects_have_colours_that_differ() -> None:
    colors = np.array([object_color(i) for i in range(1, 101)], int)
    assert len({tuple(c) for c in colors.tolist()}) == 100
    neighbours = np.abs(np.diff(colors, axis=0)).sum(1)
    assert neighbours.min() > 150


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}
