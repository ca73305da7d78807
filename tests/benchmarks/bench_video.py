"""How fast videos open and play, as ratios to what ffmpeg itself needs.

    python tests/benchmarks/bench_video.py [--frames 20000] [--read 600] [--video FILE]

The video is made first (1080p, moving test pattern, small bitrate) and kept in the temporary folder. Ratios are
printed because they mean the same on a busy machine; each is the median of several rounds in turn.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_sam2.frames.video.ffmpeg import STREAM, executable, input_name
from napari_sam2.frames.video.reader import VideoReader

MIB = 2**20

_OPEN = """
import resource, sys, time
import dask.array, imageio_ffmpeg, numpy
from napari_sam2.frames import open_source
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rss, cpu, wall = peak(), used(), time.perf_counter()
source = open_source(sys.argv[1])
print(time.perf_counter() - wall, used() - cpu, peak() - rss, peak(),
      resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, len(source.array))
source.close()
"""


def make_video(frames: int) -> Path:
    """A 1080p video of so many frames, made once."""
    path = Path(tempfile.gettempdir()) / f"napari-sam2-bench-{frames}.mp4"
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        # A short clip, repeated without encoding it again: making 20,000 frames would take minutes.
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "clip.mp4"
            source = "testsrc2=s=1920x1080:r=30:d=10"
            _ffmpeg(
                "-f",
                "lavfi",
                "-i",
                source,
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-b:v",
                "400k",
                "-bf",
                "2",
                clip,
            )
            _ffmpeg(
                "-stream_loop",
                str(-(-frames // 300) - 1),
                "-i",
                clip,
                "-frames:v",
                str(frames),
                "-c",
                "copy",
                part,
            )
        os.replace(part, path)
    return path


@dataclass(frozen=True)
class Pace:
    """What reading some frames took: wall-clock and CPU seconds, of this process and of ffmpeg together."""

    wall: float
    cpu: float


def measured(job: Callable[[], object]) -> Pace:
    """Time a job whose child processes end within it."""
    cpu, begin = _cpu(), time.perf_counter()
    job()
    return Pace(time.perf_counter() - begin, _cpu() - cpu)


def raw_pipe(path: Path, count: int) -> Pace:
    """ffmpeg writing rgb24 into a pipe that is only drained."""
    # fmt: off
    command = [executable(), "-v", "error", "-nostdin", "-i", input_name(str(path)), "-map", STREAM,
               "-fps_mode", "passthrough", "-frames:v", str(count), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    # fmt: on
    size = 1920 * 1080 * 3

    def drain() -> None:
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=size) as process:
            assert process.stdout is not None
            while process.stdout.read(size):
                pass

    return measured(drain)


def reading(path: Path, frames: Callable[[int], Iterable[int]]) -> Pace:
    """A reader that is open already, reading some frames one after the other."""
    reader = VideoReader(path)

    def read() -> None:
        for t in frames(len(reader)):
            reader.frame(t)
        reader.close()

    return measured(read)


def flat_memory(path: Path, step: int) -> tuple[float, float]:
    """Peak memory of this process in MiB after a tenth of the video was read, and after all of it."""
    reader = VideoReader(path)
    peaks = []
    for t in range(0, len(reader), step):
        reader.frame(t)
        if not peaks and t >= len(reader) // 10:
            peaks.append(_peak())
    peaks.append(_peak())
    reader.close()
    return peaks[0], peaks[1]


def main() -> None:
    """Run all measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--read", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--video", type=Path, help="measure this 1080p video instead")
    parser.add_argument("--all", action="store_true", help="read every frame for the memory figure (minutes)")
    options = parser.parse_args()
    path = options.video or make_video(options.frames)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True, check=True
    )
    wall, cpu, grown, peak, child, count = map(float, done.stdout.split())
    print(f"open {count:.0f} frames: {cpu:.2f} s CPU (limit 1), {wall:.2f} s wall, with ffmpeg's two runs")
    print(
        f"memory of opening: +{grown:.0f} MiB over imports, {peak:.0f} MiB in all (limit 100); ffmpeg {child:.0f} MiB"
    )
    paces: dict[str, list[Pace]] = {"raw": [], "forwards": [], "backwards": []}
    for _ in range(options.rounds):
        paces["raw"].append(raw_pipe(path, options.read))
        paces["forwards"].append(reading(path, lambda _: range(options.read)))
        paces["backwards"].append(reading(path, lambda n: range(n - 1, n - 1 - options.read, -1)))
    raw = paces.pop("raw")
    print(
        f"raw pipe: {options.read / min(pace.wall for pace in raw):.0f} frames/s at best on this machine now"
    )
    for name, rounds in paces.items():
        wall = statistics.median(r.wall / p.wall for r, p in zip(raw, rounds))
        cpu = statistics.median(r.cpu / p.cpu for r, p in zip(raw, rounds))
        print(
            f"{name}: {wall:.2f} of the raw pipe's speed, {cpu:.2f} by CPU time (which a busy machine does not bend)"
        )
    before, after = flat_memory(path, 1 if options.all else 7)
    print(
        f"peak memory after a tenth of the frames {before:.0f} MiB, after all {after:.0f} MiB: {after / before:.2f}"
    )


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def _ffmpeg(*arguments: object) -> None:
    subprocess.run([executable(), "-v", "error", "-y", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
