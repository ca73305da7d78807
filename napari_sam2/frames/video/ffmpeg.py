"""Running ffmpeg, and what it reports about a file."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from dataclasses import dataclass

from napari_sam2.frames.errors import SourceError

# The first real video stream; a capital V leaves out cover pictures.
STREAM = "0:V:0"


def executable() -> str:
    """Return the path of the ffmpeg executable."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def input_name(path: str) -> str:
    """Return a file's name for ffmpeg, so that it is never taken for an option or a protocol."""
    return "file:" + os.path.abspath(path)


@dataclass(frozen=True)
class VideoInfo:
    """Properties of the first video stream of a container.

    Attributes
    ----------
    container : str
        ffmpeg's name of the container format, for example ``"mov,mp4,m4a,3gp,3g2,mj2"``.
    codec, pixel_format : str
        For example ``"h264"`` and ``"yuv420p"``.
    size : tuple of int
        (height, width) of a frame as it is shown, that is after rotation.
    start : float
        Start of the container in seconds.
    duration : float or None
        In seconds, as the container claims.
    frame_rate : float or None
        Average frames per second, as the container claims.
    """

    container: str
    codec: str
    pixel_format: str
    size: tuple[int, int]
    start: float
    duration: float | None
    frame_rate: float | None

    @property
    def deep_grey(self) -> bool:
        """True where frames are grey with more than 8 bits; they are then read as uint16."""
        return re.fullmatch(r"gray(9|1\d|f32)(le|be)?", self.pixel_format) is not None


def probe(path: str) -> VideoInfo:
    """Decode one frame of a video and read what ffmpeg says about it.

    Raises
    ------
    SourceError
        If there is no video stream in the file or no frame of it can be decoded.
    """
    # fmt: off
    command = [executable(), "-hide_banner", "-nostdin", "-v", "info", "-i", input_name(path), "-map", STREAM,
               "-frames:v", "1", "-c:v", "rawvideo", "-f", "framecrc", "-"]
    # fmt: on
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode("utf-8", "replace")
    shown = re.search(r"^#dimensions 0: (\d+)x(\d+)$", done.stdout.decode("ascii", "replace"), re.MULTILINE)
    source = said.partition("Stream mapping:")[0]
    stream = re.search(r"Stream #0:\d+.*?: Video: (\w+)(.*)", source)
    container = re.search(r"Input #0, (.+?), from '", source)
    if shown is None or stream is None or container is None:
        raise SourceError(
            f"{path} can't be read as a video ({reason(said.splitlines())}); try to re-encode it with ffmpeg."
        )
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", source)
    start = re.search(r"Duration:.*?start: (-?[\d.]+)", source)
    rate = re.search(r", ([\d.]+)(k?) fps", stream.group(2))
    return VideoInfo(
        container=container.group(1),
        codec=stream.group(1),
        pixel_format=_pixel_format(stream.group(2)),
        size=(int(shown.group(2)), int(shown.group(1))),
        start=float(start.group(1)) if start else 0.0,
        duration=_seconds(*duration.groups()) if duration else None,
        frame_rate=float(rate.group(1)) * (1000 if rate.group(2) else 1) if rate else None,
    )


def run(arguments: list[str], max_lines: int = 20) -> tuple[int, list[str]]:
    """Run ffmpeg to its end without reading frames; returns (exit code, last lines of its log)."""
    command = [executable(), "-hide_banner", "-nostdin", "-v", "error", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    lines = deque(done.stderr.decode("utf-8", "replace").splitlines(), maxlen=max_lines)
    return done.returncode, list(lines)


def _pixel_format(rest: str) -> str:
    # "(High) (avc1 / 0x31637661), yuv420p(tv, bt709), 960x540, ...": the first word after a comma outside brackets
    while re.search(r"\([^()]*\)", rest):
        rest = re.sub(r"\([^()]*\)", "", rest)
    words = [word.strip() for word in rest.split(",")]
    return words[1] if len(words) > 1 else ""


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def reason(lines: list[str]) -> str:
    """Return the first informative line of a log, without ffmpeg's addresses."""
    lines = [line.strip() for line in lines if line.strip()]
    telling = [
        line for line in lines if re.search(r"not found|Invalid|Error|matches no|denied|No such", line)
    ]
    chosen = (telling or lines or ["ffmpeg gave no reason"])[0]
    if "matches no streams" in chosen:
        return "there is no video stream in it"
    return re.sub(r"\[[^\]]* @ 0x[0-9a-f]+\] |Error opening input: ", "", chosen).rstrip(".")
