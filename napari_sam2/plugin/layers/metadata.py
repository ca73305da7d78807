"""What an image layer's metadata keeps: the projects of its frames."""

from __future__ import annotations

from typing import Any

PROJECT_KEY = "napari_sam2_project"  # in the metadata of layers that belong to a project


_PROMPTS_KEY = "napari_sam2_prompts"  # in the metadata of layers of prompts


def projects_of(layer: Any) -> tuple[str, ...]:
    """Return the projects in which a layer of prompts was used; a copy of such a layer was used in none."""
    ident, projects = layer.metadata.get(_PROMPTS_KEY, (0, ()))
    return tuple(projects) if ident == id(layer) else ()


def note_project(layer: Any, project: str) -> None:
    """Remember that a layer of prompts is used in a project."""
    layer.metadata[_PROMPTS_KEY] = (id(layer), tuple(dict.fromkeys((*projects_of(layer), project))))
