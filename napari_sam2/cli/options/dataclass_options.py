"""Frozen dataclasses of options from the command line: one flag for each field, and ``--set NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, TypeVar

from napari_sam2.cli.errors import UsageError

Options = TypeVar("Options")
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a word",
        "Literal": "a word",
    }
)


def options_from(kind: type[Options], settings: Sequence[str], **start: Any) -> Options:
    """Build options of ``kind`` from "NAME=VALUE" texts; fields that hold more than one value can't be set.

    Parameters
    ----------
    kind : type
        A frozen dataclass.
    settings : sequence of str
        Texts of the command line.
    **start
        Values to begin with.
    """
    types = field_types(kind)
    settable = {name: annotation for name, annotation in types.items() if _plain(annotation) in _NEEDED}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in settable:
            raise UsageError(f"--set {text!r}: write NAME=VALUE with one of {', '.join(settable)}")
        start[name] = read_value(settable[name], value.strip(), f"--set {text!r}")
    try:
        return kind(**start)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--set: {error}" if settings else str(error)) from error


def field_types(kind: type[Any]) -> dict[str, str]:
    """Return the annotation of each field."""
    return {f.name: str(f.type) for f in fields(kind)}


def read_value(annotation: str, text: str, where: str) -> Any:
    """Read the value of a field; "none" where it may be None.

    Raises
    ------
    UsageError
        Naming ``where`` the text was given, and what is needed.
    """
    plain = _plain(annotation)
    if "None" in annotation and text.lower() == "none":
        return None
    try:
        if plain == "bool":
            return _SWITCHES[text.lower()]
        return {"int": int, "float": float}.get(plain, str)(text)
    except (ValueError, KeyError):
        raise UsageError(f"{where}: {_NEEDED[plain]} is needed") from None


def _plain(annotation: str) -> str:
    return annotation.removesuffix(" | None").partition("[")[0]
