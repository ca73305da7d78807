"""Meta's ``hydra_overrides_extra`` strings, without hydra."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from napari_sam2.model.config import ModelConfig
from napari_sam2.session.options import SessionOptions

MODEL_FIELDS = {
    "image_size": ("image_size", int),
    "max_obj_ptrs_in_encoder": ("max_pointers", int),
    "sigmoid_scale_for_mem_enc": ("sigmoid_scale", float),
    "sigmoid_bias_for_mem_enc": ("sigmoid_bias", float),
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": ("dynamic_stability", bool),
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": ("stability_delta", float),
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": ("stability_threshold", float),
}
PREDICTOR_FIELDS = {
    "fill_hole_area": ("fill_hole_area", int),
    "non_overlap_masks": ("non_overlap", bool),
    "add_all_frames_to_correct_as_cond": ("corrections_condition", bool),
    "clear_non_cond_mem_around_input": ("forget_around_prompts", bool),
    "max_cond_frames_in_attn": ("max_conditioning", int),
    "num_maskmem": ("max_memories", int),
    "memory_temporal_stride_for_eval": ("memory_stride", int),
    "binarize_mask_from_pts_for_mem_enc": ("binarize_prompted", bool),
    "multimask_min_pt_num": ("multimask_min_points", int),
    "multimask_max_pt_num": ("multimask_max_points", int),
    "multimask_output_for_tracking": ("multimask_tracking", bool),
}
# Say something about speed, or have no effect on a predictor that tracks each object on its own.
_WITHOUT_EFFECT = {
    "compile_image_encoder": bool,
    "non_overlap_masks_for_mem_enc": bool,
}
_TARGETS = (
    "sam2.modeling.sam2_base.SAM2Base",
    "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sam2.sam2_video_predictor.SAM2VideoPredictorVOS",
)


@dataclass(frozen=True)
class Overrides:
    """Fields that overrides change.

    Parameters
    ----------
    model : mapping of str to value
        Fields of :class:`~napari_sam2.model.config.ModelConfig`.
    session : mapping of str to value
        Fields of :class:`~napari_sam2.session.SessionOptions`.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    session: Mapping[str, Any] = field(default_factory=dict)


def parse_overrides(strings: Sequence[str]) -> Overrides:
    """Read override strings like ``"++model.fill_hole_area=8"``; later ones win.

    Raises
    ------
    ValueError
        Naming an override that is unknown, malformed or of the wrong type.
    """
    if isinstance(strings, str):
        raise TypeError(f"hydra_overrides_extra is a list of strings, not the string {strings!r}")
    model: dict[str, Any] = {}
    session: dict[str, Any] = {}
    for string in strings:
        key, value = _split(string)
        if key in MODEL_FIELDS:
            name, kind = MODEL_FIELDS[key]
            model[name] = _possible(ModelConfig, name, string, _typed(string, value, kind))
        elif key in PREDICTOR_FIELDS:
            name, kind = PREDICTOR_FIELDS[key]
            session[name] = _possible(SessionOptions, name, string, _typed(string, value, kind))
        elif key in _WITHOUT_EFFECT:
            _typed(string, value, _WITHOUT_EFFECT[key])
        elif key != "_target_" or value not in _TARGETS:
            known = ", ".join(sorted({*MODEL_FIELDS, *PREDICTOR_FIELDS, *_WITHOUT_EFFECT}))
            raise ValueError(f"override {string!r} is not supported; these keys of model are: {known}")
    return Overrides(model, session)


def checked_setting(name: str, value: Any, kind: type, options: Callable[..., object], field: str) -> Any:
    """Return a value for a field of ``options``; ValueError when it has the wrong type or is impossible."""
    string = f"{name}={value!r}"
    return _possible(options, field, string, _typed(string, value, kind))


def session_settings(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the reference's names of inference options into fields of SessionOptions, checked in the same way."""
    strings = [f"model.{key}={json.dumps(value)}" for key, value in switches.items()]
    return dict(parse_overrides(strings).session)


def _split(string: str) -> tuple[str, Any]:
    match = re.fullmatch(r"\+{0,2}model\.([\w.]+)=(.*)", str(string).strip(), re.DOTALL)
    if match is None:
        raise ValueError(f"override {string!r} is not understood: write '++model.name=value'")
    try:
        return match[1], yaml.safe_load(match[2])
    except yaml.YAMLError:
        raise ValueError(f"the value in override {string!r} is not understood") from None


def _possible(options: Callable[..., object], name: str, string: str, value: Any) -> Any:
    try:
        options(**{name: value})
    except ValueError as error:
        raise ValueError(f"{string!r} is impossible: {error}") from error
    return value


def _typed(string: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, str):
        # YAML reads 1e-3 (without a dot) as text.
        try:
            return float(value)
        except ValueError:
            pass
    fits = isinstance(value, bool) if kind is bool else isinstance(value, int) and not isinstance(value, bool)
    if kind is float and isinstance(value, float):
        fits = True
    if not fits:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"{string!r} needs {wanted}, not {value!r}")
    return kind(value)
