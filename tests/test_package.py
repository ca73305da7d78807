"""What importing the package costs, and what it exports."""

import os
import subprocess
import sys

import napari_sam2


def run(code):
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    return out.stdout.strip()


def test_importing_loads_neither_torch_nor_qt():
    heavy = run(
        "import sys; before = set(sys.modules); import napari_sam2; "
        "print([m for m in set(sys.modules) - before if m.split('.')[0] in "
        "('torch', 'numpy', 'qtpy', 'PyQt6', 'napari', 'dask', 'scipy', 'zarr')])"
    )
    assert heavy == "[]"


def test_importing_is_nearly_free():
    """In processor time, which other work on the machine does not change much."""
    code = "import time; t = time.process_time(); import napari_sam2; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.1


def test_every_public_name_exists():
    for name in napari_sam2.__all__:
        assert getattr(napari_sam2, name) is not None
    assert set(napari_sam2.__all__) <= set(dir(napari_sam2))


def test_an_unknown_name_is_an_attribute_error():
    try:
        napari_sam2.no_such_name  # noqa: B018
    except AttributeError as error:
        assert "no_such_name" in str(error)
    else:
        raise AssertionError("no error")
