"""Damage the headers of small recordings in every way, open them, and read frames of what opens.

As a script: ``python odd_media.py CASES SEED [VIDEO_CASES]`` (needs the package; prints what was seen). Videos are
counted apart because each one starts ffmpeg several times.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import random
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_sam2.frames import DamagedSourceWarning, FrameReadError, SourceError, open_source

# Seconds of this process's own time: what other processes do to the machine is no hang.
MOST_SECONDS = 5.0
# Most of a header lies in the first bytes of a file; TIFF keeps a second one at its end.
HEADER = 600
_ODD = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65536, 2**31 + 8)


def recordings() -> dict[str, bytes]:
    """Small recordings by file name."""
    stack = np.random.default_rng(3).integers(0, 4000, (5, 12, 20)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tifffile.imwrite(folder / "plain.tif", stack, photometric="minisblack")
        tifffile.imwrite(folder / "packed.tif", stack, photometric="minisblack", compression="zlib")
        tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, metadata={"axes": "TYX", "unit": "um"})
        metadata = {"axes": "TYX", "PhysicalSizeX": 0.5}
        tifffile.imwrite(folder / "ome.ome.tif", stack, photometric="minisblack", metadata=metadata)
        tifffile.imwrite(folder / "big.tif", stack, photometric="minisblack", bigtiff=True, byteorder=">")
        np.save(folder / "array.npy", stack)
        for ending in ("png", "bmp", "jpg", "webp", "ppm"):
            picture = Image.fromarray((stack[0] >> 4).astype(np.uint8)).convert("RGB")
            picture.save(folder / f"picture.{ending}")
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One damaged copy: bits, bytes, whole numbers, text, holes, and ends that are missing."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 12))):
        near_end = rng.random() < 0.3
        place = rng.randrange(min(HEADER, len(data)))
        place = len(data) - 1 - place if near_end else place
        kind = rng.choice(
            ("flip", "byte", "number", "number", "short", "move", "text", "cut", "hole", "more")
        )
        if kind == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            data[place] = rng.randrange(256)
        elif kind == "number":
            data[place : place + 4] = struct.pack(rng.choice(("<I", ">I")), rng.choice(_ODD))
        elif kind == "short":
            data[place : place + 2] = struct.pack(rng.choice(("<H", ">H")), rng.randrange(65536))
        elif kind == "move":
            source = rng.randrange(len(data))
            data[place : place + 12] = data[source : source + 12]
        elif kind == "text":
            data[place : place + 3] = rng.choice((b"-1,", b"999", b"(((", b"\x00\xff<", b"1e9"))
        elif kind == "cut" and rng.random() < 0.3:
            data = data[: max(1, place)]
        elif kind == "hole":
            data[place : place + 16] = bytes(16)
        elif kind == "more":
            data[place:place] = rng.randbytes(rng.randint(1, 9))
    return bytes(data)


class Hung(BaseException):
    """A case took longer than any header is worth; no Exception, so that nothing in between handles it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`Hung` after so much computing, or twenty times as much waiting."""

    def stop(*_: object) -> None:
        raise Hung

    signal.signal(signal.SIGVTALRM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 20 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def one_sentence(error: Exception) -> None:
    text = str(error)
    assert text
    assert "\n" not in text, text
    assert len(text) < 600, text


def look(path: Path) -> str:
    """Open a file and read some of its frames; returns what happened. Any other exception is a fault."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        outcome = _look(path)
    # Pillow's word about a header that claims a very large picture is as good as ours.
    expected = (DamagedSourceWarning, Image.DecompressionBombWarning)
    strange = [w for w in said if not issubclass(w.category, expected)]
    assert not strange, strange[0].message
    return outcome


def _look(path: Path) -> str:
    try:
        source = open_source(path)
    except SourceError as error:
        one_sentence(error)
        return "refused"
    lost = 0
    with source:
        try:
            frames = source.frames()
        except (FrameReadError, ValueError, TypeError) as error:
            one_sentence(error)
            return "opened, no frames"
        height, width = frames.size
        assert height > 0
        assert width > 0
        for t in sorted({0, len(frames) // 2, len(frames) - 1}):
            try:
                picture = frames.frame(t)
                assert picture.shape == (height, width, 3)
                assert picture.dtype == np.uint8
            except FrameReadError as error:
                one_sentence(error)
                lost += 1
    return "frames lost" if lost else "read"


def run(cases: int, seed: int, folder: Path, files: dict[str, bytes]) -> collections.Counter[str]:
    """Try ``cases`` damaged copies of ``files`` in turn; returns how often which end was seen."""
    rng = random.Random(seed)
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    logging.getLogger("tifffile").propagate = False
    seen: collections.Counter[str] = collections.Counter()
    names = list(files)
    for case in range(cases):
        name = names[case % len(names)]
        path = folder / name
        path.write_bytes(mutated(files[name], rng))
        try:
            with limited(MOST_SECONDS):
                seen[look(path)] += 1
        except (Exception, Hung) as error:
            raise AssertionError(f"case {case} of seed {seed}, {name}, kept as {path}") from error
    return seen


def videos() -> dict[str, bytes]:
    """Small videos by file name."""
    import subprocess

    from napari_sam2.frames.video.ffmpeg import executable

    with tempfile.TemporaryDirectory() as name:
        for ending in ("mp4", "mkv", "avi"):
            out = f"{name}/video.{ending}"
            made = ["-f", "lavfi", "-i", "testsrc2=s=32x24:r=10:d=0.8", "-c:v", "mpeg4"]
            subprocess.run([executable(), "-v", "error", *made, out], check=True)
        return {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}


def main() -> None:
    """Run as many cases as were asked for."""
    cases, seed = int(sys.argv[1]), int(sys.argv[2])
    video_cases = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    folder, start = Path(tempfile.mkdtemp()), time.monotonic()
    print("files", dict(run(cases, seed, folder, recordings())), f"{time.monotonic() - start:.0f} s")
    if video_cases:
        print("videos", dict(run(video_cases, seed, folder, videos())), f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
