"""Several recordings as jobs. Called again, it leaves alone what is complete and goes on with the rest."""

from __future__ import annotations

from pathlib import Path

import tifffile

from napari_sam2 import TrackJob, run_job, sample_timelapse


def main(folder: Path, frames: int = 4) -> list[str]:
    """Return what was done for each recording: "tracked", or "complete" the second time."""
    sample = sample_timelapse()
    for name in ("first", "second"):
        path = folder / f"{name}.tif"
        if not path.exists():
            tifffile.imwrite(path, sample.image[:frames], imagej=True, metadata={"axes": "TYX"})
    box = "0:1:" + ",".join(map(str, sample.first_sight[1].box))
    jobs = [TrackJob.of(f"{name}.tif", folder, box=box, export="csv") for name in ("first", "second")]
    outcomes = [
        run_job(job) for job in jobs
    ]  # with dask: client.gather(client.map(run_job, jobs, pure=False))
    for outcome in outcomes:
        print(outcome.project, outcome.work, outcome.message)
    return [outcome.work for outcome in outcomes]


if __name__ == "__main__":
    here = Path("napari-sam2-examples")
    here.mkdir(exist_ok=True)
    main(here)
