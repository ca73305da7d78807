"""The wheel and the source distribution hold what an installation needs."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import napari_sam2

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
        module, icon = yaml.safe_load((ROOT / "napari.yaml").read_text(encoding="utf-8"))["icon"].split(":")
        assert f"{module.replace('.', '/')}/{icon}" in names
        entry_points = next(file.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    assert "napari-sam2 = napari_sam2:napari.yaml" in entry_points
    assert "napari-sam2 = napari_sam2.cli:main" in entry_points
    assert not [n for n in names if n.startswith(("tests/", "docs/"))]


def test_the_wheel_is_small_and_pure(wheel):
    assert wheel.name.endswith("py3-none-any.whl")
    assert wheel.stat().st_size < 12e6


def test_a_wheel_can_be_made_from_the_source_distribution(tmp_path):
    archive = build("sdist", tmp_path)
    import tarfile

    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "source", filter="data")
    (root,) = (tmp_path / "source").iterdir()
    assert (root / "napari.yaml").is_file()
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    needed = set(re.findall(r"(?<=\s)(?:constraints[\w-]*\.txt|\.ci/[\w-]+|pyproject\.toml)", makefile))
    assert len(needed) >= 4
    assert not [
        name for name in needed | {"mkdocs.yml", "README.md", "LICENSE"} if not (root / name).is_file()
    ]
    assert len(list((root / "examples").glob("*.py"))) >= 7
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


@pytest.fixture(params=["wheel", "editable"])
def installed(request, tmp_path):
    """Runs Python elsewhere, with the wheel unpacked in front of everything, or with the editable installation."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["COLUMNS"] = "300"
    root = ROOT
    if request.param == "wheel":  # a pure wheel is installed by unpacking it
        root = tmp_path / "site"
        with zipfile.ZipFile(request.getfixturevalue("wheel")) as file:
            file.extractall(root)
        environment["PYTHONPATH"] = str(root)

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return root, run


ASKED = """
import json, napari_sam2
from importlib import import_module
from npe2 import PluginManager
manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-sam2")
missing = []
for command in manifest.contributions.commands:
    module, name = command.python_name.split(":")
    if not hasattr(import_module(module), name):
        missing.append(command.python_name)
manager.activate("napari-sam2")
[image, *_] = manager.commands.execute("napari-sam2.sample_timelapse")
menus = {key: len(items) for key, items in manifest.contributions.menus.items()}
print(json.dumps([napari_sam2.__file__, manifest.package_version, missing, menus, image[0].shape]))
"""


def test_napari_finds_the_plugin_in_an_installation_and_everything_in_it(installed):
    root, run = installed
    file, version, missing, menus, shape = json.loads(run("-W", "ignore", "-c", ASKED).splitlines()[-1])
    assert Path(file).is_relative_to(root)
    assert version == napari_sam2.__version__
    assert missing == []
    assert menus == {"napari/layers/segment": 2, "napari/layers/track": 1, "napari/layers/annotate": 3}
    assert len(shape) == 3
    [line] = [line for line in run("-m", "napari", "--plugin-info").splitlines() if "napari-sam2 " in line]
    assert "widgets (5)" in line


def test_the_manifest_passes_npe2_validate():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", str(ROOT / "napari.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Manifest for 'SAM 2' valid" in done.stdout


def test_the_conda_recipe_has_the_dependencies_of_the_package():
    recipe = yaml.safe_load((ROOT / "conda-recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there = {"dask[array]": "dask-core", "torch": "pytorch", "huggingface-hub": "huggingface_hub"}
    expected = [re.fullmatch(r"([\w\[\]-]+)(.*)", line).groups() for line in project["dependencies"]]
    run = [line for line in recipe["requirements"]["run"] if not line.startswith("python ")]
    assert run == [f"{there.get(name, name)} {versions}".strip() for name, versions in expected]
