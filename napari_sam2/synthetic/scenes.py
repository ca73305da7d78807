"""A random draw over all kinds of scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .options import SceneOptions

# One row per kind of scene: weight, then the fields that make the kind; everything else is drawn freely.
_KINDS: tuple[tuple[str, float], ...] = (
    ("nuclei", 3.0),
    ("phase cells", 2.5),
    ("relief cells", 1.2),
    ("epithelium", 1.5),
    ("spread cells", 1.5),
    ("granular cells", 1.0),
    ("rods", 1.2),
    ("filaments", 0.7),
    ("tubes", 0.8),
    ("organoids", 1.0),
    ("tissue", 1.0),
    ("sections", 1.0),
    ("stack", 1.3),
    ("animals", 1.3),
    ("things", 2.5),
)


class _Picker:
    """Picks one of several values; the same generator state gives the same picks."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, *values: object) -> object:
        return values[int(self._rng.integers(len(values)))]


def _cells(pick: _Picker, contact: object) -> dict[str, dict[str, object]]:
    """Fields of the kinds of scenes that show single cells."""
    return {
        "nuclei": {
            "looks": pick(("fluorescence",), ("fluorescence",), ("fluorescence", "granular")),
            "shapes": pick(("ellipse",), ("blob",), ("ellipse", "blob")),
            "contact": contact,
        },
        "phase cells": {"looks": ("phase",), "shapes": pick(("blob",), ("spread", "blob"), ("ellipse",))},
        "relief cells": {
            "looks": ("relief",),
            "shapes": pick(("blob",), ("spread",), ("ellipse",), ("rod",)),
            "polarity": 1,
        },
        "epithelium": {
            "looks": pick(("membrane",), ("membrane",), ("electron",)),
            "shapes": ("blob",),
            "contact": "press",
        },
        "spread cells": {
            "looks": pick(("phase",), ("textured",), ("fluorescence",), ("brightfield",)),
            "shapes": pick(("spread",), ("spread", "branched"), ("branched",)),
        },
        "granular cells": {
            "looks": pick(("granular",), ("textured",), ("granular", "hollow")),
            "shapes": pick(("blob",), ("ellipse",)),
            "contact": contact,
        },
    }


def _others(pick: _Picker, contact: object) -> dict[str, dict[str, object]]:
    """Fields of all other kinds of scenes."""
    return {
        "rods": {
            "looks": pick(("fluorescence",), ("phase",), ("brightfield",), ("membrane",)),
            "shapes": ("rod",),
            "contact": pick("stack", "apart"),
        },
        "filaments": {
            "looks": pick(("fluorescence",), ("brightfield",), ("textured",)),
            "shapes": pick(("filament",), ("filament", "branched")),
        },
        "tubes": {"looks": pick(("hollow",), ("membrane",), ("textured",)), "shapes": ("tube",)},
        "organoids": {
            "looks": pick(("hollow",), ("brightfield",), ("hollow", "granular"), ("phase",)),
            "shapes": ("blob",),
            "contact": contact,
        },
        "tissue": {
            "looks": pick(("brightfield",), ("natural", "textured"), ("textured",)),
            "shapes": ("blob", "ellipse"),
            "contact": "press",
            "background": "textured",
        },
        "sections": {
            "looks": pick(("electron",), ("electron",), ("membrane",)),
            "shapes": pick(("blob", "tube"), ("blob",), ("blob", "spread")),
            "contact": "press",
            "zstack": pick(True, False),
        },
        "stack": {
            "looks": pick(("fluorescence",), ("granular",), ("hollow",), ("membrane",), ("electron",)),
            "shapes": pick(("blob",), ("ellipse",), ("tube", "blob")),
            "zstack": True,
            "contact": contact,
        },
        "animals": {
            "looks": pick(("natural",), ("brightfield",), ("textured",)),
            "shapes": pick(("animal",), ("animal",), ("rod",)),
            "background": pick("floor", "textured", "debris"),
        },
        "things": {
            "looks": pick(("natural",), ("natural",), ("natural", "textured")),
            "shapes": pick(
                ("polygon", "blob"), ("polygon", "ellipse", "rod"), ("animal", "blob"), ("spread",)
            ),
            "background": pick("floor", "textured", "patches", "patches", "uneven"),
        },
    }


def _kind_fields(kind: str, rng: np.random.Generator) -> dict[str, object]:
    """Looks, shapes, contact and background that make a kind of scene recognisable."""
    pick = _Picker(rng)
    contact = pick("stack", "stack", "press", "apart")
    return (_cells(pick, contact) | _others(pick, contact))[kind]


def _count_and_radius(kind: str, size: tuple[int, int], rng: np.random.Generator) -> dict[str, object]:
    """Radii from 2 % of the frame to half of it, and as many objects as then fit (1 to 60)."""
    side = float(min(size))
    mean = side * float(np.exp(rng.uniform(np.log(0.02), np.log(0.22))))
    if kind in ("rods", "filaments"):
        mean *= 0.6  # the radius of a thin object is that of a disk with its area, its length is far longer
    if rng.random() < 0.06:
        mean = side * rng.uniform(0.22, 0.42)
    mean = max(mean, 4.0)
    spread = float(np.exp(abs(rng.normal(0, 0.3))))
    covering = 1.0 if kind in ("epithelium", "sections", "tissue") else float(rng.uniform(0.05, 0.6))
    fitting = covering * size[0] * size[1] / (np.pi * mean**2)
    if kind not in ("epithelium", "sections", "tissue"):
        fitting = float(np.exp(rng.uniform(0, np.log(max(fitting, 1.5)))))
    count = int(np.clip(round(fitting), 1, 60))
    if kind in ("epithelium", "sections", "tissue"):
        # all space is filled: with fewer cells than fit they must be larger
        mean = max(mean, side * 1.05 / np.sqrt(np.pi * 60))
        count = int(np.clip(round(size[0] * size[1] / (np.pi * mean**2)), 2, 60))
        mean *= 1.25 if kind != "sections" else 1.5
    return {"objects": count, "radius": (mean / spread, mean * spread)}


def _events(difficulty: float, rng: np.random.Generator) -> dict[str, object]:
    """Motion and mishaps; `difficulty` 0 is a calm scene, 1 has everything."""

    def some(chance: float, top: float) -> float:
        return float(rng.uniform(0, top)) if rng.random() < chance * difficulty else 0.0

    return {
        "motion": float(rng.uniform(0, 1) ** 1.5 * (0.05 + 0.75 * difficulty)),
        "flow": some(0.4, 0.4),
        "rotation": float(rng.uniform(0, 0.03 + 0.15 * difficulty)),
        "deformation": float(rng.uniform(0, 0.2 + 0.8 * difficulty)),
        "growth": some(0.5, 0.03),
        "crossings": some(0.5, 0.4),
        "exits": some(0.4, 0.4),
        "vanishings": some(0.25, 0.3),
        "divisions": some(0.25, 0.3),
        "occluders": int(rng.integers(1, 4)) if rng.random() < 0.3 * difficulty else 0,
        "shake": some(0.3, 4.0),
        "clustering": float(rng.uniform(0, 1)) if rng.random() < 0.3 else 0.0,
        "bleaching": some(0.3, 0.04),
        "flicker": some(0.3, 0.06),
        "blur_drift": some(0.3, 0.8),
    }


def _imaging(kind: str, difficulty: float, rng: np.random.Generator) -> dict[str, object]:
    """Camera and tone."""

    def some(chance: float, top: float) -> float:
        return float(rng.uniform(0, top)) if rng.random() < chance else 0.0

    coloured = {"things": 0.85, "animals": 0.6, "tissue": 0.6}.get(kind, 0.12)
    faintest = 0.75 - 0.4 * difficulty
    black, white = float(rng.uniform(0, 0.15)), float(rng.uniform(0.8, 1.05))
    if rng.random() < 0.3:  # cameras are often not used to the full
        black, white = 0.5 * black, black + (white - black) * float(rng.uniform(0.15, 0.9))
    return {
        "background": ("flat", "uneven", "uneven", "textured", "debris")[int(rng.integers(5))],
        "polarity": 1 if rng.random() < 0.7 else -1,
        "contrast": float(np.exp(rng.uniform(np.log(faintest), np.log(1.5)))),
        "variation": float(rng.uniform(0, 0.5)),
        "colour": bool(rng.random() < coloured),
        "blur": float(rng.uniform(0.5, 1.0 + 0.8 * difficulty)),
        "gaussian_noise": float(rng.uniform(0, 1) ** 2 * (0.03 + 0.12 * difficulty)),
        "poisson_noise": some(0.4, 0.03 + 0.1 * difficulty),
        "structured_noise": some(0.25 * difficulty, 0.06),
        "vignette": some(0.3, 0.6),
        "jpeg": some(0.3, 1.0),
        "levels": (black, white),
        "gamma": float(np.exp(rng.normal(0, 0.25))),
    }


def sample_scene(
    rng: np.random.Generator,
    size: tuple[int, int] = (256, 256),
    frames: int = 8,
    difficulty: float = 0.6,
    kind: str | None = None,
) -> SceneOptions:
    """Draw a scene at random from all kinds of scenes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; the same state gives the same scene.
    size : (int, int)
        Height and width in pixels.
    frames : int
        Number of frames.
    difficulty : float
        0 (small motion, good contrast, nothing happens) to 1 (fast, noisy, occlusions, exits, divisions).
    kind : str, optional
        One of `scene_kinds()`; drawn when not given.

    Raises
    ------
    ValueError
        When `difficulty` is outside [0, 1] or `kind` is unknown.
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must be between 0 and 1, got {difficulty}")
    if kind is not None and kind not in scene_kinds():
        raise ValueError(f"kind must be one of {', '.join(scene_kinds())}; got {kind!r}")
    if kind is None:
        weights = np.array([weight for _, weight in _KINDS])
        kind = _KINDS[int(rng.choice(len(_KINDS), p=weights / weights.sum()))][0]
    fields = _imaging(kind, difficulty, rng) | _events(difficulty, rng)
    fields |= _count_and_radius(kind, size, rng) | _kind_fields(kind, rng)
    if fields.get("contact") in ("press", "apart") and kind in ("epithelium", "sections", "tissue"):
        fields |= {"crossings": 0.0, "clustering": 0.0}
    return replace(SceneOptions(size=size, frames=frames), **fields)  # type: ignore[arg-type]


def scene_kinds() -> tuple[str, ...]:
    """Names of the kinds of scenes that `sample_scene` draws from."""
    return tuple(name for name, _ in _KINDS)
