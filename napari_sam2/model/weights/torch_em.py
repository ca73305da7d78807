"""Read checkpoints of torch-em's trainer, which hold weights among Python objects, without running their code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch


class _Inert:
    """Takes the place of every foreign object in a checkpoint: accepts anything, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_torch_em(path: Path) -> dict[str, Any] | None:
    """Return the weights in a checkpoint of torch-em; None when it is none, or can't be read without running its code.

    The reader that only knows weights stays in charge. Names that it doesn't know (trainer, loss, optimiser …) are
    given a class that does nothing, so no function of the file's choice is ever called.
    """
    names = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    if names is None:  # before PyTorch 2.6
        return None
    try:
        inert: list[Any] = [(_Inert, name) for name in names(path)]
        with torch.serialization.safe_globals(inert):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("model_state"), dict):
        return None
    return {key: content[key] for key in ("model_state", "decoder_state") if key in content}
