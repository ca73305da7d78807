"""Widgets for a frozen dataclass of options: magicgui makes them, their tooltips are its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from magicgui.widgets import CheckBox, create_widget
from qtpy.QtWidgets import QFormLayout, QWidget

_PARAMETER = re.compile(r"^([a-z_][a-z0-9_, ]*?) :", re.MULTILINE)


class OptionsForm:
    """Some fields of an options class as widgets.

    Parameters
    ----------
    options : object
        An instance; its values are shown first.
    names : sequence of str
        Which fields.
    labels : mapping of str to str
        What people read instead of the name.
    settings : mapping of str to dict
        Further options of magicgui's widgets, by field.
    on_change : callable
        Called with {name: value} of the field that the user changed.
    """

    def __init__(
        self,
        options: Any,
        names: Sequence[str],
        labels: Mapping[str, str],
        settings: Mapping[str, dict[str, Any]],
        on_change: Callable[[dict[str, Any]], None],
    ) -> None:
        self._on_change = on_change
        self._showing = False
        hints, tips = get_type_hints(type(options)), parameter_tips(type(options))
        self.widgets: dict[str, Any] = {}
        for name in names:
            more = dict(settings.get(name, {}))
            widget: Any = create_widget(
                value=getattr(options, name),
                annotation=None if "widget_type" in more else hints[name],
                name=name,
                label=labels.get(name, name.replace("_", " ")),
                widget_type=more.pop("widget_type", None),
                options={"tooltip": tips.get(name, ""), **more},
            )
            widget.changed.connect(lambda value, name=name: self._changed(name, value))
            self.widgets[name] = widget
        self.native = QWidget()
        form = QFormLayout(self.native)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        for widget in self.widgets.values():
            said_beside = isinstance(widget, CheckBox)
            form.addRow("" if said_beside else widget.label, widget.native)

    def show(self, options: Any) -> None:
        """Show other values."""
        self._showing = True
        try:
            for name, widget in self.widgets.items():
                widget.value = getattr(options, name)
        finally:
            self._showing = False

    def _changed(self, name: str, value: Any) -> None:
        if not self._showing:
            self._on_change({name: value})


def parameter_tips(described: type) -> dict[str, str]:
    """Return what a numpydoc docstring says about each parameter, one paragraph each."""
    text = inspect.getdoc(described) or ""
    start = text.find("Parameters\n---")
    if start < 0:
        return {}
    body = text[start:].split("\n", 2)[2]
    body = re.split(r"\n\n[A-Z][a-z]+\n-{3,}", body)[0]
    known = {f.name for f in fields(described)}
    tips: dict[str, str] = {}
    places = list(_PARAMETER.finditer(body))
    for found, following in zip(places, [*places[1:], None]):
        lines = body[found.end() : following.start() if following else None].split("\n")[1:]
        said = " ".join(line.strip() for line in lines).strip()
        for name in found.group(1).split(", "):
            if name in known:
                tips[name] = said
    return tips
