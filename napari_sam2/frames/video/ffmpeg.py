"""Running ffmpeg, and what it reports about a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from napari_sam2.frames.errors import SourceError

# The first real video stream; a capital V leaves out cover pictures.
STREAM = "0:V:0"
# Seconds until ffmpeg counts as hanging: for one frame, and for a pass over a file on a slow disk.
FRAME_SECONDS = 120.0
PASS_SECONDS = 6 * 3600.0
# Containers of videos. Playlists, concatenation scripts and the like are none: they name other files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,live_flv,ogg,gif,apng,webp_anim,h261,h263,h264,"
    "hevc,vvc,evc,obu,av1,ivf,m4v,mjpeg,mjpeg_2000,mpjpeg,smjpeg,nut,mxf,gxf,dv,rm,rawvideo,yuv4mpegpipe,dirac,dnxhd,vc1,"
    "vc1test,wtv,swf,nsv,nuv,cine,ser,fits,r3d,avs2,avs3,cavsvideo,amv,film_cpk,filmstrip,flic,roq,smk,bink,vivo,rpl,pva,"
    "mtv,mlv,lxf,ty,rl2,4xm,idcin,ea,wc3movie,xmv,yop,jpegxl_anim"
)

# Ctrl-C in a terminal is for this program, which finishes its frame first. On Windows no console window may open.
_APART: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    _APART = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}


def executable() -> str:
    """Return the path of the ffmpeg executable.

    Raises
    ------
    SourceError
        If there is none.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise _launch_error(error) from error


def source_arguments(path: str) -> list[str]:
    """Return the arguments that open a file: only itself, and only as a container of video."""
    return ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-i", input_name(path)]


@dataclass(frozen=True)
class Build:
    """Options of an ffmpeg build that are not in all of them.

    Attributes
    ----------
    reports_times : bool
        It can write the time of each frame to a pipe (``-stats_enc_pre``); otherwise the log of ``showinfo`` is read.
    passthrough : tuple of str
        Arguments that neither drop nor repeat frames.
    chroma_location : str
        Part of the scale filter that says where colour samples lie.
    """

    reports_times: bool
    passthrough: tuple[str, ...]
    chroma_location: str


@lru_cache(maxsize=4)
def build_of(program: str) -> Build:
    """Return what an ffmpeg can do, from its own help."""
    options = _output([program, "-hide_banner", "-h", "long"])
    scale = _output([program, "-hide_banner", "-h", "filter=scale"])
    # ffmpeg 6 has -stats_enc_pre, but not the time base of the file for it.
    version = _output([program, "-version"])
    if not version.startswith("ffmpeg version"):
        raise _launch_error(RuntimeError(f"{program} does not answer as ffmpeg does"))
    six = re.match(r"ffmpeg version n?6\.", version) is not None
    return Build(
        "-stats_enc_pre" in options and not six,
        ("-fps_mode", "passthrough") if "-fps_mode" in options else ("-vsync", "passthrough"),
        ":in_chroma_loc=left" if "in_chroma_loc" in scale else "",
    )


def build() -> Build:
    """Return what the installed ffmpeg can do."""
    return build_of(executable())


def _environment() -> dict[str, str]:
    """Return the environment for ffmpeg: static builds crash when they load the system's character sets."""
    return os.environ | {"GCONV_PATH": os.devnull}


def start(command: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start ffmpeg.

    Raises
    ------
    SourceError
        If it can't be started; the video is not to blame then.
    """
    try:
        return subprocess.Popen(
            command, env=_environment(), **_APART, **{"stdin": subprocess.DEVNULL, **pipes}
        )
    except OSError as error:
        raise _launch_error(error) from error


def finished(command: list[str], seconds: float, **pipes: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end.

    Raises
    ------
    SourceError
        If it can't be started, takes longer than ``seconds``, or is ended from outside.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            timeout=seconds,
            check=False,
            **_APART,
            **pipes,
        )
    except OSError as error:
        raise _launch_error(error) from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"ffmpeg did not answer for {seconds:.0f} s and was stopped; is the disk reachable?"
        ) from error
    check_exit(done.returncode)
    return done


def end_when_stuck(process: subprocess.Popen[bytes], waiting: list[float], closed: threading.Event) -> None:
    """Kill ffmpeg when a frame has been waited for, since the time in ``waiting``, for too long; runs in a thread."""
    while not closed.wait(FRAME_SECONDS / 4):
        if waiting and time.monotonic() - waiting[0] > FRAME_SECONDS:
            process.kill()
            return


def check_exit(code: int | None) -> None:
    """Raise SourceError where ffmpeg was ended by a signal: that says nothing about the video."""
    if code is not None and code < 0:
        raise SourceError(f"ffmpeg was ended by signal {-code} (is there enough memory?); try again.")


def _output(command: list[str]) -> str:
    done = finished(command, FRAME_SECONDS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace")


def _launch_error(error: Exception) -> SourceError:
    why = getattr(error, "strerror", None) or error
    return SourceError(
        f"ffmpeg can't be started ({why}); reinstall imageio-ffmpeg, or name a working ffmpeg in IMAGEIO_FFMPEG_EXE."
    )


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
    streams : int
        Video streams in the container, cover pictures not counted.
    """

    container: str
    codec: str
    pixel_format: str
    size: tuple[int, int]
    start: float
    duration: float | None
    frame_rate: float | None
    streams: int = 1

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
    command = [executable(), "-hide_banner", "-nostdin", "-v", "info", *source_arguments(path), "-map", STREAM,
               "-frames:v", "1", "-c:v", "rawvideo", "-f", "framecrc", "-"]
    # fmt: on
    done = finished(command, FRAME_SECONDS, capture_output=True)
    said = done.stderr.decode("utf-8", "replace")
    shown = re.search(r"^#dimensions 0: (\d+)x(\d+)$", done.stdout.decode("ascii", "replace"), re.MULTILINE)
    source = said.partition("Stream mapping:")[0]
    stream = re.search(r"Stream #0:\d+.*?: Video: (\w+)(.*)", source)
    container = re.search(r"Input #0, (.+?), from '", source)
    if shown is None or stream is None or container is None:
        build()  # raises where the program is to blame
        if re.search(r"Unrecognized option|Option .*not found", said):
            raise _launch_error(RuntimeError(f"it is too old: {reason(said.splitlines())}"))
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
        streams=len(re.findall(r"Stream #0:\d+.*?: Video: (?!.*\(attached pic\))", source)),
        frame_rate=float(rate.group(1)) * (1000 if rate.group(2) else 1) if rate else None,
    )


def run(arguments: list[str], max_lines: int = 20) -> tuple[int, list[str]]:
    """Run ffmpeg to its end without reading frames; returns (exit code, last lines of its log)."""
    command = [executable(), "-hide_banner", "-nostdin", "-v", "error", *arguments]
    done = finished(command, PASS_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
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
        line
        for line in lines
        if re.search(r"whitelist|not found|Invalid|Error|matches no|denied|No such", line)
    ]
    chosen = (telling or lines or ["ffmpeg gave no reason"])[0]
    if "not on whitelist" in chosen:
        return "it is a playlist or script that names other files"
    if "matches no streams" in chosen:
        return "there is no video stream in it"
    return re.sub(r"\[[^\]]* @ 0x[0-9a-f]+\] |Error opening input: ", "", chosen).rstrip(".")
