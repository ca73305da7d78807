"""Image encoder: the Hiera trunk and a feature pyramid on top of it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.hiera import Hiera


class _Lateral(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class FpnNeck(nn.Module):
    """Bring all strides to one width; stride 16 also gets what stride 32 saw (reference: ``FpnNeck``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = [config.trunk_width * 2**stage for stage in (3, 2, 1, 0)]  # coarse to fine, as the keys are
        self.convs = nn.ModuleList(_Lateral(width, config.embed_dim) for width in widths)

    def forward(self, stages: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Four trunk outputs -> strides 4, 8, 16, each (B, embed_dim, S/stride, S/stride)."""
        stride4, stride8, stride16, stride32 = (
            conv(x) for conv, x in zip(reversed(self.convs), stages, strict=True)
        )
        from_above = F.interpolate(stride32.float(), scale_factor=2.0, mode="nearest").to(stride16.dtype)
        return stride4, stride8, stride16 + from_above


class ImageEncoder(nn.Module):
    """Pixels to a pyramid of three strides (reference: ``ImageEncoder`` with ``scalp=1``)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> strides 4, 8, 16, each (B, embed_dim, S/stride, S/stride)."""
        out: tuple[Tensor, Tensor, Tensor] = self.neck(self.trunk(images))
        return out
