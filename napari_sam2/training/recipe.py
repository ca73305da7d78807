"""Recipe of a training run, one frozen value: stages, losses, schedule, limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from napari_sam2.training.losses import LossOptions

__all__ = ["TrainingStage", "TrainOptions"]


@dataclass(frozen=True)
class TrainingStage:
    """A stretch of training with one curriculum and one cosine of the learning rate.

    Parameters
    ----------
    name : str
        Shown in the log.
    steps : int
        Length.
    learning_rate : float
        At the top of the cosine; it falls to a twentieth at the stage's end.
    sizes : tuple of (int, float)
        Input sides in pixels and how often each is used; empty for the side that the network is used with.
    clip_sizes : tuple of (int, float)
        The same for clip steps, which cost several times an image step; empty for the same as `sizes`.
    frames : tuple of int
        Shortest and longest clip of a clip step.
    skimmed : tuple of int
        Fewest and most frames between a clip's first frame and the others that objects are only followed through, at
        a third of the cost: what is learnt comes from the frames after them, where the memory holds what the network
        itself has made of a long stretch.
    image_share : float
        Share of steps that are single images instead of clips.
    clips, objects : int
        Most clips a step (twice as many images), and objects over all of them.
    pixels : int
        Pixels a step: large frames and long clips come fewer at a time.
    prompts : tuple of float
        Weights of click, box and mask prompts on the first frame.
    corrections : int
        Most corrective clicks on the first frame.
    midclip_corrections : float
        Share of clips of three and more frames with a corrective click on a later frame.
    motion : float
        Top of the range of motion, 0..1.
    loss : LossOptions
        Weights of the loss terms.
    only : tuple of str
        Parts of the network that learn, as the beginnings of their parameters' names; empty for all of it.
    """

    name: str
    steps: int
    learning_rate: float
    sizes: tuple[tuple[int, float], ...] = ((256, 1.0),)
    clip_sizes: tuple[tuple[int, float], ...] = ()
    frames: tuple[int, int] = (2, 4)
    skimmed: tuple[int, int] = (0, 0)
    image_share: float = 0.5
    clips: int = 4
    objects: int = 16
    pixels: int = 8 * 256 * 256
    prompts: tuple[float, float, float] = (0.45, 0.25, 0.3)
    corrections: int = 2
    midclip_corrections: float = 0.3
    motion: float = 0.5
    loss: LossOptions = field(default_factory=LossOptions)
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no step could do."""
        if self.steps < 1:
            raise ValueError(f"stage {self.name!r} has {self.steps} steps; give it at least one")
        if any(size % 32 for size, _ in (*self.sizes, *self.clip_sizes)):
            raise ValueError(
                f"stage {self.name!r}: sizes {(*self.sizes, *self.clip_sizes)} must be multiples of 32"
            )
        if not 2 <= self.frames[0] <= self.frames[1]:
            raise ValueError(
                f"stage {self.name!r}: frames {self.frames} must be (shortest, longest), at least 2"
            )
        if not 0 <= self.skimmed[0] <= self.skimmed[1]:
            raise ValueError(
                f"stage {self.name!r}: skimmed {self.skimmed} must be (fewest, most), at least 0"
            )


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides what a training run computes.

    Parameters
    ----------
    stages : tuple of Stage
        Run one after another; the learning rate restarts with each.
    model : str
        Configuration preset to train, see `ModelConfig.preset`.
    start : str or None
        Checkpoint to start from; None starts from random weights.
    seed : int
        The same seed and options give the same run on the same machine.
    synthetic_share : float
        Share of synthetic clips where other sources are given too.
    eventful : float
        Share of the synthetic clips in which objects leave, return and pass behind each other; see `SyntheticClips`.
    optimizer : str
        "adamw", or "muon" for all matrices with AdamW for the rest.
    weight_decay, gradient_clip : float
        Of the optimizer, and the largest norm of the gradient.
    ema_decay : float
        Of the moving average of the weights, which is what is exported.
    encoder_rate : float
        Learning rate of the image encoder relative to the rest.
    score_rate : float
        The same for the object score's token and head, which learn from the few frames where an object is hidden.
    warmup : int
        Steps of linear warm-up at the beginning of each stage.
    precision : str
        "float32" or "bfloat16" (autocast).
    threads, workers : int
        Threads of the network on a CPU (0 = leave as is); processes that draw clips ahead (0 = none).
    checkpoint_minutes, evaluate_minutes : float
        How often the state is saved and the held-out clips are scored.
    """

    stages: tuple[TrainingStage, ...]
    model: str = "nano"
    start: str | None = None
    seed: int = 0
    synthetic_share: float = 0.5
    eventful: float = 0.6
    optimizer: str = "adamw"
    weight_decay: float = 0.02
    gradient_clip: float = 5.0
    ema_decay: float = 0.998
    encoder_rate: float = 1.0
    score_rate: float = 1.0
    warmup: int = 50
    precision: str = "float32"
    threads: int = 0
    workers: int = 0
    checkpoint_minutes: float = 4.0
    evaluate_minutes: float = 12.0

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        if not self.stages:
            raise ValueError("a recipe needs at least one stage")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision {self.precision!r} is unknown; use 'float32' or 'bfloat16'")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer {self.optimizer!r} is unknown; use 'adamw' or 'muon'")
        for name, share in (("synthetic_share", self.synthetic_share), ("eventful", self.eventful)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it must lie between 0 and 1")

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def at_side(self, side: int) -> TrainOptions:
        """Return the recipe with `side` as the input size of every stage that leaves it to the network."""
        stages = tuple(s if s.sizes else replace(s, sizes=((side, 1.0),)) for s in self.stages)
        return replace(self, stages=stages)

    def stage_at(self, step: int) -> tuple[TrainingStage, int]:
        """Return the stage that step number `step` belongs to and the step's number within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ValueError(
            f"step {step + self.total_steps} lies beyond the {self.total_steps} steps of the recipe"
        )

    def scaled(self, factor: float) -> TrainOptions:
        """Return the same recipe with every stage `factor` times as long."""
        stages = tuple(replace(s, steps=max(1, round(s.steps * factor))) for s in self.stages)
        return replace(self, stages=stages)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for logs and checkpoint metadata."""
        return asdict(self)

    @classmethod
    def preset(cls, name: str) -> TrainOptions:
        """Return a named recipe.

        Parameters
        ----------
        name : str
            "nano" trains nano from random weights, "nano-continue" improves the nano that is shipped, and
            "finetune" adapts a released or shipped checkpoint to a user's own masklets.

        Raises
        ------
        ValueError
            For any other name.
        """
        presets = {"nano": _nano, "nano-continue": _nano_continue, "finetune": _finetune}
        if name not in presets:
            raise ValueError(f"there is no recipe {name!r}; the recipes are {', '.join(sorted(presets))}")
        return presets[name]()


# off the plateau: focal and plain mean cross-entropy did not leave "predict nothing" in the first trials
_EARLY = LossOptions()
# once objects are found the balance is relaxed: with it masks came out 28 % too large (median)
_LATE = LossOptions(
    balanced=0.25, focal=12.0, dice=1.0, iou=1.0, object_score=1.0, runners_up=0.2, hidden_weight=2.0
)
# at last: no balance, more focal loss, and half of the teaching goes to all three candidates alike
_SHARP = LossOptions(
    balanced=0.0,
    focal=20.0,
    dice=1.0,
    iou=2.0,
    object_score=3.0,
    runners_up=0.5,
    hidden_weight=1.1,
)


def _nano() -> TrainOptions:
    small = ((128, 1.0),)
    mixed = ((192, 0.4), (256, 0.6))
    large = ((256, 0.6), (384, 0.3), (512, 0.1))
    return TrainOptions(
        stages=(
            TrainingStage(
                "images 128", 3000, 5e-4, small, image_share=1.0, objects=64, corrections=1, loss=_EARLY
            ),
            TrainingStage(
                "pairs 128",
                1500,
                5e-4,
                small,
                frames=(2, 2),
                image_share=0.3,
                prompts=(0.25, 0.15, 0.6),
                motion=0.05,
                objects=24,
                loss=_EARLY,
            ),
            TrainingStage(
                "clips 128", 3000, 4e-4, small, frames=(2, 4), motion=0.35, objects=24, loss=_EARLY
            ),
            TrainingStage("clips 256", 6000, 3e-4, mixed, frames=(3, 6), motion=0.6, loss=_LATE),
            TrainingStage(
                "clips 512", 6000, 2e-4, large, frames=(3, 8), motion=0.8, loss=_LATE, pixels=16 * 256 * 256
            ),
        ),
        workers=2,
    )


def _nano_continue() -> TrainOptions:
    # all sizes that users choose, small ones more often: a clip at 512 costs as much as four at 256
    stage = TrainingStage(
        "photos and stacks",
        500,
        3e-4,
        ((256, 0.6), (384, 0.25), (512, 0.15)),
        clip_sizes=((256, 0.7), (384, 0.2), (512, 0.1)),
        frames=(2, 4),
        skimmed=(0, 8),
        image_share=0.5,
        clips=2,
        objects=6,
        pixels=8 * 256 * 256,
        prompts=(0.3, 0.2, 0.5),
        midclip_corrections=0.1,
        motion=0.85,
        loss=_SHARP,
    )
    return TrainOptions(
        (stage,),
        start="nano",
        optimizer="muon",
        synthetic_share=0.5,
        eventful=0.6,
        ema_decay=0.99,
        score_rate=4.0,
        warmup=30,
        workers=2,
    )


def _finetune() -> TrainOptions:
    stage = TrainingStage(
        "finetune",
        600,
        5e-5,
        (),  # a network that is used at 1024 px must not get used to objects of half the size
        frames=(2, 5),
        image_share=0.3,
        clips=2,
        objects=8,
        motion=0.7,
        loss=LossOptions(balanced=0.0, focal=20.0, dice=1.0, iou=1.0, object_score=1.0),
    )
    return TrainOptions(stages=(stage,), model="tiny", start="tiny", synthetic_share=0.0, encoder_rate=0.6)
