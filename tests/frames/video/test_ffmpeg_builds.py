"""Any build of ffmpeg, and files that are no videos but name others."""

import os
import stat
import subprocess

import numpy as np
import pytest

from napari_sam2.frames import SourceError, open_source
from napari_sam2.frames.video import ffmpeg
from napari_sam2.frames.video.ffmpeg_encoder import FrameEncoder
from napari_sam2.frames.video.packet_index import read_decoded_times, shown_frame
from napari_sam2.frames.video.reader import VideoReader

OLD = ffmpeg.Build(False, ("-vsync", "passthrough"), "")


@pytest.fixture
def without_new_options(monkeypatch):
    """Everything that only newer builds have is left unused; the showinfo log is read instead."""
    passthrough = ffmpeg.build().passthrough
    build = ffmpeg.Build(False, passthrough, ffmpeg.build().chroma_location)
    monkeypatch.setattr(ffmpeg, "build", lambda: build)


@pytest.mark.parametrize("name", ["b-frames", "variable frame rate", "edit list", "mkv"])
def test_frames_are_exact_without_the_newer_options(variant_video, number_of, name, without_new_options):
    path, first, count, turns = variant_video(name)
    reader = VideoReader(path, cache_bytes=1)
    for t in (0, count - 1, count // 2, 3, count - 2):
        assert number_of(np.rot90(reader.frame(t), -turns)) == first + t
    assert set(reader.table.pts) <= set(read_decoded_times(path)) or reader.table.by_order
    reader.close()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            b"[Parsed_showinfo_2 @ 0x21] n:   2 pts:   6144 pts_time:0.4     pos:   256897 fmt:yuv420p",
            (2, 6144),
        ),
        (b"[Parsed_showinfo_2 @ 0x7f] n:   0 pts:  -5120 pts_time:-0.3 duration:    512", (0, -5120)),
        (b"[Parsed_showinfo_2 @ 0x7f] color_range:unknown color_space:unknown", None),
        (b"[Parsed_showinfo_2 @ 0x7f] config in time_base: 1/15360, frame_rate: 30/1", None),
    ],
)
def test_the_log_of_showinfo(line, found):
    assert shown_frame(line) == found


def program(tmp_path, monkeypatch, script):
    path = tmp_path / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
    return path


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_options_are_probed_from_the_program_itself(tmp_path, monkeypatch):
    path = program(tmp_path, monkeypatch, 'echo "ffmpeg version 4.4"; echo "-vsync method"')
    assert ffmpeg.build_of(str(path)) == OLD


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [("kill -9 $$", "ended by signal 9"), ("exec sleep 60", "did not answer for 1 s and was stopped")],
)
def test_a_failed_program_is_not_called_a_damaged_video(
    tmp_path, monkeypatch, variant_video, script, sentence
):
    video = variant_video("mkv")[0]
    program(tmp_path, monkeypatch, script)
    monkeypatch.setattr(ffmpeg, "FRAME_SECONDS", 1.0)
    with pytest.raises(SourceError, match=sentence) as caught:
        open_source(video)
    assert "damaged" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_program_that_can_not_be_started(tmp_path, monkeypatch, variant_video):
    video = variant_video("mkv")[0]
    reader = VideoReader(video)
    program(tmp_path, monkeypatch, "").write_bytes(b"\x7fELF broken")
    for call in (lambda: open_source(video), lambda: reader.frame(5)):
        with pytest.raises(SourceError, match=r"ffmpeg can't be started \(.*\); reinstall imageio-ffmpeg"):
            call()
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert reader.frame(5).shape[-1] == 3  # nothing is taken for unreadable
    reader.close()


@pytest.mark.parametrize("kind", ["concat", "playlist"])
def test_scripts_that_name_other_files_are_not_followed(tmp_path, variant_video, kind):
    other = variant_video("mkv")[0]
    text = {
        "concat": f"ffconcat version 1.0\nfile '{other}'\n",
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:{other}\n#EXT-X-ENDLIST\n",
    }[kind]
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(SourceError, match=r"a\.mp4 can't be read as a video"):
        open_source(tmp_path / "a.mp4")


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_ctrl_c_in_a_terminal_does_not_reach_the_decoder():
    """A terminal sends it to the whole group; the frame that is being computed may still have to be read."""
    process = ffmpeg.start([ffmpeg.executable(), "-version"], stdout=subprocess.PIPE)
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    finally:
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            'echo "ffmpeg: error while loading shared libraries: libx264.so.1" >&2; exit 127',
            "does not answer as ffmpeg",
        ),
        ("exit 0", "does not answer as ffmpeg does"),
        (
            'echo "ffmpeg version 2.8"; echo "Unrecognized option \'format_whitelist\'." >&2; exit 1',
            "it is too old",
        ),
    ],
    ids=["libraries are missing", "another program", "too old"],
)
def test_a_program_that_does_not_work_is_to_blame_itself(
    tmp_path, monkeypatch, variant_video, script, sentence
):
    video = variant_video("mkv")[0]
    program(tmp_path, monkeypatch, script)
    with pytest.raises(SourceError, match=sentence) as caught:
        open_source(video)
    assert str(caught.value).startswith("ffmpeg can't be started (")
    assert "re-encode" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_decoder_that_hangs_is_stopped(tmp_path, monkeypatch, variant_video):
    reader = VideoReader(variant_video("mkv")[0])
    ffmpeg.build()
    hangs = program(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(ffmpeg, "build", lambda: OLD)
    monkeypatch.setattr(ffmpeg, "FRAME_SECONDS", 0.5)
    with pytest.raises(SourceError, match="ffmpeg was ended by signal 9"):
        reader.frame(5)
    assert hangs.exists()
    reader.close()


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exec sleep 600", r"ffmpeg took no frame of .*o\.mp4 for 0 s and was stopped"),
        (
            "echo \"Unknown encoder 'libx264'\" >&2; exit 1",
            r"can't write .*o\.mp4 \(Unknown encoder 'libx264'\)",
        ),
        ("kill -9 $$", r"ffmpeg can't write .*o\.mp4"),
    ],
    ids=["hangs", "can't encode", "is killed"],
)
def test_an_encoder_that_fails_says_why(tmp_path, monkeypatch, script, sentence):
    program(tmp_path, monkeypatch, script)
    monkeypatch.setattr(ffmpeg, "FRAME_SECONDS", 0.4)

    def write():
        with FrameEncoder(tmp_path / "o.mp4", (400, 600), 10.0) as encoder:
            for _ in range(3):
                encoder.write(np.zeros((400, 600, 3), np.uint8))  # more than a pipe holds

    with pytest.raises(SourceError, match=sentence):
        write()


def test_what_was_encoded_comes_back(tmp_path):
    with FrameEncoder(tmp_path / "o.mp4", (48, 64), 12.5) as encoder:
        for t in range(7):
            encoder.write(np.full((48, 64, 3), 30 * t, np.uint8))
    with open_source(tmp_path / "o.mp4") as source:
        means = source.array.mean(axis=(1, 2, 3)).compute()
        np.testing.assert_allclose(means, 30 * np.arange(7), atol=4)
        assert source.scale[0] == pytest.approx(1 / 12.5)
