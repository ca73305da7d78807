"""Batches: a jobs file is read with care, jobs are done once, and workers of dask.distributed do them."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from napari_sam2 import TrackJob, run_job
from napari_sam2.cli.commands import batch
from napari_sam2.cli.commands.batch_report import write_report
from napari_sam2.cli.commands.jobs_file import read_jobs
from napari_sam2.cli.commands.track import report
from napari_sam2.cli.commands.track_jobs import JobOutcome
from napari_sam2.cli.errors import CommandError, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.workflow import plan
from napari_sam2.masks import FrameMasks
from napari_sam2.prompts import PointPrompt, Prompt
from napari_sam2.storage.project import Project
from napari_sam2.storage.review import Review

ROOT = Path(__file__).parents[3]
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
            'job 2: job 1 writes .*movie.sam2, too; give each another "out"',
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


def test_jobs_that_export_to_one_file_are_refused_and_templates_part_them(tmp_path, jobs_file) -> None:
    with pytest.raises(
        CommandError, match=r'job 2: job 1 writes .*out.measurements\.csv, too; .*"results/{stem}"'
    ):
        read_jobs(jobs_file("a.tif", "b.tif", export="csv", export_to="out"))
    jobs = read_jobs(jobs_file("a.tif", "b.tif", export="csv", export_to="out/{stem}"))
    assert [job.args.export_to for job in jobs] == [tmp_path / "out" / "a", tmp_path / "out" / "b"]
    with pytest.raises(
        CommandError, match=r'there is no {name} to fill in "export_to": use {stem}, {folder}, {parent}'
    ):
        read_jobs(jobs_file("a.tif", "b.tif", export="csv", export_to="out/{name}"))


def test_a_pattern_of_recordings_is_a_job_each(tmp_path, movie) -> None:
    for name in ("m1/a.tif", "m1/b.tif", "m2/a.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(movie, tmp_path / name)
        (tmp_path / name).with_suffix(".json").write_text("[]")
    path = tmp_path / "jobs.json"

    def read(**job: object) -> list[tuple[str, ...]]:
        path.write_text(
            json.dumps([{"prompts": "{folder}/{stem}.json", "out": "done/{parent}-{stem}.sam2", **job}])
        )
        found = [job.args for job in read_jobs(path)]
        return [(Path(a.source).relative_to(tmp_path), a.prompts.name, a.out.name) for a in found]

    assert read(sources="m*/*.tif") == [
        (Path("m1/a.tif"), "a.json", "m1-a.sam2"),
        (Path("m1/b.tif"), "b.json", "m1-b.sam2"),
        (Path("m2/a.tif"), "a.json", "m2-a.sam2"),
    ]
    assert len(read(sources=["m1/*.tif", "m1/a.tif"])) == 2
    with pytest.raises(CommandError, match=r'"m1/\*.tif" are 2 recordings: write "sources"'):
        read(source="m1/*.tif", prompts=None, box=BOX)
    with pytest.raises(CommandError, match='nothing matches "m3'):
        read(sources="m3/*")


def test_a_table_and_toml_are_jobs_files(tmp_path, movie) -> None:
    for name in ("a.tif", "b.tif"):
        shutil.copy(movie, tmp_path / name)
    table = tmp_path / "jobs.csv"
    table.write_text('source,box,range,overwrite\na.tif,"0:1:0,8,14,20",2:6,true\nb.tif,"0:2:0,8,14,20",,\n')
    first, second = (job.args for job in read_jobs(table))
    assert (first.range, first.overwrite, first.box) == ((2, 6), True, [BOX])
    assert (second.range, second.overwrite, second.box) == ((None, None), False, ["0:2:0,8,14,20"])
    table.write_text("source,box\na.tif,0:1:0,8,14,20\n")  # commas without quotes
    with pytest.raises(CommandError, match="a row with more cells than there are column names"):
        read_jobs(table)
    toml = tmp_path / "jobs.toml"
    toml.write_text(
        f'[defaults]\nbox = "{BOX}"\n[[jobs]]\nsource = "a.tif"\n[[jobs]]\nsource = "b.tif"\nrange = "2:6"\n'
    )
    assert [job.args.range for job in read_jobs(toml)] == [(None, None), (2, 6)]


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


def correct(project: Path) -> None:
    with Project.open(project, "a") as opened:
        opened.put_prompt(3, 1, Prompt((PointPrompt(8, 14),)))


def test_exports_older_than_the_masks_are_written_again(tmp_path, movie, checkpoint) -> None:
    job = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu", export="csv,coco")
    run_job(job)
    table, coco = job.project / "exports" / "measurements.csv", job.project / "exports" / "coco.json"
    before = table.stat().st_mtime_ns
    correct(job.project)
    assert run_job(job).work == "exported"
    assert table.stat().st_mtime_ns > before
    assert run_job(job).work == "complete"
    correct_again = Prompt((PointPrompt(9, 14),))
    with Project.open(job.project, "a") as opened:
        opened.put_prompt(3, 1, correct_again)
    coco.write_text("{}")
    outcome = run_job(job)
    assert outcome.work == "failed"
    assert f"{coco} is older than the masks and was changed by another program" in outcome.message
    assert coco.read_text() == "{}"
    coco.unlink()
    assert run_job(job).work == "exported"


def test_a_changed_job_is_tracked_anew_unless_its_masks_were_corrected(tmp_path, movie, checkpoint) -> None:
    common = {"model": checkpoint, "device": "cpu", "export": "csv"}
    run_job(TrackJob.of(movie, tmp_path, box=BOX, **common))
    shorter = TrackJob.of(movie, tmp_path, box=BOX, range="0:4", **common)
    assert run_job(shorter).work == "tracked"
    assert seen(shorter.project) == [0, 1, 2, 3]
    assert run_job(shorter).work == "complete"
    correct(shorter.project)
    longer = run_job(TrackJob.of(movie, tmp_path, box=BOX, **common))
    assert longer.work == "failed"
    assert 'corrected or cut short since: give the job another "out", or "overwrite": true' in longer.message
    assert seen(shorter.project) == [0, 1, 2, 3]


def test_changed_prompts_are_a_changed_job(tmp_path, movie, checkpoint) -> None:
    prompts = tmp_path / "p.json"
    box = {"frame": 0, "object_id": 1, "box": [0, 8, 14, 20]}
    prompts.write_text(json.dumps([box]))
    job = TrackJob.of(movie, tmp_path, prompts=prompts, model=checkpoint, device="cpu")
    assert run_job(job).work == "tracked"
    assert run_job(job).work == "complete"
    prompts.write_text(json.dumps([{**box, "object_id": 4}]))
    assert run_job(job).work == "tracked"
    with Project.open(job.project) as project:
        assert list(project.objects) == [4]


def test_a_project_that_is_open_elsewhere_is_left_alone(tmp_path, movie, checkpoint) -> None:
    job = TrackJob.of(movie, tmp_path, box=BOX, range="0:4", model=checkpoint, device="cpu")
    run_job(job)
    changed = TrackJob.of(movie, tmp_path, box=BOX, model=checkpoint, device="cpu")
    with Project.open(job.project, "a"):
        outcome = run_job(changed)
        assert outcome.work == "elsewhere"
        assert "open for writing" in outcome.message
        assert run_job(job).work == "complete"
    assert run_job(changed).work == "tracked"


def test_jobs_with_one_network_load_it_once(tmp_path, movie, checkpoint, monkeypatch) -> None:
    from napari_sam2.cli.workflow import load_model

    loaded = []
    load = load_model.load_model
    monkeypatch.setattr(load_model, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k))
    load_model.load_network.cache.clear()
    for name in ("a", "b"):
        shutil.copy(movie, tmp_path / f"{name}.tif")
        assert (
            run_job(TrackJob.of(tmp_path / f"{name}.tif", tmp_path, box=BOX, model=checkpoint)).work
            == "tracked"
        )
    assert len(loaded) == 1
    os.utime(checkpoint, (1, 1))
    shutil.copy(movie, tmp_path / "c.tif")
    run_job(TrackJob.of(tmp_path / "c.tif", tmp_path, box=BOX, model=checkpoint))
    assert len(loaded) == 2


class Breaking(plan.ProgressBar):
    """A disk that is full at frame 8."""

    def step(self, frame: int | None = None) -> None:
        super().step(frame)
        if frame == 8:
            raise OSError("the disk is full")


def test_a_resumed_overlay_has_the_frames_that_were_asked_for(
    tmp_path, movie, checkpoint, monkeypatch
) -> None:
    import imageio_ffmpeg

    options = {"range": "0:10", "export": "mp4", "model": checkpoint, "device": "cpu"}
    job = TrackJob.of(movie, tmp_path, box=BOX, **options)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "ProgressBar", Breaking)
        assert run_job(job).work == "failed"
    overlay = job.project / "exports" / "overlay.mp4"
    for work in ("resumed", "exported"):
        assert run_job(job).work == work
        assert imageio_ffmpeg.count_frames_and_secs(str(overlay))[0] == 10
        overlay.unlink()


def test_an_object_that_left_before_the_interruption_was_found(tmp_path) -> None:
    """A resumed run sees only the rest of the frames."""
    out = io.StringIO()
    with Project.create(tmp_path / "p.sam2", (4, 8, 8)) as project:
        there, gone = np.ones((8, 8), bool), np.zeros((8, 8), bool)
        for frame, masks in enumerate(([there, gone], [gone, gone])):
            scores = np.ones(2, np.float32)
            found = FrameMasks(frame, (1, 2), np.stack(masks), scores, scores, np.zeros(2, bool))
            project.store.put_masks(found, "tracked")
        summary = plan.Summary({2, 3}, visits=2, seen=Counter({1: 0, 2: 0}))
        report(Console(as_json=True, out=out), project, summary, {})
    warnings = [
        event["message"]
        for line in out.getvalue().splitlines()
        if (event := json.loads(line))["event"] == "warning"
    ]
    assert warnings == ["object 2 was not found on any frame: check its prompts, or try a larger model"]


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


def test_a_report_has_a_table_a_page_and_all_measurements(tmp_path, movie, checkpoint) -> None:
    common = {"box": BOX, "model": checkpoint, "device": "cpu", "export": "csv"}
    outcomes = []
    for name in ("a", "=b<i>"):
        shutil.copy(movie, tmp_path / f"{name}.tif")
        outcomes.append(run_job(TrackJob.of(tmp_path / f"{name}.tif", tmp_path, **common)))
    outcomes.append(JobOutcome(tmp_path / "c.sam2", "failed", "c.tif is <damaged>"))
    pages = write_report(outcomes, tmp_path / "report", lambda: None)
    assert [page.name for page in pages] == ["batch.csv", "batch.html", "measurements.csv"]
    with pages[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["recording"], r["work"], r["frames"], r["objects"]) for r in rows] == [
        ("a", "tracked", "12", "1"),
        ("'=b<i>", "tracked", "12", "1"),
        ("c", "failed", "0", "0"),
    ]
    with Project.open(outcomes[0].project) as project:
        assert int(rows[0]["open_for_review"]) == len(Review(project).queue())
    page = pages[1].read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "c.tif is &lt;damaged&gt;" in page
    assert "<i>" not in page
    assert 'href="../a.sam2/exports/measurements.csv"' in page
    with pages[2].open(newline="") as file:
        measured = list(csv.DictReader(file))
    assert [sum(row["recording"] == name for row in measured) for name in ("a", "'=b<i>")] == [12, 12]
    write_report(outcomes, tmp_path / "report", lambda: None)  # an earlier report is replaced


def test_a_report_is_not_written_among_other_files(napari_sam2, tmp_path, jobs_file) -> None:
    run = napari_sam2("batch", jobs_file("a.tif"), "--report", tmp_path)
    assert run.code == 1
    assert f"{tmp_path} has other files in it: choose a new folder for --report" in run.err
    assert not (tmp_path / "a.sam2").exists()


@pytest.mark.timeout(120)
def test_a_running_scheduler_is_used(napari_sam2, tmp_path, jobs_file) -> None:
    import distributed

    with distributed.LocalCluster(
        1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        run = napari_sam2("batch", jobs_file("a.tif"), "--scheduler", cluster.scheduler_address)
    assert run.code == 0, run.err
    assert seen(tmp_path / "a.sam2") == list(range(12))


@pytest.mark.timeout(300)
def test_a_lost_scheduler_is_a_sentence_and_the_same_command_goes_on(
    napari_sam2, tmp_path, jobs_file
) -> None:
    path = jobs_file("a.tif", "b.tif")
    hold, preload, address = tmp_path / "hold", tmp_path / "hold.py", tmp_path / "scheduler.json"
    hold.touch()
    preload.write_text(HOLD.format(hold=str(hold)))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen([*dask, "--host", "127.0.0.1", "--scheduler-file", str(address)], env=env)
    dask = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(address),
        "--nthreads",
        "1",
    ]
    worker = subprocess.Popen([*dask, "--no-nanny", "--no-dashboard", "--preload", str(preload)], env=env)
    try:
        words = [sys.executable, "-m", "napari_sam2.cli", "batch", str(path), "--scheduler", str(address)]
        while not address.exists():
            time.sleep(0.1)
        client = subprocess.Popen(
            words,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"},
        )
        while client.poll() is None and not seen_so_far(tmp_path / "a.sam2"):
            time.sleep(0.1)
        scheduler.kill()
        _, said = client.communicate()
    finally:
        scheduler.kill()
        worker.kill()
        scheduler.wait()
        worker.wait()
    assert client.returncode == 1
    assert "0 of 2: 1 worker" in said
    assert "the scheduler was lost after 0 of 2 recordings; every mask is saved" in said
    assert "Traceback" not in said
    hold.unlink()
    run = napari_sam2("batch", path, "--workers", "1", "--json").ok()
    assert [job["work"] for job in run["jobs"]] == ["resumed", "tracked"]


def test_without_dask_distributed_it_says_how_to_get_it(napari_sam2, jobs_file, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = napari_sam2("batch", jobs_file("a.tif"))
    assert run.code == 1
    assert "pip install 'napari-sam2[batch]'" in run.err


def test_each_worker_has_a_gpu_or_its_share_of_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(batch, "cpu_count", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [e["OMP_NUM_THREADS"] for e in batch._environments(4, 0)] == ["4"] * 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert batch._environments(4, 0)[0]["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "8,2")
    assert batch._environments(4, 0)[0]["OMP_NUM_THREADS"] == "4"
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
        "PYTHONPATH": str(ROOT),
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
