"""Divisions in exports, read back by other libraries where they are installed."""

from __future__ import annotations

import csv
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from napari_sam2.calibration import Calibration
from napari_sam2.formats import FORMATS, TrackingResults, export_format, read_ctc
from napari_sam2.formats.tracks import track_links, tracks_array
from napari_sam2.masks import FrameMasks
from napari_sam2.objects import ObjectInfo, Parent, lineage_graph

SIZE = (30, 40)
# Object: frames on which it is seen, and the column of its first pixel; 3 and 4 come from 1, 9 from 4.
SEEN = {1: (range(0, 4), 4), 3: (range(4, 8), 2), 4: ((4, 6), 12), 9: ((7,), 20), 5: (range(0, 8), 30)}
PARENTS = {3: Parent(1, 4), 4: Parent(1, 4), 9: Parent(4, 7)}
# (object, frame) -> (object, frame)
LINKS = {
    *(((1, t), (1, t + 1)) for t in range(3)),
    *(((3, t), (3, t + 1)) for t in range(4, 7)),
    *(((5, t), (5, t + 1)) for t in range(7)),
    *(((1, 3), (3, 4)), ((1, 3), (4, 4)), ((4, 4), (4, 6)), ((4, 6), (9, 7))),
}


def mask(object_id: int) -> np.ndarray:
    """Six rows and five columns."""
    found = np.zeros(SIZE, bool)
    found[5 + object_id : 11 + object_id, SEEN[object_id][1] : SEEN[object_id][1] + 5] = True
    return found


def center(object_id: int) -> tuple[float, float]:
    y, x = np.argwhere(mask(object_id)).mean(0)
    return float(y), float(x)


@pytest.fixture
def divided() -> TrackingResults:
    frames = []
    for t in range(8):
        ids = tuple(sorted(i for i, (seen, _) in SEEN.items() if t in seen))
        ious = np.full(len(ids), 0.75, np.float32)
        masks = np.stack([mask(i) for i in ids])
        frames.append(FrameMasks(t, ids, masks, ious * 8, ious, np.zeros(len(ids), bool)))
    infos = [ObjectInfo(i, parent=PARENTS.get(i)) for i in sorted(SEEN)]
    cal = Calibration("t", (2.0, 0.5, 0.5), ("second", "micrometer", "micrometer"))
    return TrackingResults.from_frames(frames, infos, calibration=cal)


def with_parent(run: TrackingResults, object_id: int, parent: Parent) -> TrackingResults:
    return replace(
        run, objects=tuple(replace(o, parent=parent) if o.object_id == object_id else o for o in run.objects)
    )


def test_links_go_forward_in_time_over_gaps_and_divisions(divided):
    rows = tracks_array(divided)
    nodes = [(int(i), int(t)) for i, t in rows[:, :2]]
    assert {(nodes[a], nodes[b]) for a, b in track_links(rows, divided.objects)} == LINKS
    assert track_links(np.zeros((0, 4)), divided.objects).shape == (0, 2)


def test_ctc_has_parents_and_gives_them_back(divided, tmp_path):
    path = export_format("ctc").write(divided, tmp_path / "01_RES")
    table = (path / "res_track.txt").read_text().splitlines()
    # Object 4 has a gap: its second stretch is track 2, and object 9 comes from that.
    assert table == ["1 0 3 0", "2 6 6 4", "3 4 7 1", "4 4 4 1", "5 0 7 0", "9 7 7 2"]
    back = read_ctc(path)
    assert {o.object_id: o.parent for o in back.objects} == {i: PARENTS.get(i) for i in sorted(SEEN)}
    assert back.masklets[4].frames == (4, 6)


def test_ctc_leaves_out_a_mother_who_is_still_there(divided, tmp_path):
    path = export_format("ctc").write(with_parent(divided, 3, Parent(5, 4)), tmp_path / "01_RES")
    assert "3 4 7 0" in (path / "res_track.txt").read_text().splitlines()


def test_the_challenge_s_checks_pass(divided, tmp_path):
    validate = pytest.importorskip("ctc_metrics.scripts.validate")
    path = export_format("ctc").write(divided, tmp_path / "01_RES")
    assert validate.validate_sequence(str(path))["Valid"] == 1


def test_tables_have_parent_and_generation(divided, tmp_path):
    expected = {1: ("", "0"), 3: ("1", "1"), 4: ("1", "1"), 5: ("", "0"), 9: ("4", "2")}
    for name, key in (("tracks", "track_id"), ("csv", "object_id")):
        path = export_format(name).write(divided, tmp_path / f"{name}.csv")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {int(r[key]): (r["parent"], r["generation"]) for r in rows} == expected
        export_format(name).write(divided, path, overwrite=True)  # it is known as an export


@pytest.mark.filterwarnings("ignore")  # napari's own imports warn
def test_napari_takes_the_graph(divided):
    layers = pytest.importorskip("napari.layers")
    layer = layers.Tracks(tracks_array(divided), graph=lineage_graph(divided.objects))
    assert layer.graph == {3: [1], 4: [1], 9: [4]}


def test_an_object_that_is_its_own_ancestor_is_named(divided, tmp_path):
    with pytest.raises(ValueError, match="own ancestor"):
        export_format("csv").write(with_parent(divided, 1, Parent(9, 2)), tmp_path / "a.csv")


@pytest.mark.filterwarnings("ignore")
def test_geff_is_read_by_its_library(divided, tmp_path):
    geff = pytest.importorskip("geff")
    path = export_format("geff").write(divided, tmp_path / "tracks.geff")
    graph, metadata = geff.read(str(path), structure_validation=True)
    assert metadata.directed
    assert [(a.name, a.type, a.scale, a.scaled_unit) for a in metadata.axes] == [
        ("t", "time", 2.0, "second"),
        ("y", "space", 0.5, "micrometer"),
        ("x", "space", 0.5, "micrometer"),
    ]
    nodes = {n: (int(d["track_id"]), int(d["t"])) for n, d in graph.nodes(data=True)}
    assert {(nodes[a], nodes[b]) for a, b in graph.edges} == LINKS
    assert all((d["y"], d["x"]) == center(nodes[n][0]) for n, d in graph.nodes(data=True))
    export_format("geff").write(divided, path, overwrite=True)  # it is known as an export
    (path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        export_format("geff").write(divided, path, overwrite=True)


def test_without_its_library_a_format_says_what_to_install(divided, tmp_path):
    missing = replace(FORMATS["geff"], package="no_such_library_at_all")
    assert not missing.available
    with pytest.raises(ImportError, match=r"napari-sam2\[lineage\]"):
        missing.write(divided, tmp_path / "tracks.geff")


def test_trackmate_has_spots_in_physical_units_with_outlines_and_links(divided, tmp_path):
    path = export_format("trackmate").write(divided, tmp_path / "trackmate.xml")
    root = ET.parse(path).getroot()
    assert root.find("Model").attrib == {"spatialunits": "µm", "timeunits": "second"}
    spots = {s.get("ID"): s for s in root.iter("Spot")}
    assert root.find("Model/AllSpots").get("nspots") == str(len(spots)) == "19"
    names = {i: (int(s.get("name").split()[1]), int(s.get("FRAME"))) for i, s in spots.items()}
    edges = {(names[e.get("SPOT_SOURCE_ID")], names[e.get("SPOT_TARGET_ID")]) for e in root.iter("Edge")}
    assert edges == LINKS
    tracks = [
        {names[e.get(end)][0] for e in t.iter("Edge") for end in ("SPOT_SOURCE_ID", "SPOT_TARGET_ID")}
        for t in root.iter("Track")
    ]
    assert sorted(map(sorted, tracks)) == [[1, 3, 4, 9], [5]]
    spot = next(s for i, s in spots.items() if names[i] == (3, 5))
    y, x = center(3)
    assert (float(spot.get("POSITION_Y")), float(spot.get("POSITION_X"))) == (y / 2, x / 2)
    assert float(spot.get("POSITION_T")) == 10
    assert float(spot.get("RADIUS")) == pytest.approx(np.sqrt(30 * 0.25 / np.pi), rel=1e-4)
    outline = np.array(spot.text.split(), float).reshape(-1, 2)
    assert len(outline) == int(spot.get("ROI_N_POINTS"))
    np.testing.assert_allclose(np.abs(outline).max(0), [5 / 2 * 0.5, 6 / 2 * 0.5])
    export_format("trackmate").write(divided, path, overwrite=True)  # it is known as an export


def test_trackmate_is_read_by_another_library(divided, tmp_path):
    pytrackmate = pytest.importorskip("pytrackmate")
    path = export_format("trackmate").write(divided, tmp_path / "trackmate.xml")
    table = pytrackmate.trackmate_peak_import(str(path), get_tracks=True)
    assert len(table) == 19
    assert sorted(table.groupby("label").size()) == [8, 11]
    assert set(table["t"]) == {2.0 * t for t in range(8)}
