"""The decoder that micro-sam trains beside SAM: from an image embedding to three maps about all instances at once.

Source: A. Archit et al., "Segment Anything for Microscopy", 2025; the network is a UNETR without skip connections from
the transformer (torch-em). Convolutions are computed strip by strip: at 1024 × 1024 pixels one map of 64 channels takes
268 MB, and a layer at once several of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 3  # foreground, distance to the centre, distance to the boundary
PIXELS_AT_ONCE = 1 << 16


def convolved(parts: Sequence[Tensor], convolution: nn.Conv2d, step: Callable[[Tensor], Tensor]) -> Tensor:
    """Convolve maps (B, C, H, W), joined along their channels, by 3 × 3, strip by strip.

    Parameters
    ----------
    parts : sequence of Tensor
        The maps.
    convolution : Conv2d
        Its weights, and its padding of one pixel.
    step : callable
        What follows on the output of a strip.
    """
    batch, _, height, width = parts[0].shape
    out = parts[0].new_empty(batch, convolution.out_channels, height, width)
    rows = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        low, high = max(0, top - 1), min(height, bottom + 1)
        strip = torch.cat([part[:, :, low:high] for part in parts], 1)
        strip = F.pad(strip, (1, 1, low - top + 1, bottom + 1 - high))
        out[:, :, top:bottom] = step(F.conv2d(strip, convolution.weight, convolution.bias))
    return out


class Upsampler(nn.Module):
    """Double the resolution bilinearly, and change the width (reference: ``Upsampler2d``).

    The width first, other than in the reference: the same numbers up to rounding, with a quarter of the work.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) -> (B, out_dim, 2 H, 2 W)."""
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=False)


class _Wrapped(nn.Module):
    """A layer under the name ``block``, as in the reference's ``SingleDeconv2DBlock`` and ``SingleConv2DBlock``."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


def _upsampler(in_dim: int, out_dim: int, transposed: bool) -> nn.Module:
    return _Wrapped(nn.ConvTranspose2d(in_dim, out_dim, 2, 2)) if transposed else Upsampler(in_dim, out_dim)


class _Deconvolution(nn.Module):
    """Double the resolution, then convolve (reference: ``Deconv2DBlock``)."""

    def __init__(self, in_dim: int, out_dim: int, transposed: bool) -> None:
        super().__init__()
        convolution = _Wrapped(nn.Conv2d(out_dim, out_dim, 3, padding=1))
        up = _upsampler(in_dim, out_dim, transposed)
        self.block = nn.Sequential(up, convolution, nn.BatchNorm2d(out_dim), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        convolution = self.block[1].block
        assert isinstance(convolution, nn.Conv2d)
        return convolved([self.block[0](x)], convolution, self.block[2:])


class _Convolutions(nn.Module):
    """Normalise and convolve, twice (reference: ``ConvBlock2d``)."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        first = nn.InstanceNorm2d(in_dim), nn.Conv2d(in_dim, out_dim, 3, padding=1), nn.ReLU(inplace=True)
        second = nn.InstanceNorm2d(out_dim), nn.Conv2d(out_dim, out_dim, 3, padding=1), nn.ReLU(inplace=True)
        self.block = nn.Sequential(*first, *second)

    def forward(self, *parts: Tensor) -> Tensor:
        """Maps that are joined along their channels; those of the first layer are normalised in place."""
        for convolution in self.block:
            if isinstance(convolution, nn.Conv2d):
                parts = (convolved([_normalised(part) for part in parts], convolution, F.relu_),)
        return parts[0]


def _normalised(x: Tensor) -> Tensor:
    """Bring each channel of maps (B, C, H, W) to mean 0 and variance 1, in place (reference: ``InstanceNorm2d``)."""
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return x.sub_(mean).mul_((variance + 1e-5).rsqrt_())


class _Decoder(nn.Module):
    def __init__(self, widths: tuple[int, ...], transposed: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Convolutions(a, b) for a, b in pairwise(widths))
        self.samplers = nn.ModuleList(_upsampler(a, b, transposed) for a, b in pairwise(widths))

    def forward(self, x: Tensor, finer: tuple[Tensor, ...]) -> Tensor:
        for block, sampler, beside in zip(self.blocks, self.samplers, finer):
            x = sampler(x)
            # The reference crops what it joins to the same shape, channels included: the middle ones are kept.
            first = (beside.shape[1] - x.shape[1]) // 2
            x = block(x, beside[:, first : first + x.shape[1]])
        return x


class InstanceDecoder(nn.Module):
    """Image embeddings to maps of foreground and distances (reference: ``DecoderAdapter`` around ``UNETR``).

    Parameters
    ----------
    embed_dim : int
        Channels of the image embedding.
    width : int
        Channels of the coarsest level; each finer one has half as many.
    transposed : bool
        Upsampling by transposed convolutions instead of interpolation.
    """

    def __init__(self, embed_dim: int = 256, width: int = 512, transposed: bool = False) -> None:
        super().__init__()
        widths = (width, width // 2, width // 4, width // 8)
        finest = widths[-1]
        self.deconv1 = _Deconvolution(embed_dim, widths[0], transposed)
        self.deconv2 = _Deconvolution(widths[0], widths[1], transposed)
        self.deconv3 = _Deconvolution(widths[1], widths[2], transposed)
        self.deconv4 = _Deconvolution(widths[2], widths[3], transposed)
        self.base = _Convolutions(embed_dim, widths[0])
        self.decoder = _Decoder(widths, transposed)
        self.deconv_out = _upsampler(finest, finest, transposed)
        self.decoder_head = _Convolutions(2 * finest, finest)
        self.out_conv = nn.Conv2d(finest, CHANNELS, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, 16 h, 16 w): foreground, distances to centre and boundary, from 0 to 1."""
        finer = [self.deconv1(embedding)]
        for deconvolution in (self.deconv2, self.deconv3, self.deconv4):
            finer.append(deconvolution(finer[-1]))
        finest = finer.pop()
        x = self.decoder(self.base(embedding.clone()), tuple(finer))
        del finer  # 230 MB at 1024 pixels, just before the largest step
        x = self.decoder_head(self.deconv_out(x), finest)
        del finest
        out: Tensor = self.out_conv(x).sigmoid_()
        return out

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> InstanceDecoder:
        """Build a decoder of the sizes that its weights have, and load them.

        Raises
        ------
        ValueError
            When they are not weights of such a decoder.
        """
        transposed = any(key.startswith("decoder.samplers") and ".block." in key for key in state)
        first, coarsest = state.get("base.block.1.weight"), state.get("deconv1.block.2.weight")
        if first is None or coarsest is None or "out_conv.weight" not in state:
            raise ValueError("these are not the weights of an instance decoder")
        decoder = cls(first.shape[1], len(coarsest), transposed)
        wanted = decoder.state_dict()
        if len(state["out_conv.weight"]) != CHANNELS:
            raise ValueError(
                f"this decoder predicts {len(state['out_conv.weight'])} maps; instances need {CHANNELS}: "
                "foreground, centre distance and boundary distance"
            )
        if set(wanted) != set(state) or any(wanted[k].shape != state[k].shape for k in wanted):
            raise ValueError("these weights do not fit an instance decoder")
        decoder.load_state_dict(state)
        return decoder.eval()
