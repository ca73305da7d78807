"""The wheel and the source distribution hold what an installation needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(target, folder):
    """Build with the build back end itself, as pip does, without a network."""
    code = f"import hatchling.build as b; print(b.build_{target}({str(folder)!r}))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return folder / out.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_the_manifest_the_weights_and_the_typing_marker(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        assert names.count("napari_sam2/napari.yaml") == 1
        assert file.read("napari_sam2/napari.yaml") == (ROOT / "napari.yaml").read_bytes()
        assert "napari_sam2/py.typed" in names
        assert "napari_sam2/model/weights/nano.safetensors" in names
        entry_points = next(file.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    assert "napari-sam2 = napari_sam2:napari.yaml" in entry_points
    assert "napari-sam2 = napari_sam2.cli:main" in entry_points
    assert not [n for n in names if n.startswith(("tests/", "docs/"))]


def test_the_wheel_is_small_and_pure(wheel):
    assert wheel.name.endswith("py3-none-any.whl")
    assert wheel.stat().st_size < 16e6


def test_a_wheel_can_be_made_from_the_source_distribution(tmp_path):
    archive = build("sdist", tmp_path)
    import tarfile

    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "source", filter="data")
    (root,) = (tmp_path / "source").iterdir()
    assert (root / "napari.yaml").is_file()
    code = f"import hatchling.build as b; print(b.build_wheel({str(tmp_path)!r}))"
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    with zipfile.ZipFile(tmp_path / out.stdout.strip().splitlines()[-1]) as file:
        assert file.read("napari_sam2/napari.yaml") == (ROOT / "napari.yaml").read_bytes()


def test_the_installed_package_offers_its_manifest():
    from importlib.metadata import entry_points

    (entry,) = [e for e in entry_points(group="napari.manifest") if e.name == "napari-sam2"]
    module, file = entry.value.split(":")
    assert (Path(__import__(module).__file__).parent / file).is_file()
