"""Procedural videos of cells, tubes, animals and things, with exact ground truth.

Everything follows from `SceneOptions` and a seed.
`sample_scene` draws options at random over all kinds of scenes.
"""

from .clip import Clip, generate_clip
from .options import SceneOptions, sample_scene, scene_kinds

__all__ = ["Clip", "SceneOptions", "generate_clip", "sample_scene", "scene_kinds"]
