"""Attention for the CPU: blocks of queries in reused buffers, values as narrow as the memories are."""

from __future__ import annotations

import torch
from torch import Tensor

# One block of scores stays under 32 MB, where the allocator starts to map and unmap memory on every call.
SCORE_BYTES = 16 * 2**20


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Average values by softmax of q·k, as scaled dot-product attention does, in little memory.

    Parameters
    ----------
    q : Tensor
        (B, Nq, C).
    k : Tensor
        (B, Nk, C).
    v : Tensor
        (B, Nk, Cv), Cv may differ from C.

    Returns
    -------
    Tensor
        (B, Nq, Cv).
    """
    scale = q.shape[-1] ** -0.5
    queries, keys = q.shape[1], k.shape[1]
    out = v.new_empty(len(q), queries, v.shape[2])
    step = max(1, min(queries, SCORE_BYTES // (keys * q.element_size())))
    scores = q.new_empty(step, keys)
    for b in range(len(q)):
        turned = k[b].T
        for start in range(0, queries, step):
            stop = min(start + step, queries)
            block = torch.mm(q[b, start:stop] * scale, turned, out=scores[: stop - start])
            torch.softmax(block, 1, out=block)
            out[b, start:stop] = block @ v[b]
    return out
