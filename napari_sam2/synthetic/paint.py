"""Appearance of objects: from the visible surface to brightness and colour."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .motion import Tracks
from .noise_fields import gaussian_blur, look_up, texture_atlas
from .options import Look, SceneOptions
from .surface import Surface

_FINE, _COARSE = 0, 1


class Painter:
    """Paints the objects of one clip; holds what is drawn once per clip (textures, brightness, tints)."""

    def __init__(
        self, options: SceneOptions, tracks: Tracks, rng: np.random.Generator, noise: torch.Generator
    ) -> None:
        count = len(tracks.radius)
        device = noise.device
        self._options = options
        self._rng = rng
        self._atlas = texture_atlas((float(rng.uniform(1.5, 3.5)), float(rng.uniform(5, 11))), noise)
        bright = options.contrast * np.clip(np.exp(options.variation * rng.normal(size=count)), 0.45, 3.0)
        albedo = rng.uniform(-1, 1, (count, 3)) if options.colour else np.ones((count, 3))
        if options.colour and rng.random() < 0.35:
            albedo = np.tile(rng.uniform(-0.3, 1, (1, 3)), (count, 1)) + rng.normal(0, 0.1, (count, 3))
        if options.colour and "brightfield" in options.looks:
            # stains absorb: most in green, least in blue or red, nearly the same for all cells
            albedo = np.clip(
                rng.normal((0.6, 1.0, 0.4), 0.2, (1, 3)) + rng.normal(0, 0.08, (count, 3)), 0.1, 1
            )

        def on(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values.astype(np.float32), device=device)

        self._bright = on(bright)
        self._albedo = on(np.where(np.abs(albedo).max(1, keepdims=True) < 0.5, albedo + 0.6, albedo))
        self._offset = on(rng.uniform(0, 256, (count, 2)))
        # grains per radius: 256 texels hold ~20..50 grains, so 8..40 texels per radius are a few grains
        self._texels = on(np.full(count, rng.uniform(10, 40)))
        self._radius = on(tracks.radius)
        self._choice = rng.integers(len(options.looks), size=count)
        self._pattern = on(rng.uniform(0, 1, (count, 4)))
        self._light = float(rng.uniform(0, 2 * np.pi))

    @property
    def margin(self) -> float:
        """Distance outside an object that its appearance reaches, in pixels."""
        return (
            2.0 + 0.35 * float(self._radius.mean().clamp(max=24)) if "phase" in self._options.looks else 2.0
        )

    def paint(self, surface: Surface, ground: Tensor) -> Tensor:
        """Objects over the ground: (T, 1 or 3, H, W) float."""
        options = self._options
        frames, channels, height, width = ground.shape
        thing = surface.thing
        fine, coarse = self._textures(surface)
        value = torch.zeros_like(surface.depth)
        for index, look in enumerate(options.looks):
            shade = self._shade(look, surface, fine, coarse)
            if len(options.looks) > 1:
                mine = torch.as_tensor(self._choice == index, device=value.device)[thing]
                shade = shade * mine
            value = value + shade
        value = value * self._bright[thing]
        see = {"fluorescence": 0.5, "phase": 0.6, "relief": 1.0, "membrane": 0.4, "natural": 0.0}
        through = see.get(options.looks[0], 0.25)
        images = ground.permute(1, 0, 2, 3).reshape(channels, -1).clone()  # (C, THW)
        under = images[:, surface.pixel] * through
        if options.colour:
            images[:, surface.pixel] = under + value * self._albedo[thing].T
        else:
            images[:, surface.pixel] = under + value
        images = images.view(channels, frames, height, width)
        images = images + self._around(surface, (frames, height, width))
        return images.permute(1, 0, 2, 3)

    def _textures(self, surface: Surface) -> tuple[Tensor, Tensor]:
        texels = self._texels[surface.thing]
        offset = self._offset[surface.thing]
        # shifted so that the cut to integers never changes side at 0
        x = surface.x * texels + offset[:, 0] + 4096
        y = surface.y * texels + offset[:, 1] + 4096
        return look_up(self._atlas, _FINE, x, y), look_up(self._atlas, _COARSE, x, y)

    def _shade(self, look: Look, surface: Surface, fine: Tensor, coarse: Tensor) -> Tensor:
        """Brightness over the ground of every visible pixel, about 1 for a bright object: (P,)."""
        depth, inside = surface.depth, surface.inside
        dome = (1 - depth * depth).clamp(0, 1).sqrt()
        if look == "fluorescence":
            dark = 1 - 0.45 * (coarse > 1.1)
            return (0.5 + 0.4 * dome + 0.12 * fine).clamp_min(0.2) * dark
        if look == "phase":
            return self._phase(surface, fine, coarse)
        if look == "relief":
            return 0.12 * fine - 0.05
        if look == "membrane":
            return 0.12 + 0.06 * coarse + 0.05 * fine + 0.75 * torch.exp(-((inside / 1.7) ** 2))
        if look == "textured":
            return (0.5 + 0.4 * fine).clamp_min(-0.1)
        if look == "hollow":
            wall = torch.exp(-(((depth - 0.86) / 0.16) ** 2))
            return 0.12 + 0.85 * wall * (1 + 0.2 * coarse) + 0.05 * fine
        if look == "granular":
            return 0.3 + 0.8 * (fine - 0.4).clamp(0, 2) + 0.1 * coarse
        if look == "brightfield":
            return -(0.45 + 0.2 * coarse + 0.12 * fine + 0.35 * torch.exp(-((inside / 2.0) ** 2)))
        if look == "electron":
            return 0.15 + 0.14 * coarse + 0.2 * fine - 0.2 * (coarse > 1.2)
        return self._natural(surface, fine, coarse, dome)

    def _phase(self, surface: Surface, fine: Tensor, coarse: Tensor) -> Tensor:
        """Thick cells are dark with a lighter nucleus, flat ones hardly show, round ones shine."""
        depth = surface.depth
        thickness = self._pattern[surface.thing, 0]
        core = torch.exp(-((depth / 0.45) ** 2))
        rim = torch.exp(-((surface.inside / 1.8) ** 2))
        thick = -0.3 + 0.2 * fine + 0.3 * core * (0.6 + 0.4 * coarse) - 0.35 * rim
        flat = -0.06 + 0.22 * fine + 0.12 * core * coarse - 0.4 * rim
        ring = torch.exp(-(((depth - 0.75) / 0.2) ** 2))
        shining = 0.25 + 0.9 * ring - 0.5 * core + 0.1 * fine - 0.6 * rim
        return torch.where(thickness < 0.3, flat, torch.where(thickness > 0.88, shining, thick))

    def _natural(self, surface: Surface, fine: Tensor, coarse: Tensor, dome: Tensor) -> Tensor:
        """Lit solid bodies with stripes, spots or stains of their own."""
        style = self._pattern[surface.thing]
        toward = surface.x * np.cos(self._light) + surface.y * np.sin(self._light)
        light = 0.6 + 0.3 * dome + 0.25 * (toward * (1 - dome)).clamp(-1, 1)
        stripes = torch.sin(surface.x * (4 + 8 * style[:, 1])) * 0.4
        spots = (coarse > 0.9) * 0.5
        marks = torch.where(style[:, 0] < 0.3, stripes, torch.where(style[:, 0] < 0.6, -spots, 0.1 * coarse))
        lit: Tensor = light * (1 + marks * style[:, 2]) + 0.06 * fine
        return lit

    def _around(self, surface: Surface, shape: tuple[int, ...]) -> Tensor:
        """Brightness that depends on the neighbourhood: halos, relief, cell borders, overlap; (T, H, W) or 0."""
        options = self._options
        total = torch.zeros(shape, device=surface.depth.device)
        if "phase" in options.looks:
            reach = (self.margin - 1) / 2.2
            halo = torch.exp(-((surface.nearest / reach) ** 2)) * (surface.owner == 0)
            total += 0.55 * options.contrast * halo
        if "relief" in options.looks:
            total += self._relief(surface, shape)
        if {"membrane", "electron"} & set(options.looks):
            sign = -0.9 if "electron" in options.looks else 0.8
            total += sign * self._borders(surface)
        elif options.contact == "press":
            # without a line between them nobody could tell cells of the same brightness apart
            total -= float(self._rng.uniform(0.25, 0.7)) * self._borders(surface)
        if "fluorescence" in options.looks and self._rng.random() < 0.4:
            # light adds up where transparent objects overlap
            total += 0.35 * options.contrast * (surface.cover - 1).clamp(0, 2)
        return total

    def _relief(self, surface: Surface, shape: tuple[int, ...]) -> Tensor:
        height = torch.zeros(shape, device=surface.depth.device).view(-1)
        thick = self._radius[surface.thing].clamp(max=30)
        dome = (1 - surface.depth**2).clamp(0, 1).sqrt()
        height[surface.pixel] = dome.sqrt() * thick * 0.5
        smooth = gaussian_blur(height.view(shape), 1.0)
        dx = torch.roll(smooth, 1, -1) - torch.roll(smooth, -1, -1)
        dy = torch.roll(smooth, 1, -2) - torch.roll(smooth, -1, -2)
        dx[..., [0, -1]] = 0
        dy[..., [0, -1], :] = 0
        slope = dx * np.cos(self._light) + dy * np.sin(self._light)
        return 0.7 * self._options.contrast * torch.tanh(slope * 0.45)

    def _borders(self, surface: Surface) -> Tensor:
        """Thin lines where one object meets another one or the ground, as bright as objects are."""
        owner = surface.owner
        line = torch.zeros(owner.shape, device=owner.device)
        across = owner[..., 1:] != owner[..., :-1]
        down = owner[..., 1:, :] != owner[..., :-1, :]
        line[..., 1:] += across
        line[..., :-1] += across
        line[..., 1:, :] += down
        line[..., :-1, :] += down
        soft = gaussian_blur(line.clamp_max(1), 0.8)
        return self._options.contrast * soft
