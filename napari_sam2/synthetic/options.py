"""Options of a synthetic scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Look = Literal[
    "fluorescence",
    "phase",
    "relief",
    "membrane",
    "textured",
    "hollow",
    "granular",
    "brightfield",
    "electron",
    "natural",
]
Shape = Literal["blob", "ellipse", "spread", "polygon", "rod", "filament", "tube", "animal", "branched"]
Background = Literal["flat", "uneven", "textured", "debris", "floor", "patches"]
Contact = Literal["stack", "press", "apart"]

LOOKS: tuple[Look, ...] = get_args(Look)
SHAPES: tuple[Shape, ...] = get_args(Shape)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
CONTACTS: tuple[Contact, ...] = get_args(Contact)


@dataclass(frozen=True)
class SceneOptions:
    """Everything that can be said of a synthetic clip before its seed is drawn.

    Parameters
    ----------
    size : (int, int)
        Height and width in pixels, each at least 32.
    frames : int
        Number of frames, at least 1.
    looks : tuple of str
        Appearances; every object draws one of them. See `LOOKS`.
    shapes : tuple of str
        Outlines; every object draws one of them. See `SHAPES`.
    objects : int
        Number of labelled objects at the start (divisions add more), at least 1.
    radius : (float, float)
        Smallest and largest mean radius in pixels, drawn log-uniformly per object.
    motion : float
        Typical own step per frame, as a fraction of the radius.
    flow : float
        Step per frame that all objects share, as a fraction of the mean radius.
    rotation : float
        Typical turn per frame in radians.
    deformation : float
        0 keeps outlines rigid; 1 changes them strongly within ten frames.
    growth : float
        Typical relative change of the radius per frame.
    contact : {"stack", "press", "apart"}
        Objects in front hide those behind; or press flat interfaces against each other; or keep apart.
    clustering : float
        0 scatters the objects evenly, 1 starts them in tight groups.
    crossings, exits, vanishings, divisions : float
        Fraction of the objects that pass over or under another one, leave the frame and come back, leave the
        focal plane and come back, divide.
    zstack : bool
        Time is depth: every object grows from nothing and shrinks to nothing again.
    occluders : int
        Unlabelled things that pass in front of an object.
    background : str
        See `BACKGROUNDS`.
    polarity : {1, -1}
        -1 inverts the grey values (dark objects on a bright ground).
    contrast : float
        Brightness of the objects over the ground, about 0.3 (faint) to 1.5.
    variation : float
        How much the brightness differs from object to object.
    colour : bool
        Colour or grey.
    blur, blur_drift : float
        Standard deviation of the point spread function in pixels, and its relative change over the clip.
    gaussian_noise, poisson_noise, structured_noise : float
        Standard deviations relative to the full range; Poisson noise as that of a mid-grey pixel.
    vignette, bleaching, flicker : float
        Uneven illumination; relative loss of brightness per frame; relative random change per frame.
    jpeg : float
        0 for none, else the strength of 8 x 8 cosine quantisation (0.2 hardly seen, 1 strong).
    levels : (float, float)
        Black and white of the recording, as fractions of 255.
    gamma : float
        Exponent of the final tone curve.
    shake : float
        Standard deviation of the camera's jump per frame in pixels (objects and ground alike).
    amodal : bool
        Also return each object's full mask, hidden parts included.
    """

    size: tuple[int, int] = (256, 256)
    frames: int = 8
    looks: tuple[Look, ...] = ("fluorescence",)
    shapes: tuple[Shape, ...] = ("blob",)
    objects: int = 8
    radius: tuple[float, float] = (12.0, 20.0)
    motion: float = 0.15
    flow: float = 0.0
    rotation: float = 0.05
    deformation: float = 0.3
    growth: float = 0.0
    contact: Contact = "stack"
    clustering: float = 0.0
    crossings: float = 0.0
    exits: float = 0.0
    vanishings: float = 0.0
    divisions: float = 0.0
    zstack: bool = False
    occluders: int = 0
    background: Background = "uneven"
    polarity: Literal[1, -1] = 1
    contrast: float = 1.0
    variation: float = 0.2
    colour: bool = False
    blur: float = 0.8
    blur_drift: float = 0.0
    gaussian_noise: float = 0.03
    poisson_noise: float = 0.0
    structured_noise: float = 0.0
    vignette: float = 0.0
    bleaching: float = 0.0
    flicker: float = 0.0
    jpeg: float = 0.0
    levels: tuple[float, float] = (0.05, 0.95)
    gamma: float = 1.0
    shake: float = 0.0
    amodal: bool = False

    def check(self) -> None:
        """Raise ValueError, naming the field, when a value makes no scene."""
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"size must be (height, width) of at least 32 pixels each, got {self.size}")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")
        if not 1 <= self.objects <= 2000:
            raise ValueError(f"objects must be between 1 and 2000, got {self.objects}")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise ValueError(f"radius must be (smallest, largest) with 0 < smallest, got {self.radius}")
        for name, known in (("looks", LOOKS), ("shapes", SHAPES)):
            drawn = getattr(self, name)
            unknown = sorted(set(drawn) - set(known))
            if unknown or not drawn:
                raise ValueError(f"{name} must name at least one of {', '.join(known)}; got {drawn}")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}; got {self.background!r}")
        if self.contact not in CONTACTS:
            raise ValueError(f"contact must be one of {', '.join(CONTACTS)}; got {self.contact!r}")
