"""``napari-sam2 batch``: many recordings, each on whichever worker of dask.distributed is free."""

from __future__ import annotations

import logging
import os
import signal
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dask.system import cpu_count  # respects the limits of taskset and containers

from napari_sam2.cli.commands.batch_report import check_report_folder, write_report
from napari_sam2.cli.commands.jobs_file import read_jobs
from napari_sam2.cli.commands.track_jobs import JobOutcome, TrackJob, run_job
from napari_sam2.cli.errors import CommandError, CommandInterrupted
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.progress import ProgressBar

_CORES_PER_WORKER = 4


def run(args: Namespace, console: Console) -> None:
    """Run the command."""
    jobs = read_jobs(args.jobs)
    if args.report is not None:
        check_report_folder(args.report)
    try:
        import distributed
    except ImportError:
        raise CommandError(
            "batches need dask.distributed: install it with pip install 'napari-sam2[batch]'"
        ) from None
    # what it logs while it is being closed would hide our sentence; what goes wrong comes as exceptions
    for name in ("distributed", "distributed.client"):  # the second one has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _client(distributed, args, len(jobs)) as client:
            outcomes = _outcomes(distributed, client, jobs, console)
    except KeyboardInterrupt:
        raise CommandInterrupted(
            "stopped; every mask is saved up to the last frame, the same command goes on"
        ) from None
    pages = [] if args.report is None else _written_report(outcomes, args.report, console)
    _report(outcomes, pages, console)


def _written_report(outcomes: list[JobOutcome], folder: Path, console: Console) -> list[Path]:
    progress = ProgressBar(console, "writing the report", len(outcomes), unit="recordings")
    try:
        return write_report(outcomes, folder, progress.step)
    finally:
        progress.finish()


def _client(distributed: Any, args: Namespace, n_jobs: int) -> Any:
    """Return a client of the scheduler that is asked for, or of one for this machine that ends with it."""
    if args.scheduler is None:
        return _local_client(distributed, min(args.workers or _fitting_workers(), n_jobs))
    try:
        if Path(args.scheduler).is_file():
            return distributed.Client(scheduler_file=args.scheduler, timeout=30)
        return distributed.Client(args.scheduler, timeout=30)
    except (OSError, ValueError) as error:
        raise CommandError(f"no dask scheduler answers at {args.scheduler}: {error}") from error


@contextmanager
def _local_client(distributed: Any, n_workers: int) -> Iterator[Any]:
    """Yield a client of workers on this machine, with a GPU each, or a part of the cores."""
    # who reaches a scheduler can run anything: nobody outside this machine may
    local = {"host": "127.0.0.1", "dashboard": False}
    # a share of the memory as the limit would kill what only needs more than the others
    worker = {**local, "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    environments = enumerate(_environments(n_workers, _gpus()))
    workers = {i: {"cls": distributed.Nanny, "options": {**worker, "env": env}} for i, env in environments}
    # any free port also for its HTTP server, which runs without a dashboard, too: usually it takes 8787, everywhere
    ports = {"port": 0, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": distributed.Scheduler, "options": {**local, **ports}}
    try:
        with _children_deaf_to_ctrl_c():
            cluster = distributed.SpecCluster(
                workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL
            )
    except RuntimeError as error:
        reason: BaseException = error
        while reason.__cause__ is not None:  # dask's own sentence only says that something failed
            reason = reason.__cause__
        raise CommandError(f"the workers can't be started: {str(reason) or type(reason).__name__}") from error
    with cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def _children_deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: this one ends them in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _environments(n_workers: int, gpus: int) -> list[dict[str, str]]:
    """Return the environment of each worker's process: its GPU, and its share of the cores."""
    share = max(1, cpu_count() // n_workers)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    shares = {name: _fewer(os.environ.get(name), share) for name in names}
    if gpus < 2:
        return [dict(shares) for _ in range(n_workers)]
    return [{**shares, "CUDA_VISIBLE_DEVICES": str(i % gpus)} for i in range(n_workers)]


def _fewer(limit: str | None, share: int) -> str:
    """Return the threads of a worker: its share, or the user's own limit (the first of a list) if that is lower."""
    first = (limit or "").split(",")[0].strip()
    return str(min(int(first), share) if first.isdigit() and int(first) else share)


def _fitting_workers() -> int:
    return _gpus() or max(1, cpu_count() // _CORES_PER_WORKER)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _outcomes(
    distributed: Any, client: Any, jobs: tuple[TrackJob, ...], console: Console
) -> list[JobOutcome]:
    """Hand out the jobs and return their outcomes, in the order of the file; each is reported as it ends."""
    futures = [client.submit(run_job, job, pure=False, priority=-i) for i, job in enumerate(jobs)]
    place = {future.key: i for i, future in enumerate(futures)}
    outcomes: dict[int, JobOutcome] = {}
    total, workers = len(jobs), len(client.scheduler_info()["workers"])
    at_once = f"{workers} worker{'s' * (workers != 1)}"
    console.progress({"task": "batch", "done": 0, "total": total}, f"0 of {total}: {at_once}")
    try:
        for future in distributed.as_completed(futures):
            i = place[future.key]
            outcomes[i] = _outcome(future, jobs[i])
            _report_job(outcomes[i], len(outcomes), len(jobs), console)
    except (CancelledError, distributed.core.CommClosedError) as error:
        raise CommandError(
            f"the scheduler was lost after {len(outcomes)} of {len(jobs)} recordings; every mask is saved, "
            "the same command goes on when there is a scheduler again"
        ) from error
    except BaseException:
        client.cancel(futures)
        raise
    return [outcomes[i] for i in range(len(jobs))]


def _outcome(future: Any, job: TrackJob) -> JobOutcome:
    error = future.exception()
    if error is None:
        outcome: JobOutcome = future.result()
        return outcome
    # The worker was killed again and again (memory?), or can't import what it needs.
    return JobOutcome(job.project, "failed", f"the worker failed: {' '.join(str(error).split())}")


def _report_job(outcome: JobOutcome, done: int, total: int, console: Console) -> None:
    frames = f", {outcome.result['frames']} frames" if outcome.result.get("frames") else ""
    text = f"{done} of {total}: {outcome.project}: {outcome.work}{frames}"
    data = {"task": "batch", "project": outcome.project, "work": outcome.work, "done": done, "total": total}
    console.progress(data, text)
    for warning in outcome.warnings:
        console.warning(f"{outcome.project}: {warning}")
    if outcome.work in ("failed", "elsewhere"):
        console.warning(f"{outcome.project}: {outcome.message}")


def _report(outcomes: list[JobOutcome], pages: list[Path], console: Console) -> None:
    counts = Counter(outcome.work for outcome in outcomes)
    text = ", ".join(f"{number} {work}" for work, number in counts.items())
    data = {"jobs": [asdict(outcome) for outcome in outcomes], "report": [str(page) for page in pages]}
    console.result(data, "\n  ".join([f"{len(outcomes)} recordings: {text}", *map(str, pages)]))
    if counts["failed"]:
        raise CommandError(
            f"{counts['failed']} of {len(outcomes)} recordings failed; the same command tries only what is not complete"
        )
    if counts["elsewhere"]:
        raise CommandError(
            f"{counts['elsewhere']} of {len(outcomes)} recordings are open in another process; "
            "repeat the command when it has ended"
        )
