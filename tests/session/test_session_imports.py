"""Records, options and stores are read without waiting for torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "line",
    [
        "from napari_sam2.session import ObjectRecord, RecordStore, SessionOptions, TemporaryStore, ArrayFrames",
        "from napari_sam2.session import MemoryBank, RecencyPolicy",
        "from napari_sam2.storage import History, Project, is_project",
        "from napari_sam2.model.config import ModelConfig",
        "from napari_sam2.prompts import merged",
    ],
)
def test_torch_is_not_loaded_for(line):
    code = f"import sys; {line}; print(sorted({{'torch', 'scipy', 'qtpy', 'napari'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    import napari_sam2.session

    with pytest.raises(AttributeError, match="No napari_sam2.session attribute Sessions"):
        napari_sam2.session.Sessions  # noqa: B018
