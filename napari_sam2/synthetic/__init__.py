"""Procedural videos of cells, tubes, animals and things, with exact ground truth."""

from .clip import Clip, generate_clip
from .options import SceneOptions
from .samples import FirstSight, Sample, crowd, sample_timelapse, sample_two_channel, sample_zstack
from .scenes import sample_scene, scene_kinds

__all__ = [
    "Clip",
    "FirstSight",
    "Sample",
    "SceneOptions",
    "crowd",
    "generate_clip",
    "sample_scene",
    "sample_timelapse",
    "sample_two_channel",
    "sample_zstack",
    "scene_kinds",
]
