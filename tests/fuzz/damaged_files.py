"""Script: damage recordings, masks and prompts files in many ways, and check what the readers make of them.

``python damaged_files.py CASES SEED`` prints how often which end was seen of which kind of file. Each case ends with
the right value or with an error of the reader's own class in one sentence; nothing on the disk changes; no case takes
long or much memory. It is a process of its own because a crash of a library must not end the tests.
"""

from __future__ import annotations

import collections
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import tifffile
import zarr
from PIL import Image

from napari_sam2.cli.commands.jobs_file import read_jobs
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.options.prompt_options import PromptFileError, read_prompts_file
from napari_sam2.formats import ImportProblem, TrackingResults, export_format, read_masks
from napari_sam2.frames import FrameReadError, SourceError, open_source
from napari_sam2.masks import FrameMasks, encode_rle

COUNT, HEIGHT, WIDTH = 6, 24, 32
SECONDS = 20  # of processor time
MEMORY = 1500 * 2**20  # more than a case may add

STACK = np.random.default_rng(3).integers(0, 255, (COUNT, HEIGHT, WIDTH)).astype(np.uint8)
LABELS = np.zeros((COUNT, HEIGHT, WIDTH), np.uint16)
for _t in range(COUNT):
    LABELS[_t, 2 + _t : 9 + _t, 3:12] = 1
    LABELS[_t, 12:20, 14 + _t : 24 + _t] = 7


class TooSlow(BaseException):
    """A case took too much processor time; no reader catches it."""


# -- whole files ---------------------------------------------------------------------------------------------


def make_recordings(folder: Path) -> None:
    """Write the same frames in every format that is read."""
    tifffile.imwrite(folder / "plain.tif", STACK, photometric="minisblack")
    tifffile.imwrite(
        folder / "imagej.tif", STACK[:, None], imagej=True, metadata={"axes": "TCYX", "unit": "um"}
    )
    tifffile.imwrite(folder / "omexml.ome.tif", STACK, metadata={"axes": "TYX", "PhysicalSizeX": 0.5})
    tifffile.imwrite(folder / "tiled.tif", STACK, photometric="minisblack", compression="zlib", tile=(16, 16))
    tifffile.imwrite(folder / "big.tif", STACK.astype(np.float32), photometric="minisblack", bigtiff=True)
    tifffile.imwrite(folder / "rgb.tif", np.stack([STACK] * 3, -1), photometric="rgb", compression="zlib")
    np.save(folder / "array.npy", STACK)
    for name, mode in (("images", "L"), ("jpegs", "RGB")):
        (folder / name).mkdir()
        for t, frame in enumerate(STACK):
            image = Image.fromarray(frame).convert(mode)
            image.save(folder / name / f"f{t:03d}.{'png' if mode == 'L' else 'jpg'}")
    Image.fromarray(STACK[0].astype(np.uint16) * 257).save(folder / "deep.png")
    pictures = [Image.fromarray(frame) for frame in STACK]
    for ending in ("gif", "webp", "png", "bmp"):
        more = {} if ending == "bmp" else {"save_all": True, "append_images": pictures[1:]}
        pictures[0].save(folder / f"animated.{ending}", **more)
    zarr.create_array(str(folder / "three.zarr"), data=STACK, chunks=(1, HEIGHT, WIDTH))
    zarr.create_array(str(folder / "two.zarr"), data=STACK, chunks=(1, HEIGHT, WIDTH), zarr_format=2)
    zarr.create_array(
        str(folder / "shards.zarr"), data=STACK, chunks=(1, HEIGHT, WIDTH), shards=(2, HEIGHT, WIDTH)
    )
    _make_ome_zarr(folder / "image.ome.zarr")
    with zipfile.ZipFile(folder / "packed.zarr.zip", "w") as packed:
        for file in sorted(p for p in (folder / "three.zarr").rglob("*") if p.is_file()):
            packed.write(file, file.relative_to(folder / "three.zarr"))
    program = imageio_ffmpeg.get_ffmpeg_exe()
    given = [program, *f"-v error -f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -r 5 -i -".split()]
    codecs = {"mp4": "libx264", "avi": "mjpeg", "mkv": "ffv1", "webm": "libvpx", "ts": "mpeg2video"}
    for ending, codec in codecs.items():
        more = ["-c:v", codec, "-strict", "-2", str(folder / f"video.{ending}")]
        subprocess.run([*given, *more], input=STACK.tobytes(), check=True, capture_output=True)


def _make_ome_zarr(path: Path) -> None:
    group = zarr.create_group(str(path))
    group.create_array("0", data=STACK[:, None], chunks=(1, 1, HEIGHT, WIDTH))
    axes = [{"name": n, "type": k} for n, k in zip("tcyx", ("time", "channel", "space", "space"))]
    scale = [{"type": "scale", "scale": [1, 1, 0.5, 0.5]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}


def make_masks(folder: Path) -> None:
    """Write the same labels in every format of masks."""
    frames = [
        FrameMasks(
            t, (1, 7), np.stack([LABELS[t] == i for i in (1, 7)]), np.ones(2), np.ones(2), np.zeros(2, bool)
        )
        for t in range(COUNT)
    ]
    results = TrackingResults.from_frames(frames)
    for name in ("tiff", "ome-tiff", "ome-zarr", "coco", "ctc", "davis"):
        export_format(name).write(results, folder / export_format(name).file_name)
    np.save(folder / "labels.npy", LABELS.astype(np.int32))
    zarr.create_array(str(folder / "labels.zarr"), data=LABELS, chunks=(1, HEIGHT, WIDTH), zarr_format=2)
    polygon = [[3, 2, 12, 2, 12, 9, 3, 9]]
    image = {"file_name": "0.png", "height": HEIGHT, "width": WIDTH}
    one = {"category_id": 1, "iscrowd": 0, "area": 63, "bbox": [3, 2, 9, 7]}
    marks = [
        {"segmentation": polygon},
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [100, 50, HEIGHT * WIDTH - 150]}},
        {},
    ]
    annotations = [{"id": k, "image_id": 1, "track_id": k, **one, **mark} for k, mark in enumerate(marks, 1)]
    _write(folder / "polygons.json", {"images": [{"id": 1, **image}], "annotations": annotations})
    video = {"id": 1, "height": HEIGHT, "width": WIDTH, "length": 2, "file_names": ["a.png", "b.png"]}
    track = {"id": 4, "video_id": 1, "segmentations": [polygon, None], "bboxes": [[3, 2, 9, 7], [0, 0, 4, 4]]}
    _write(folder / "video.json", {"videos": [video], "annotations": [track]})


def make_documents(folder: Path) -> None:
    """Write prompts files and a list of jobs."""
    mask = {"size": [HEIGHT, WIDTH], "counts": encode_rle(LABELS[1] == 1).counts}
    entries = [
        {"frame": 0, "object_id": 1, "points": [[3, 4], [5.5, 6]], "labels": [1, 0]},
        {"frame": 2, "object_id": 3, "box": [1, 2, 9, 8]},
        {
            "frame": 1,
            "object_id": 2,
            "prompt": {"mask": mask},
        },
    ]
    _write(
        folder / "prompts.json", {"prompts": entries, "objects": [{"id": 1, "name": "a", "color": "#ff0000"}]}
    )
    _write(
        folder / "jobs.json",
        {"defaults": {"model": "nano"}, "jobs": [{"source": "a.tif", "box": ["0:1:1,2,9,8"]}]},
    )


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


# -- damage --------------------------------------------------------------------------------------------------

ABSURD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**40, 2**63, 2**64, 10**400, -(2**63), 1e9, 1e300, -0.5),
    *(float("nan"), float("inf"), None, True, False, "", "0", "tcyx", "x" * 3000, "\x1b[2J\u202e\0", "../../x", "/"),
    *([], {}, [[]], [1, 2, 3], [None], {"a": 1}, [-1, 2**40], ["t", "y", "x"], [[[[[[]]]]]]),
    *("uint8", "<f8", "|O", "|V9", "object", "complex128", "pickle", "zlib", "M8[s]"),
)  # fmt: skip


def damaged(data: bytes, rng: random.Random, name: str) -> bytes:
    """Damage the content of a file, half of the time in a way that its format understands."""
    change = None
    if rng.random() < 0.55:
        head = data[:16]
        if name.endswith(("json", ".zarray", ".zattrs", ".zgroup")):
            change = _json
        elif head[:2] in (b"II", b"MM"):
            change = rng.choice((_tiff_tag, _text))
        elif head[:4] in (b"\x89PNG", b"\x93NUM") or head[4:8] == b"ftyp":
            change = {b"\x89": _png_chunk, b"\x93": _text}.get(head[:1], _box)
        elif head[:2] == b"PK" or name.endswith(".txt"):
            change = _text
    with suppress(struct.error, OverflowError):  # damaged before, and no longer what it was
        return (change or _bytes)(data, rng)
    return _bytes(data, rng)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    bad = bytearray(data)
    kind = rng.choice("flip bytes cut insert empty zeros noise twice word".split())
    size = len(bad)
    if kind == "empty" or not size:
        return b""
    place = rng.randrange(min(size, 400) if rng.random() < 0.5 else size)
    if kind == "flip":
        bad[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        for _ in range(rng.randint(1, 12)):
            bad[rng.randrange(size)] = rng.randrange(256)
    elif kind == "cut":
        del bad[place:]
    elif kind == "insert":
        bad[place:place] = rng.randbytes(rng.randint(1, 9))
    elif kind in ("zeros", "noise"):
        length = rng.randint(1, 200)
        bad[place : place + length] = bytes(length) if kind == "zeros" else rng.randbytes(length)
    elif kind == "twice":
        bad += bad[place:]
    else:
        number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)))
        bad[place : place + 4] = struct.pack(rng.choice("<>") + "I", number)
    return bytes(bad)


def _json(data: bytes, rng: random.Random) -> bytes:
    try:
        document = json.loads(data)
    except ValueError:
        return _bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(_places({"": document}))
        value = rng.choice(ABSURD)
        if rng.random() < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif rng.random() < 0.1:
            holder[key] = [holder[key]] * rng.choice((2, 300))
        else:
            holder[key] = value
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Return all places of values in a document, without the outermost."""
    found: list[tuple[Any, Any]] = []
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        found.append((node, key))
        if isinstance(value, (dict, list)):
            found += _places(value)
    return found[1:] if "" in node and len(found) > 1 else found


def _text(data: bytes, rng: random.Random) -> bytes:
    """Replace a number or word in text: OME-XML, headers of arrays, tables."""
    places = list(re.finditer(rb"(?<=[\"'=(, :])[\w.+-]{1,40}(?=[\"'), :<])", data))
    if not places:
        return _bytes(data, rng)
    place = rng.choice(places)
    value = str(rng.choice(ABSURD)).encode("utf-8", "surrogatepass")[:3000]
    if rng.random() < 0.7:  # offsets behind it stay right
        value = value[: len(place[0])].ljust(len(place[0]))
    return data[: place.start()] + value + data[place.end() :]


def _tiff_tag(data: bytes, rng: random.Random) -> bytes:
    """Change type, count or value of a tag, or the place of the next directory."""
    bad, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    directories, where = [], struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    with suppress(struct.error, OverflowError):
        while where and len(directories) < COUNT:
            directories.append(where)
            count = struct.unpack_from(order + ("Q" if big else "H"), data, where)[0]
            end = where + (8 + 20 * count if big else 2 + 12 * count)
            where = struct.unpack_from(order + ("Q" if big else "I"), data, end)[0]
    start = rng.choice(directories or [0])
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0] % 64
    tag = start + (8 + 20 * rng.randrange(count + 1) if big else 2 + 12 * rng.randrange(count + 1))
    field = rng.choice((0, 2, 4, 8))
    length = 2 if field < 4 else 4
    number = rng.choice(
        (0, 1, 2, 3, 4, 8, 16, 32773, 34925, 50000, 65535, 2**31 - 1, 2**32 - 1, rng.getrandbits(32))
    )
    packed = struct.pack(order + "I", number)
    bad[tag + field : tag + field + length] = packed[:length] if order == "<" else packed[-length:]
    return bytes(bad)


def _png_chunk(data: bytes, rng: random.Random) -> bytes:
    """Change the content of a chunk and set its checksum right."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        chunks.append((place, length))
        place += 12 + length
    place, length = rng.choice(chunks[:1] * 3 + chunks)
    content = bytearray(data[place + 4 : place + 8 + length])
    at = rng.randrange(4, max(5, len(content)))
    content[at : at + 4] = struct.pack(
        ">I", rng.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1, rng.getrandbits(32)))
    )[: max(0, len(content) - at)]
    end = place + 12 + length
    return data[: place + 4] + bytes(content) + struct.pack(">I", zlib.crc32(content)) + data[end:]


def _box(data: bytes, rng: random.Random) -> bytes:
    """Change a number in one of MP4's boxes."""
    bad = bytearray(data)
    names = rb"moov|mvhd|tkhd|mdhd|stsd|avc1|stts|ctts|stsc|stsz|stco|elst|stss|trun"
    boxes = [match.start() for match in re.finditer(names, data)]
    place = rng.choice(boxes or [4]) + rng.choice((-4, 4, 8, 12, 16, 20))
    number = rng.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1, rng.getrandbits(32)))
    bad[max(0, place) : place + 4] = struct.pack(">I", number)
    return bytes(bad)


def damage(path: Path, rng: random.Random) -> Path | None:
    """Damage a file, or one file of a folder; returns which, or None where nothing was changed."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    described = [p for p in files if p.suffix in (".json", ".txt", "") and p.name[:1] in ".zr"]
    file = rng.choice(described if described and rng.random() < 0.5 else files)
    kind = rng.random()
    if kind < 0.03:
        return None
    if kind > 0.96:
        file.unlink()
        if kind > 0.975:
            file.mkdir() if kind > 0.985 else file.symlink_to("/dev/zero" if file == path else path.parent)
        return file
    data = file.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = damaged(data, rng, file.name)
    file.write_bytes(data)
    return file


# -- what has to hold ----------------------------------------------------------------------------------------


def check_sentence(error: BaseException) -> None:
    text = str(error)
    assert text, f"{error!r} says nothing"
    assert "\n" not in text, f"more than a line: {text!r}"
    assert len(text) < 1200 or not isinstance(error, ValueError), f"a long sentence: {text!r}"


def look_at_recording(path: Path, changed: Path | None) -> str:
    """Open a recording and read frames; those that lie in files of their own and were not damaged are right."""
    try:
        source = open_source(path)
    except SourceError as error:
        check_sentence(error)
        return "refused"
    end = "read"
    with source:
        frames = source.frames()
        for frame in {0, 1, len(frames) - 1} & set(range(len(frames))):
            try:
                shown = frames.frame(frame)
            except FrameReadError as error:
                check_sentence(error)
                end = "a frame is lost"
                continue
            assert shown.shape == (*frames.size, 3), shown.shape
            assert shown.dtype == np.uint8
            lossless = not path.name.startswith(("video", "jpegs", "animated.webp"))
            if changed is None:
                assert len(frames) == (1 if path.name in ("deep.png", "animated.bmp") else COUNT)
                assert frames.size == (HEIGHT, WIDTH)
            if lossless and (
                changed is None or (_apart(path, changed, frame) and frames.size == (HEIGHT, WIDTH))
            ):
                values = np.asarray(source.array[(frame,) if len(source.axes) > 2 else ()]).reshape(
                    HEIGHT, WIDTH, -1
                )
                divisor = 257 if path.name == "deep.png" else 1
                assert np.array_equal(values[..., 0] // divisor, STACK[frame]), f"frame {frame} is wrong"
    return end


def _apart(path: Path, changed: Path, frame: int) -> bool:
    """Return whether a frame lies in another file than the damaged one, and that holds pixels alone."""
    if path.name == "images":
        return changed.is_file() and not changed.is_symlink() and changed.name != f"f{frame:03d}.png"
    if path.name in ("three.zarr", "two.zarr", "image.ome.zarr"):
        number = re.match(
            r"(\d+)", changed.relative_to(path).as_posix().removeprefix("0/").removeprefix("c/")
        )
        return changed.suffix != ".json" and number is not None and int(number[1]) != frame
    return False


def look_at_masks(path: Path, changed: Path | None) -> str:
    try:
        found = read_masks(path)
    except ImportProblem as problem:
        check_sentence(problem)
        assert str(path) in str(problem)
        return "refused"
    except FileNotFoundError as error:
        assert not path.exists()
        check_sentence(error)
        return "refused"
    for object_id, masklet in found.masklets.items():
        assert 1 <= object_id <= 65535
        assert masklet.size == found.size
        for frame in masklet.frames[:3]:
            assert 0 <= frame < found.n_frames
            assert masklet.mask(frame).shape == found.size
    assert all(frame >= 0 for boxes in found.boxes.values() for frame in boxes)
    list(zip(range(5), found.prompts()))
    if changed is None and path.suffix != ".json":
        for t in range(COUNT):
            assert np.array_equal(found.masklets[1].mask(t) + 7 * found.masklets[7].mask(t), LABELS[t])
    return "read"


def look_at_document(path: Path, changed: Path | None) -> str:
    try:
        if path.name == "jobs.json":
            assert all(job.project for job in read_jobs(path))
        else:
            for (frame, object_id), prompt in read_prompts_file(path, COUNT, (HEIGHT, WIDTH)).items():
                assert 0 <= frame < COUNT
                assert 1 <= object_id <= 65535
                prompt.check((HEIGHT, WIDTH))
    except (PromptFileError, UsageError, CommandError) as error:
        assert changed is not None or path.name == "jobs.json"  # its recording is not there
        check_sentence(error)
        return "refused"
    return "read"


WORLDS: dict[str, tuple[Callable[[Path], None], Callable[[Path, Path | None], str], float]] = {
    "recordings": (make_recordings, look_at_recording, 0.5),
    "masks": (make_masks, look_at_masks, 0.4),
    "documents": (make_documents, look_at_document, 0.1),
}


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for p in folder.rglob("*"):
        stat = p.lstat()
        found[str(p)] = (stat.st_mode, stat.st_size if not p.is_dir() else 0, stat.st_mtime_ns)
    return found


def _too_slow(number: int, frame: Any) -> None:
    raise TooSlow(f"more than {SECONDS} s of processor time")


def one_case(world: str, originals: Path, case: str) -> str:
    """Damage a copy of one file and look at it; returns the end."""
    rng = random.Random(case)
    path = rng.choice(sorted(originals.iterdir()))
    place = originals.parent / "copy"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    copy = place / path.name
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)
    changed = damage(copy, rng)
    before = _state(place)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        end = WORLDS[world][1](copy, changed)
    except BaseException as error:
        kept = Path(tempfile.gettempdir()) / "damaged-files"
        shutil.copytree(place, kept / re.sub(r"\W", "-", case), symlinks=True, dirs_exist_ok=True)
        raise AssertionError(f"case {case!r}, {path.name}, damaged {changed}: {error!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) * 1024
    assert more < MEMORY, f"case {case!r}, {path.name}, damaged {changed}: {more >> 20} MiB"
    assert _state(place) == before, f"case {case!r}, {path.name}: something was written"
    return f"{world}: {end}"


def run(cases: int, seed: int, folder: Path, keep_going: bool = False) -> collections.Counter[str]:
    """Try ``cases`` kinds of damage; returns how often which end was seen."""
    for world, (make, _, _) in WORLDS.items():
        (folder / world).mkdir()
        make(folder / world)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    signal.signal(signal.SIGPROF, _too_slow)
    warnings.simplefilter("ignore")
    rng, seen = random.Random(seed), collections.Counter[str]()
    for case in range(cases):
        world = rng.choices(list(WORLDS), [share for _, _, share in WORLDS.values()])[0]
        try:
            seen[one_case(world, folder / world, f"{world} {seed} {case}")] += 1
        except AssertionError as error:
            if not keep_going:
                raise
            seen["failed"] += 1
            print(error, file=sys.stderr, flush=True)
    return seen


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, resource.RLIM_INFINITY))
    where = Path(tempfile.mkdtemp())
    try:
        print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), where, "--keep-going" in sys.argv)))
    finally:
        shutil.rmtree(where, ignore_errors=True)
