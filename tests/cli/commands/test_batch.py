"""Batches: a jobs file is read with care, jobs are done once, and workers of dask.distributed do them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from napari_sam2 import TrackJob, run_job
from napari_sam2.cli.commands import batch
from napari_sam2.cli.commands.track_jobs import read_jobs
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.storage.project import Project

BOX = "0:1:0,8,14,20"


@pytest.fixture
def jobs_file(tmp_path: Path, movie: Path, checkpoint: Path):
    """Write a jobs file for copies of the movie; returns its path."""

    def write(*names: str, **defaults: object) -> Path:
        for name in names:
            if not (tmp_path / name).exists():
                shutil.copy(movie, tmp_path / name)
        data = {
            "defaults": {"box": BOX, "model": str(checkpoint), "device": "cpu", **defaults},
            "jobs": [{"source": name} for name in names],
        }
        path = tmp_path / "jobs.json"
        path.write_text(json.dumps(data))
        return path

    return write


def seen(path: Path) -> list[int]:
    with Project.open(path) as project:
        return project.frames()


# The file ----------------------------------------------------------------------------------------------------


def test_paths_begin_at_the_file_and_options_are_those_of_track(tmp_path, jobs_file, monkeypatch) -> None:
    path = jobs_file("a.tif", export=["csv", "coco"], range="2:6", point=["2:1:5,9", "3:1:6,9:-"])
    monkeypatch.chdir("/")
    [job] = read_jobs(path)
    args = job.args
    assert (args.source, args.out) == (str(tmp_path / "a.tif"), tmp_path / "a.sam2")
    assert args.export == ("csv", "coco")
    assert args.range == (2, 6)
    assert args.point == ["2:1:5,9", "3:1:6,9:-"]
    assert args.box == [BOX]
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "is not JSON"),
        ("{}", 'has no list of jobs: write {"jobs"'),
        ("[]", "has no job in it"),
        ("[7]", 'job 1: a job is an object with a "source"'),
        ('[{"source": "movie.tif"}]', "job 1: nothing says what to track"),
        ('[{"source": "nowhere.mp4", "box": "0:1:0,8,14,20"}]', "job 1: there is no .*nowhere.mp4"),
        ('[{"source": "movie.tif", "prompts": "p.json"}]', "job 1: there is no .*p.json"),
        ('[{"source": "movie.tif", "box": "0:1:0,8,14,20", "exports": "csv"}]', "job 1: .*--exports"),
        ('[{"source": "movie.tif", "box": "0:1:0,8,14,20", "help": true}]', "job 1: a job tracks"),
        (
            '[{"source": "movie.tif", "box": "0:1:0,8,14,20", "export": "xls"}]',
            "'xls' is not an export format",
        ),
        (
            '[{"source": "movie.tif", "box": "0:1:0,8,14,20"}, {"source": "movie.tif", "point": "0:1:3,9"}]',
            'jobs 1 and 2 both write .*movie.sam2; give one another "out"',
        ),
    ],
)
@pytest.mark.usefixtures("movie")
def test_a_wrong_file_is_refused_before_any_work(napari_sam2, tmp_path, text, complaint) -> None:
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(CommandError, match=complaint):
        read_jobs(tmp_path / "jobs.json")
    run = napari_sam2("batch", "jobs.json")
    assert run.code == 1
    assert "Traceback" not in run.err
    assert not list(tmp_path.glob("*.sam2"))


def test_a_wrong_job_of_a_script_says_what_is_wrong(movie) -> None:
    with pytest.raises(UsageError, match="unrecognized arguments: --colour=red"):
        TrackJob.of(movie, box=BOX, colour="red")


# A job -------------------------------------------------------------------------------------------------------


def test_a_job_is_done_once_and_what_is_missing_is_added(tmp_path, movie, checkpoint) -> None:
    job = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu", export="csv")
    first = run_job(job)
    assert (first.work, first.message) == ("tracked", "")
    assert first.result["frames"] == 12
    assert first.project == tmp_path / "movie.sam2" == job.project
    assert (first.project / "exports" / "measurements.csv").exists()
    assert run_job(job).work == "complete"
    more = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu", export="csv,coco")
    assert run_job(more).work == "exported"
    assert run_job(more).work == "complete"
    again = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu", overwrite=True)
    assert run_job(again).work == "tracked"


def test_an_interrupted_job_goes_on(tmp_path, movie, checkpoint, monkeypatch) -> None:
    from napari_sam2.cli.workflow import plan as tracking

    job = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu", export="csv")

    class Breaking(tracking.ProgressBar):
        def step(self, frame: int | None = None) -> None:
            super().step(frame)
            if frame == 4:
                raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "ProgressBar", Breaking)
        broken = run_job(job)
    assert broken.work == "failed"
    assert "the disk is full; everything up to frame 4 is saved" in broken.message
    assert seen(job.project) == list(range(5))
    assert run_job(job).work == "resumed"
    assert seen(job.project) == list(range(12))
    assert (job.project / "exports" / "measurements.csv").exists()
    assert run_job(job).work == "complete"


def test_a_project_without_masks_is_not_taken_for_a_finished_one(tmp_path, movie, checkpoint) -> None:
    Project.create(tmp_path / "movie.sam2", (12, 40, 56)).close()
    outcome = run_job(TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu"))
    assert outcome.work == "failed"
    assert "is there already, but without a mask: remove it, or overwrite it" in outcome.message


# Workers -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_a_batch_does_every_recording_and_says_which_failed(napari_sam2, tmp_path, jobs_file) -> None:
    path = jobs_file("a.tif", "b.tif", "broken.tif", export="csv")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 no more")
    with (
        socket.socket() as other
    ):  # another cluster on this machine has dask's usual port, which is no matter
        with suppress(OSError):
            other.bind(("0.0.0.0", 8787))
            other.listen()
        run = napari_sam2("batch", path, "--workers", "2", "--json")
    assert run.code == 1
    *_, result, error = run.events
    assert [job["work"] for job in result["jobs"]] == ["tracked", "tracked", "failed"]
    assert error["message"].startswith("1 of 3 recordings failed")
    assert seen(tmp_path / "a.sam2") == seen(tmp_path / "b.sam2") == list(range(12))
    (tmp_path / "broken.tif").unlink()
    again = napari_sam2("batch", jobs_file("a.tif", "b.tif", "broken.tif", export="csv"), "--workers", "1")
    assert again.code == 0, again.err
    assert "3 recordings: 2 complete, 1 tracked" in again.out
    assert "3 of 3" in again.err


@pytest.mark.timeout(120)
def test_a_running_scheduler_is_used(napari_sam2, tmp_path, jobs_file) -> None:
    import distributed

    with distributed.LocalCluster(
        1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        run = napari_sam2("batch", jobs_file("a.tif"), "--scheduler", cluster.scheduler_address)
    assert run.code == 0, run.err
    assert seen(tmp_path / "a.sam2") == list(range(12))


def test_without_dask_distributed_it_says_how_to_get_it(napari_sam2, jobs_file, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = napari_sam2("batch", jobs_file("a.tif"))
    assert run.code == 1
    assert "pip install 'napari-sam2[batch]'" in run.err


def test_each_worker_has_a_gpu_or_its_share_of_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [e["OMP_NUM_THREADS"] for e in batch._environments(4, 0)] == ["4"] * 4
    assert "CUDA_VISIBLE_DEVICES" not in batch._environments(1, 1)[0]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in batch._environments(4, 2)] == ["0", "1", "0", "1"]
    monkeypatch.setattr(batch, "_gpus", lambda: 0)
    assert batch._fitting_workers() == 4
    monkeypatch.setattr(batch, "_gpus", lambda: 3)
    assert batch._fitting_workers() == 3


HOLD = """
import time
from contextlib import suppress
from pathlib import Path
from napari_sam2.cli.workflow import plan

class Holding(plan.ProgressBar):
    def step(self, frame=None):
        super().step(frame)
        while frame == 4 and Path({hold!r}).exists():
            time.sleep(0.05)

def dask_setup(worker):
    plan.ProgressBar = Holding
"""


def seen_so_far(project: Path) -> list[int]:
    """Frames with a mask of a project that another process is writing; none before it exists."""
    try:
        return seen(project)
    except (OSError, ValueError, KeyError, RuntimeError):
        return []


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group")
def test_ctrl_c_ends_a_batch_and_the_same_command_goes_on(napari_sam2, tmp_path, jobs_file) -> None:
    path = jobs_file("a.tif", "b.tif")
    # The worker waits after a few frames, so that the signal comes in the middle however fast or slow the machine is.
    hold, preload = tmp_path / "hold", tmp_path / "hold.py"
    hold.touch()
    preload.write_text(HOLD.format(hold=str(hold)))
    # tests that run in the background ignore Ctrl-C, and would hand that on
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from napari_sam2.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "batch", str(path), "--workers", "1"]
    env = {
        **os.environ,
        "PYTHONPATH": os.getcwd(),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": str(preload),
    }
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    while process.poll() is None and not seen_so_far(tmp_path / "a.sam2"):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert set(seen(tmp_path / "a.sam2")) <= set(range(5))
    assert not (tmp_path / "b.sam2").exists()
    hold.unlink()
    run = napari_sam2("batch", path, "--workers", "1", "--json").ok()
    assert [job["work"] for job in run["jobs"]] == ["resumed", "tracked"]
    assert seen(tmp_path / "a.sam2") == list(range(12))
    assert seen(tmp_path / "b.sam2") == list(range(12))
