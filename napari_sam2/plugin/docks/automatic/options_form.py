"""A form for a frozen dataclass of options: widgets of magicgui with its docstring as tooltips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import docstring_parser
from magicgui.widgets import CheckBox, create_widget
from qtpy.QtWidgets import QFormLayout, QWidget


class OptionsForm:
    """Fields of an options class as widgets.

    Parameters
    ----------
    options : object
        Instance whose values are shown first.
    names : sequence of str
        Names of the fields.
    labels : mapping of str to str
        Labels by field.
    settings : mapping of str to dict
        Further options of magicgui's widgets by field.
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
            form.addRow("" if isinstance(widget, CheckBox) else widget.label, widget.native)

    def show(self, options: Any) -> None:
        """Show the values of other options."""
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
    """Return what a numpydoc docstring says about each parameter, in one paragraph each."""
    return {
        name.strip(): " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse(described.__doc__ or "").params
        for name in parameter.arg_name.split(",")
    }
