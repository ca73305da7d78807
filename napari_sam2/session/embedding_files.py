"""Image embeddings on disk, found again by the pixels and the network that they belong to."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_sam2.model.tensors import ImageFeatures

# For networks that take seconds to encode an image on a CPU: some hundred frames.
USUAL_MB = 2048
_PLANES = ("stride4", "stride8", "stride16")
_log = logging.getLogger(__name__)


class EmbeddingFiles:
    """Embeddings in a folder that all sessions of this machine share; the least recently used go first.

    Parameters
    ----------
    network : str
        Everything but the pixels that embeddings depend on: weights, precision, device, resizing.
    budget_bytes : int
        How much the folder may hold.
    folder : Path, optional
        By default ``napari-sam2/embeddings`` in the user's cache.
    """

    def __init__(self, network: str, budget_bytes: int, folder: Path | None = None) -> None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = folder or caches / "napari-sam2" / "embeddings"
        self._network = network
        self._budget = budget_bytes

    def get(self, frame: NDArray[np.uint8], device: torch.device) -> ImageFeatures | None:
        """Return the embedding of a frame (H, W, 3), or None when there is none."""
        path = self._path(frame)
        try:
            planes = load_file(path, str(device))
            features = ImageFeatures(*(planes[name] for name in _PLANES))
            os.utime(path)
        except (OSError, SafetensorError, KeyError):
            return None
        return features

    def put(self, frame: NDArray[np.uint8], features: ImageFeatures) -> None:
        """Keep the embedding of a frame; a folder that can't be written is no error."""
        planes = {name: getattr(features, name).detach().cpu().contiguous() for name in _PLANES}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as made:
                save_file(planes, Path(made) / "embedding")
                os.replace(Path(made) / "embedding", self._path(frame))
            self._shrink()
        except OSError as error:
            _log.debug("an embedding could not be kept in %s: %s", self.folder, error)

    def _path(self, frame: NDArray[np.uint8]) -> Path:
        digest = hashlib.blake2b(f"{self._network} {frame.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(frame).data)
        return self.folder / f"{digest.hexdigest()}.safetensors"

    def _shrink(self) -> None:
        found = []
        for path in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process may make room, too
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        held = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if held <= self._budget:
                break
            path.unlink(missing_ok=True)
            held -= size
