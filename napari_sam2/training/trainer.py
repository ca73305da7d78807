"""The training loop: resumable, deterministic by seed, and never without a saved checkpoint for long."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_sam2.model.config import ModelConfig
from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.weights.checkpoints import load_model
from napari_sam2.training.data.batches import StepBatch, step_batches
from napari_sam2.training.data.clips import ClipSource
from napari_sam2.training.data.sources import default_sources
from napari_sam2.training.export import export_checkpoint
from napari_sam2.training.heldout import HeldOutScores, held_out_batches, score_held_out
from napari_sam2.training.optimizers import make_optimizers
from napari_sam2.training.recipe import TrainOptions
from napari_sam2.training.tracker import ClipOutcome, follow_clip

__all__ = ["Trainer", "learning_rate", "train"]


def learning_rate(options: TrainOptions, step: int) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to a twentieth, anew in every stage."""
    stage, within = options.stage_at(step)
    warm = min(1.0, (within + 1) / max(1, min(options.warmup, stage.steps // 4)))
    fall = 0.5 * (1 + math.cos(math.pi * within / stage.steps))
    return stage.learning_rate * warm * (0.05 + 0.95 * fall)


def build_network(options: TrainOptions) -> Sam2:
    """Return the network to train, from the start checkpoint or from seeded random weights."""
    if options.start is not None:
        return load_model(options.start, device="cpu", dtype=torch.float32).requires_grad_(True)
    torch.manual_seed(options.seed)
    return open_memory(Sam2(ModelConfig.preset(options.model)))


def open_memory(model: Sam2) -> Sam2:
    """Start the memory fuser's layer scale at 0.1.

    At the reference's 1e-6 the fuser passes nothing on for thousands of steps, and no tracking is learnt.
    """
    for name, parameter in model.memory_encoder.named_parameters():
        if name.startswith("fuser.") and name.endswith(".gamma"):
            nn.init.constant_(parameter, 0.1)
    return model


def choose_learners(model: Sam2, only: tuple[str, ...]) -> None:
    """Enable gradients for parameters whose names begin with one of `only`, or for all.

    Raises
    ------
    ValueError
        If one of the beginnings fits no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in only:
        if not any(name.startswith(part) for name in names):
            raise ValueError(f"no parameter's name begins with {part!r}; they begin with, e.g., {names[0]!r}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not only or name.startswith(only))


class Trainer:
    """One training run in one folder.

    Parameters
    ----------
    options : TrainOptions
        The recipe.
    out : Path
        Folder for ``state.pt`` (to resume), ``log.jsonl``, ``last.safetensors`` and ``best.safetensors``.
    sources, held_out : sequence of (source, weight)
        Where clips to train on, and clips of the exam, are drawn from.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self,
        options: TrainOptions,
        out: Path,
        sources: Sequence[tuple[ClipSource, float]],
        held_out: Sequence[tuple[ClipSource, float]],
        device: torch.device,
    ) -> None:
        self._out, self._sources, self._device = out, sources, device
        self._held_out = held_out
        self._exam: list[StepBatch] | None = None
        out.mkdir(parents=True, exist_ok=True)
        self.model = build_network(options).to(device).train()
        self._options = options.at_side(self.model.config.image_size)
        self._average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._optimizers = make_optimizers(self.model, self._options)
        self.step = 0
        self.best = -math.inf

    # ------------------------------------------------------------------ state

    def save(self) -> None:
        """Write everything that a resumed run needs, atomically."""
        state = {
            "model": self.model.state_dict(),
            "average": self._average,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self.step,
            "best": self.best,
            "recipe": json.dumps(self._options.to_json()),
        }
        partial = self._out / "state.pt.partial"
        torch.save(state, partial)
        os.replace(partial, self._out / "state.pt")
        self._export("last.safetensors", None)

    def resume(self) -> bool:
        """Continue from the folder's state; return False where there is none.

        Raises
        ------
        ValueError
            If the folder holds a run of another network, start, optimizer or input size, or one that is longer than
            the recipe.
        """
        path = self._out / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self._device, weights_only=True)
        recipes = json.loads(state["recipe"]), self._options.to_json()
        # a recipe may have become longer
        shared = min(len(recipe["stages"]) for recipe in recipes)
        stored, wanted = (_resumed_as(recipe, shared) for recipe in recipes)
        # with a start, the configuration comes from there
        names = ("start", "optimizer", "input sizes")
        for name in names if self._options.start else (*names, "model"):
            if stored[name] != wanted[name]:
                raise ValueError(
                    f"{self._out} holds a run with {name} {stored[name]!r}, not {wanted[name]!r}; "
                    "continue it as it was begun, or choose another folder"
                )
        if state["step"] > self._options.total_steps:
            raise ValueError(
                f"{self._out} holds a run of {state['step']} steps already, the recipe has "
                f"{self._options.total_steps}; choose another folder or a longer recipe"
            )
        self.model.load_state_dict(state["model"])
        self._average = state["average"]
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.best = int(state["step"]), float(state["best"])
        return True

    def averaged_state(self) -> dict[str, torch.Tensor]:
        """Return the network's state with the moving average in place of the last weights."""
        return {**self.model.state_dict(), **self._average}

    def _export(self, name: str, scores: HeldOutScores | None) -> None:
        summary = {
            "steps": self.step,
            "start": Path(self._options.start).name if self._options.start else None,
            "held_out": asdict(scores) if scores else None,
        }
        export_checkpoint(self.averaged_state(), self.model.config, self._out / name, summary)

    # ------------------------------------------------------------------ steps

    def run(self, minutes: float | None = None, progress: Callable[[int, float], None] | None = None) -> None:
        """Train to the end of the recipe, or for `minutes`; saves on the way out in any case.

        The start is examined as well, so that what is kept as the best is never worse than that.
        """
        if self.best == -math.inf:
            self.evaluate()
        began = time.monotonic()
        saved = evaluated = began
        try:
            for batch in step_batches(self._sources, self._options, self.step):
                loss = self.train_step(batch)
                if progress is not None:
                    progress(self.step, loss)
                now = time.monotonic()
                if now - evaluated > 60 * self._options.evaluate_minutes:
                    self.evaluate()
                    evaluated = time.monotonic()
                if now - saved > 60 * self._options.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
                if minutes is not None and now - began > 60 * minutes:
                    break
        finally:
            self.save()

    def train_step(self, batch: StepBatch) -> float:
        """Do one step of the optimizer; a step with a loss that is not finite changes nothing."""
        began = time.monotonic()
        options, step = self._options, self.step
        generator = torch.Generator().manual_seed((options.seed << 32) + step)
        stage, _ = options.stage_at(step)
        rate = learning_rate(options, step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
        choose_learners(self.model, stage.only)
        with self._autocast():
            outcome = follow_clip(self.model, batch.to(self._device), generator, stage.loss)
        self.model.zero_grad(set_to_none=True)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.gradient_clip)
        if bool(torch.isfinite(norm)):
            for optimizer in self._optimizers:
                optimizer.step()
            self._update_average()
        self.step += 1
        loss = float(outcome.loss.detach())
        self._log_step(batch, outcome, rate, float(norm), time.monotonic() - began)
        return loss

    def _autocast(self) -> Any:
        if self._options.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    @torch.no_grad()
    def _update_average(self) -> None:
        # early on the average must not remember the random start
        decay = min(self._options.ema_decay, (1 + self.step) / (10 + self.step))
        names = [name for name, _ in self.model.named_parameters()]
        torch._foreach_lerp_(
            [self._average[name] for name in names], [p.detach() for p in self.model.parameters()], 1 - decay
        )

    # ------------------------------------------------------------------ exam and log

    def evaluate(self) -> HeldOutScores:
        """Score the moving average on held-out clips, log it, and keep it if it is the best so far."""
        if self._exam is None:
            # at the size that is used later, unless the recipe never comes near it
            largest = max(size for stage in self._options.stages for size, _ in stage.sizes)
            size = min(largest, self.model.config.image_size)
            self._exam = held_out_batches(self._held_out, size)
        current = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.model.load_state_dict(self.averaged_state())
        try:
            scores = score_held_out(self.model, self._exam, self._device)
        finally:  # or what is saved after Ctrl-C would be the average
            self.model.load_state_dict({**self.model.state_dict(), **current})
        self._log({"step": self.step, "held_out": asdict(scores), "overall": scores.overall})
        # the start is kept even where the exam has nothing to ask
        if scores.overall > self.best or not (self._out / "best.safetensors").exists():
            self.best = max(self.best, scores.overall)
            self._export("best.safetensors", scores)
            self.save()  # or a run that is killed now would later take a worse one for the best
        return scores

    def _log_step(
        self, batch: StepBatch, outcome: ClipOutcome, rate: float, norm: float, seconds: float
    ) -> None:
        plan = batch.plan
        entry: dict[str, Any] = {
            "step": self.step,
            "stage": self._options.stage_at(plan.step)[0].name,
            "kind": f"{plan.prompt} {plan.size} {plan.frames}f {len(batch.images)}x",
            "objects": len(batch.owner),
            "loss": round(float(outcome.loss.detach()), 4),
            "rate": rate,
            "gradient": round(norm, 3),
            "seconds": round(seconds, 2),
        }
        if outcome.first_iou:
            entry["first"] = [round(float(iou.mean()), 3) for iou in outcome.first_iou]
        if outcome.tracked_iou:
            entry["tracked"] = [
                round(float(iou[seen].mean()), 3) if bool(seen.any()) else None
                for iou, seen in zip(outcome.tracked_iou, outcome.tracked_visible, strict=True)
            ]
            entry["presence"] = round(float(torch.cat(outcome.presence).float().mean()), 3)
        self._log(entry)

    def _log(self, entry: dict[str, Any]) -> None:
        with (self._out / "log.jsonl").open("a", encoding="utf8") as log:
            log.write(json.dumps(entry) + "\n")


def train(
    options: TrainOptions,
    out: Path | str,
    *,
    folders: Sequence[Path | str] = (),
    videos: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    sources: Sequence[tuple[ClipSource, float]] | None = None,
    held_out: Sequence[tuple[ClipSource, float]] | None = None,
    resume: bool = True,
    device: str = "auto",
    minutes: float | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a network and return the path of the best checkpoint.

    Parameters
    ----------
    options : TrainOptions
        The recipe; see `TrainOptions.preset`.
    out : Path or str
        Folder of the run. An interrupted run continues where it was saved.
    folders : sequence of Path
        Labelled still images to train on beside the synthetic clips; see `default_sources`.
    videos : sequence of (frames, labels)
        Labelled videos to train on; see `default_sources`.
    sources, held_out : sequence of (source, weight), optional
        Clips to train on, and clips to choose the best checkpoint by, in place of what folders and videos give.
    resume : bool
        Continue what is in the folder; False refuses a folder that already holds a run.
    device : str
        "auto", "cpu", "cuda" or "mps".
    minutes : float, optional
        Stop and save after this long; the next call continues.
    progress : callable, optional
        Called with the number of finished steps and the last loss.

    Raises
    ------
    ValueError
        If the folder holds a run and `resume` is False, or a run of another kind.
    """
    folder = Path(out)
    if not resume and (folder / "state.pt").exists():
        raise ValueError(f"{folder} already holds a run; resume it or choose another folder")
    chosen = _device(device)
    share, eventful = options.synthetic_share, options.eventful
    taught = default_sources(share, folders, videos, eventful=eventful) if sources is None else sources
    exam = default_sources(share, folders, videos, held_out=True) if held_out is None else held_out
    with _torch_settings(options.threads, chosen):
        trainer = Trainer(options, folder, taught, exam, chosen)
        if resume:
            trainer.resume()
        trainer.run(minutes, progress)
        trainer.evaluate()
    return folder / "best.safetensors"


def _resumed_as(recipe: dict[str, Any], stages: int) -> dict[str, Any]:
    """Return what two recipes of so many common stages must share for one to go on with the other's run."""
    sizes = [sorted({int(size) for size, _ in stage["sizes"]}) for stage in recipe["stages"][:stages]]
    return {name: recipe[name] for name in ("start", "model", "optimizer")} | {"input sizes": sizes}


@contextmanager
def _torch_settings(wanted_threads: int, device: torch.device) -> Iterator[None]:
    """Set threads and matrix precision for a run and put them back: both are global in PyTorch."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if wanted_threads:
        torch.set_num_threads(wanted_threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32; on a CPU the default was the fastest
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
