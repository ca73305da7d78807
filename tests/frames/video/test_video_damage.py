"""Truncated and damaged videos: what is readable is read, what is not has a name."""

import pickle
import warnings

import pytest

from napari_sam2.frames import DamagedSourceWarning, FrameReadError, SourceError, open_source
from napari_sam2.frames.video.reader import VideoReader

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "2")


@pytest.mark.parametrize("file", ["a.mkv", "fast.mp4"])
def test_a_truncated_file_opens_and_says_how_much_is_left(tmp_path, make_video, number_of, file):
    start = ("-movflags", "+faststart") if file.endswith("mp4") else ()
    whole = make_video(tmp_path / file, 90, *X264, *start).read_bytes()
    cut = tmp_path / f"cut_{file}"
    cut.write_bytes(whole[: int(len(whole) * 0.75)])
    with pytest.warns(DamagedSourceWarning, match=r"frames of about 90 are readable") as said:
        reader = VideoReader(cut)
    count = len(reader)
    assert 20 < count < 90
    assert f"{count} frames of about 90" in str(said[0].message)
    # The last frames may have lost what they build on; all others are right.
    assert [number_of(reader.frame(t)) for t in range(count - 3)] == list(range(count - 3))
    reader.close()


def test_an_unreadable_frame_is_named_and_the_reader_goes_on(tmp_path, make_video, number_of):
    path = make_video(tmp_path / "a.mp4", 60, "-c:v", "png", "-pix_fmt", "rgb24")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content)) if content[i : i + 8] == b"\x89PNG\r\n\x1a\n"]
    assert len(starts) == 60
    content[starts[37] : starts[37] + 60] = bytes(60)
    path.write_bytes(bytes(content))
    reader = VideoReader(path)
    assert len(reader) == 60
    with pytest.raises(FrameReadError, match="Frame 37 of .* can't be decoded") as caught:
        reader.frame(37)
    assert caught.value.frame == 37
    assert pickle.loads(pickle.dumps(caught.value)).frame == 37
    assert [number_of(reader.frame(t)) for t in (36, 38, 59, 0)] == [36, 38, 59, 0]
    with pytest.raises(FrameReadError):  # and it stays unreadable
        reader.frame(37)
    reader.close()


def test_reading_through_a_bad_frame_does_not_shift_the_others(tmp_path, make_video, number_of):
    path = make_video(tmp_path / "a.mp4", 30, "-c:v", "png", "-pix_fmt", "rgb24")
    content = bytearray(path.read_bytes())
    start = content.find(b"\x89PNG", content.find(b"\x89PNG") + 4)
    content[start : start + 60] = bytes(60)
    path.write_bytes(bytes(content))
    with open_source(path) as source:
        frames = source.frames()
        read = {}
        for t in range(len(frames)):
            try:
                read[t] = number_of(frames.frame(t))
            except FrameReadError as error:
                assert error.frame == t == 1
        assert read == {t: t for t in range(30) if t != 1}


@pytest.mark.parametrize("content", [b"", b"no video at all" * 40, b"\x00" * 4096])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "0x" not in message


def test_an_mp4_without_its_index_is_refused(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 30, *X264)  # the index is at the end
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SourceError, match="can't be read as a video"):
        open_source(path)


def test_a_sound_file_is_no_video(tmp_path, run_ffmpeg):
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "a.mp4")
    with pytest.raises(SourceError, match="no video stream"):
        open_source(tmp_path / "a.mp4")


def test_an_intact_file_opens_without_a_warning(variant_video, variant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VideoReader(variant_video(variant)[0]).close()


def test_a_missing_file(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        VideoReader(tmp_path / "none.mp4")
