"""A seeded network of a few thousand weights and a short drawn recording: commands that take milliseconds."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam2.cli import main

LENGTH, HEIGHT, WIDTH = 12, 40, 56


def drawn_movie() -> np.ndarray:
    """uint8 (T, H, W): a bright block that goes right and a dim one that goes left, over noise."""
    frames = np.random.default_rng(1).integers(0, 60, (LENGTH, HEIGHT, WIDTH)).astype(np.uint8)
    for t in range(LENGTH):
        frames[t, 8:20, 2 * t : 2 * t + 14] += 150
        frames[t, 26:36, 40 - 2 * t : 52 - 2 * t] += 80
    return frames


def drawn_truth() -> np.ndarray:
    """uint16 (T, H, W): where the two blocks are."""
    labels = np.zeros((LENGTH, HEIGHT, WIDTH), np.uint16)
    for t in range(LENGTH):
        labels[t, 8:20, 2 * t : 2 * t + 14] = 1
        labels[t, 26:36, 40 - 2 * t : 52 - 2 * t] = 2
    return labels


@pytest.fixture(autouse=True)
def signals_of_a_terminal() -> Iterator[None]:
    """A test run under nohup or in the background ignores signals; commands would respect that."""
    names = [name for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), signal.SIG_DFL) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from napari_sam2.training.export import export_checkpoint
    from tests.storage.tiny_sessions import CONFIG, network

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return export_checkpoint(network().state_dict(), CONFIG, path, dtype=torch.float32)


@pytest.fixture(scope="session")
def sam1_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small micro-sam file: a Segment Anything 1 and a decoder for instances."""
    import torch

    from napari_sam2.model.sam1.instance_decoder import InstanceDecoder
    from tests.golden.sam1_recipe import meta_state

    torch.manual_seed(0)
    decoder = InstanceDecoder(256, 16).state_dict()
    decoder["out_conv.bias"] = torch.tensor(
        [8.0, -8.0, -8.0]
    )  # foreground and seeds everywhere: one instance
    path = tmp_path_factory.mktemp("sam1") / "vit_b_lm.pt"
    torch.save({"model_state": meta_state(blobs=True), "decoder_state": decoder}, path)
    return path


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path, drawn_movie(), imagej=True, metadata={"axes": "TYX", "unit": "um", "finterval": 2.0}
    )
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, drawn_truth(), metadata={"axes": "TYX"})
    return path


class Run:
    """Outcome of a command: exit code, what it said, and its JSON lines."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    def ok(self) -> dict:
        """The result of a command that succeeded."""
        assert self.code == 0, (self.out, self.err)
        last = self.events[-1]
        assert last["event"] == "result"
        return last


@pytest.fixture
def napari_sam2(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Run:
        capsys.readouterr()
        code = main([str(w) for w in words])
        said = capsys.readouterr()
        return Run(code, said.out, said.err)

    return run
