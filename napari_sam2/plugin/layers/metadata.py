"""Keys in the metadata of layers: the projects that they belong to, and the objects of their labels."""

from __future__ import annotations

from typing import Any

PROJECT_KEY = "napari_sam2_project"  # of images and results
_PROMPTS_KEY = "napari_sam2_prompts"  # of prompt layers
_IDS_KEY = "napari_sam2_ids"  # of Labels layers of the user's own


def projects_of(layer: Any) -> tuple[str, ...]:
    """Return the projects in which a prompt layer was used; a copy of such a layer was used in none."""
    ident, projects = layer.metadata.get(_PROMPTS_KEY, (0, ()))
    return tuple(projects) if ident == id(layer) else ()


def note_project(layer: Any, project: str) -> None:
    """Note in a prompt layer that it is used in a project."""
    layer.metadata[_PROMPTS_KEY] = (id(layer), tuple(dict.fromkeys((*projects_of(layer), project))))


def ids_of_labels(layer: Any) -> dict[int, int]:
    """Return the object ids of labels that are none; what is added is kept with the layer."""
    ids: dict[int, int] = layer.metadata.setdefault(_IDS_KEY, {})
    return ids
