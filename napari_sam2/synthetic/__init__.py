"""Procedural videos of cells, tubes, animals and things, with exact ground truth.

Everything follows from `SceneOptions` and a seed. `sample_scene` draws options at random over all kinds of scenes;
`sample_timelapse`, `sample_zstack` and `sample_two_channel` are the sample data, `crowd` is for benchmarks.
"""

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
