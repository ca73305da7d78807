"""What the reader starts, keeps, shares and gives back."""

import gc
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import psutil
import pytest

from napari_sam2.frames import open_source
from napari_sam2.frames.video import ffmpeg_decoder as frame_pipe
from napari_sam2.frames.video.reader import VideoReader

FRAME = 48 * 64 * 3


@pytest.fixture
def video(variant_video):
    return variant_video("b-frames")[0]


@pytest.fixture
def starts(monkeypatch):
    """The frames for which an ffmpeg was started."""
    seen = []
    genuine = frame_pipe._command

    def noting(path, table, pixels, first, earlier):
        seen.append(first)
        return genuine(path, table, pixels, first, earlier)

    monkeypatch.setattr(frame_pipe, "_command", noting)
    return seen


@pytest.fixture
def children():
    """The ffmpeg processes that were started since the test began; one of an earlier test may not have been reaped."""

    def found():
        return {child for child in psutil.Process().children(recursive=True) if "ffmpeg" in child.name()}

    before = found()
    return lambda: list(found() - before)


def test_reading_in_order_keeps_one_ffmpeg(video, starts, children):
    reader = VideoReader(video)
    for t in range(60):
        reader.frame(t)
        assert len(children()) <= 1
    assert starts == [0]
    reader.close()


def test_stepping_back_decodes_a_group_once(video, starts):
    reader = VideoReader(video, cache_bytes=40 * FRAME)
    reader.frame(59)
    del starts[:]
    for t in range(58, 23, -1):  # groups of 12: 48…58, 36…47, 24…35
        reader.frame(t)
    assert starts == [48, 36, 24]
    reader.close()


def test_a_group_that_does_not_fit_is_decoded_in_parts(video, starts):
    reader = VideoReader(video, cache_bytes=8 * FRAME)
    reader.frame(47)
    del starts[:]
    for t in range(46, 35, -1):
        reader.frame(t)
    assert starts == [41, 36]
    assert reader.cached_bytes <= 8 * FRAME
    reader.close()


def test_a_short_skip_reads_on_and_a_long_one_jumps(video, starts):
    reader = VideoReader(video, cache_bytes=FRAME)
    reader.frame(0)
    reader.frame(5)
    assert starts == [0]
    reader.frame(50)
    assert starts[-1] == 50
    reader.close()


def test_memory_stays_within_its_budget(video):
    reader = VideoReader(video, cache_bytes=10 * FRAME)
    for t in random.Random(0).sample(range(60), 60):
        reader.frame(t)
        assert reader.cached_bytes <= 10 * FRAME
    reader.close()
    assert reader.cached_bytes == 0


def test_close_ends_ffmpeg_and_reading_again_starts_it_again(video, number_of, children):
    reader = VideoReader(video)
    reader.frame(0)
    assert len(children()) == 1
    reader.close()
    reader.close()
    assert children() == []
    assert number_of(reader.frame(7)) == 7
    reader.close()


def test_a_forgotten_reader_leaves_no_process(video, children):
    reader = VideoReader(video)
    reader.frame(0)
    del reader
    gc.collect()
    assert children() == []


def test_a_forgotten_array_leaves_no_process(video, children):
    array = open_source(video).array
    array[3].compute(scheduler="synchronous")
    assert len(children()) == 1
    del array
    gc.collect()
    assert children() == []


def test_python_can_end_with_an_open_reader(video):
    script = (
        "import psutil, sys\n"
        "from napari_sam2.frames.video.reader import VideoReader\n"
        f"reader = VideoReader({str(video)!r}); reader.frame(0)\n"
        "print(psutil.Process().children()[0].pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert not psutil.pid_exists(int(done.stdout))


def test_threads_may_share_a_reader(video, number_of, children):
    reader = VideoReader(video, cache_bytes=4 * FRAME)
    order = random.Random(2).choices(range(60), k=120)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda t: number_of(reader.frame(t)), order)) == order
    reader.close()
    assert children() == []


def test_a_closed_reader_among_threads_does_not_hang(video, number_of):
    reader = VideoReader(video, cache_bytes=1)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(reader.frame, t) for t in range(0, 60, 5)]
        reader.close()
        assert [number_of(job.result(timeout=60)) for job in jobs] == list(range(0, 60, 5))
    reader.close()


def test_a_pickled_reader_opens_the_file_again(video):
    reader = VideoReader(video)
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.frame(11), reader.frame(11))
    reader.close()
    copy.close()


def test_frames_are_read_only_and_indices_checked(video):
    reader = VideoReader(video)
    with pytest.raises(ValueError, match="read-only"):
        reader.frame(0)[:] = 0
    for t in (-1, 60):
        with pytest.raises(IndexError, match="0 to 59"):
            reader.frame(t)
    reader.close()


def test_the_dask_array_has_a_chunk_per_frame_and_a_small_graph(video, number_of):
    with open_source(video) as source:
        assert source.array.chunks[0] == (1,) * 60
        assert len(source.array.dask.layers) == 1
        with dask.config.set(scheduler="threads"):
            stack = source.array.compute()
        assert [number_of(picture) for picture in stack] == list(range(60))
        again = open_source(video)
        assert again.array.name == source.array.name
