"""Devices that networks run on, and how float32 products are computed there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"] | str


def choose_device(device: DeviceName | torch.device = "auto") -> torch.device:
    """Return the device to compute on; "auto" takes CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        When the device does not exist on this machine.
    """
    if isinstance(device, torch.device):
        device = str(device)
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"unknown device {device!r}: use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(chosen.type, False):
        raise ValueError(f"this machine has no device '{device}' that PyTorch can use: use 'auto' or 'cpu'")
    return chosen


def half_precision(device: torch.device) -> torch.dtype:
    """Return the half precision that a device is fast at: bfloat16 where it computes that itself, else float16."""
    if device.type == "cuda":
        # Older GPUs emulate bfloat16, slower than float32 (and PyTorch counts that as support).
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.bfloat16 if device.type == "cpu" else torch.float16


@contextmanager
def fast_float32(device: torch.device) -> Iterator[None]:
    """Let float32 matrix products on the CPU take the faster of PyTorch's two back ends.

    PyTorch's setting for it is global, so it is put back afterwards. On processors with AMX the same setting
    would round to bfloat16, so it is left alone there, as on every other device.
    """
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    if device.type != "cpu" or has_amx():
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def default_float32() -> Iterator[None]:
    """Let float32 matrix products take PyTorch's default back end again, inside :func:`fast_float32`."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
