"""Videos whose frame number is painted into the pixels, made by the ffmpeg that imageio-ffmpeg brings."""

import subprocess

import numpy as np
import pytest

from napari_sam2.frames.video.ffmpeg import executable

BITS = 8


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test touches the user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_SAM2_CACHE", str(folder))
    return folder


def paint(count, height, width):
    """Frames (T, H, W) on which bit b of the frame number is a bright or dark column."""
    frames = np.full((count, height, width), 60, np.uint8)
    column = width // BITS
    for t in range(count):
        for bit in range(BITS):
            if t >> bit & 1:
                frames[t, :, bit * column : (bit + 1) * column] = 200
    return frames


def painted_number(picture):
    """The frame number that :func:`paint` put into a picture."""
    grey = picture.astype(float)
    if grey.ndim == 3:
        grey = grey.mean(-1)
    height, width = grey.shape
    column = width // BITS
    middle = grey[height // 4 : 3 * height // 4]
    means = [middle[:, b * column + column // 4 : b * column + 3 * column // 4].mean() for b in range(BITS)]
    dark, bright = grey.min(), grey.max()
    return sum(1 << b for b, mean in enumerate(means) if bright - dark > 100 and mean > (dark + bright) / 2)


def encode(path, frames, *arguments, rate=25):
    """Write frames (T, H, W) into a video."""
    count, height, width = frames.shape
    command = [
        executable(),
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-s",
        f"{width}x{height}",
    ]
    command += ["-r", str(rate), "-i", "-", *arguments, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True, capture_output=True)
    return path


def ffmpeg(*arguments):
    subprocess.run([executable(), "-v", "error", "-y", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def number_of():
    return painted_number


@pytest.fixture(scope="session")
def make_video():
    """``make_video(path, count, *ffmpeg arguments, size=(H, W), rate=25)``."""

    def make(path, count, *arguments, size=(48, 64), rate=25):
        return encode(path, paint(count, *size), *arguments, rate=rate)

    return make


@pytest.fixture(scope="session")
def run_ffmpeg():
    return ffmpeg


_GROUPS = ("-pix_fmt", "yuv420p", "-g", "12", "-bf", "3", "-sc_threshold", "0")
_X264 = ("-c:v", "libx264", "-preset", "veryfast", *_GROUPS)
# name: (file, ffmpeg arguments, size)
VARIANTS = {
    "b-frames": ("a.mp4", _X264, (48, 64)),
    "open GOP": ("a.mp4", (*_X264, "-x264-params", "open-gop=1"), (48, 64)),
    "open GOP hevc": (
        "a.mp4",
        (
            *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
            *("-x265-params", "log-level=error:open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"),
        ),
        (48, 64),
    ),
    "intra refresh": (
        "a.mp4",
        ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", "intra-refresh=1:bframes=0:keyint=15"),
        (48, 64),
    ),
    "10 bit": (
        "a.mkv",
        (
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p10le",
            "-x265-params",
            "log-level=error:keyint=12",
        ),
        (48, 64),
    ),
    "odd size": ("a.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-g", "12"), (49, 65)),
    "MPEG-TS": ("a.ts", _X264, (48, 64)),
    "MPEG-2 program stream": (
        "a.mpg",
        ("-c:v", "mpeg2video", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "2"),
        (48, 64),
    ),
    "mkv": ("a.mkv", _X264, (48, 64)),
    "webm": (
        "a.webm",
        ("-c:v", "libvpx-vp9", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
        (48, 64),
    ),
    "webm vp8": (
        "a.webm",
        ("-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
        (48, 64),
    ),
    "mjpeg avi": ("a.avi", ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"), (48, 64)),
    "mpeg4 avi, packets without times": (
        "a.avi",
        ("-c:v", "mpeg4", "-bf", "2", "-g", "12", "-q:v", "2"),
        (48, 64),
    ),
    "h264 avi, packets without times": ("a.avi", _X264, (48, 64)),
    "raw h264": ("a.h264", _X264, (48, 64)),
    "gray": ("a.mp4", ("-c:v", "libx264", "-pix_fmt", "gray", "-g", "12", "-bf", "3"), (48, 64)),
    "gray 16 bit": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray16le", "-g", "12"), (48, 64)),
    "palette avi": ("a.avi", ("-vf", "format=rgb8,format=pal8", "-c:v", "rawvideo"), (48, 64)),
}
COUNT = 60


@pytest.fixture(scope="session")
def variant_video(tmp_path_factory):
    """``variant_video(name) -> (path, number painted on the first frame, number of frames, quarter turns)``."""
    folder = tmp_path_factory.mktemp("variants")
    made = {}

    def base():
        return video("b-frames")[0]

    def video(name):
        if name not in made:
            place = folder / name.replace(" ", "_")
            place.mkdir()
            made[name] = derived[name](place) if name in derived else encoded(name, place)
        return made[name]

    def encoded(name, place):
        file, arguments, size = VARIANTS[name]
        return encode(place / file, paint(COUNT, *size), *arguments), 0, COUNT, 0

    def retimed(file, change):
        """The same packets at other times: filters that change times lose the last frame in some builds."""

        def make(place):
            times = f"setts=pts={change.format('PTS')}:dts={change.format('DTS')}"
            ffmpeg("-i", base(), "-c", "copy", "-bsf:v", times, place / file)
            return place / file, 0, COUNT, 0

        return make

    def edit_list(place):
        ffmpeg("-ss", "0.75", "-i", base(), "-c", "copy", place / "a.mp4")
        return place / "a.mp4", 19, COUNT - 19, 0

    def rotated(place):
        ffmpeg("-display_rotation", "90", "-i", base(), "-c", "copy", place / "a.mp4")
        return place / "a.mp4", 0, COUNT, 1

    def audio(place):
        ffmpeg(
            "-i", base(), "-f", "lavfi", "-i", "sine=d=2.4", "-c:v", "copy", "-c:a", "aac", place / "a.mp4"
        )
        return place / "a.mp4", 0, COUNT, 0

    def late_video(place):
        delayed = ("-itsoffset", "0.5", "-i", base())
        ffmpeg(*delayed, "-f", "lavfi", "-i", "sine=d=2.9", "-c:v", "copy", "-c:a", "aac", place / "a.mp4")
        return place / "a.mp4", 0, COUNT, 0

    derived = {
        "edit list": edit_list,
        "rotation": rotated,
        "audio track": audio,
        "audio before video": late_video,
        "variable frame rate": retimed("a.mkv", "'{0}+floor({0}*TB*5+0.001)*3/25/TB'"),
        "one frame in two seconds": retimed("a.mp4", "{0}*50"),
    }
    return video


DERIVED = (
    "edit list",
    "rotation",
    "audio track",
    "audio before video",
    "variable frame rate",
    "one frame in two seconds",
)
ALL_VARIANTS = (*VARIANTS, *DERIVED)


def pytest_generate_tests(metafunc):
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", ALL_VARIANTS)
