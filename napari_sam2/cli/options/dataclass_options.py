"""``--set NAME=VALUE``: a frozen dataclass of options from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from napari_sam2.cli.errors import UsageError

Options = TypeVar("Options")
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def options_from(kind: type[Options], settings: Sequence[str], **start: Any) -> Options:
    """Make options of ``kind`` from "NAME=VALUE" texts; fields that hold more than one value can't be set.

    Parameters
    ----------
    kind : type
        A frozen dataclass.
    settings : sequence of str
        What was typed.
    **start
        Values to begin with.
    """
    types = {f.name: str(f.type) for f in fields(kind) if _reader(str(f.type)) is not None}  # type: ignore[arg-type]
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in types:
            raise UsageError(f"--set {text!r}: write NAME=VALUE with one of {', '.join(types)}")
        try:
            start[name] = _read(types[name], value.strip())
        except (ValueError, KeyError):
            raise UsageError(f"--set {text!r}: {_reader(types[name])} is needed") from None
    try:
        return kind(**start)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--set: {error}") from error


def _reader(annotation: str) -> str | None:
    """Return what has to be written for a field, None where one word is not enough."""
    plain = annotation.removesuffix(" | None")
    if plain.startswith("Literal") or plain == "str":
        return "a word"
    return {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(plain)


def _read(annotation: str, value: str) -> Any:
    plain = annotation.removesuffix(" | None")
    if plain != annotation and value.lower() == "none":
        return None
    if plain == "bool":
        return _SWITCHES[value.lower()]
    return {"int": int, "float": float}.get(plain, str)(value)
