"""Find everything on the first frame, follow it, and write tracks that napari and TrackMate's readers understand."""

from __future__ import annotations

from pathlib import Path

from napari_sam2 import AutomaticOptions, VideoSession, load_model, sample_timelapse
from napari_sam2.automatic import track_everything
from napari_sam2.formats import TrackingResults, export_format
from napari_sam2.session import ArrayFrames


def main(folder: Path, frames: int = 5) -> Path:
    """Return the path of the table of tracks."""
    session = VideoSession(load_model("nano"), ArrayFrames(sample_timelapse().image[:frames]))
    options = AutomaticOptions.preset("cells", points_per_side=12)
    found = list(
        track_everything(session, options)
    )  # with new_objects_every=10, later frames are searched, too
    print(len(session.object_ids), "objects on", len(found), "frames")
    results = TrackingResults.from_frames(found)
    export_format("ctc").write(results, folder / "01_RES")
    return export_format("tracks").write(results, folder / "tracks.csv")


if __name__ == "__main__":
    here = Path("napari-sam2-examples")
    here.mkdir(exist_ok=True)
    print(main(here).read_text())
