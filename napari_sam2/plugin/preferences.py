"""The plugin's preferences in napari's settings; defaults if the napari release has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_sam2.plugin.state import ModelChoice, Preferences

_PLUGIN = "napari-sam2"


def load_preferences() -> Preferences:
    """Return the preferences of the plugin (File > Preferences > SAM 2)."""
    default = Preferences()
    tracker = _section("tracker")
    folder = str(_value(tracker, "autosave_folder", "")).strip()
    return Preferences(
        ModelChoice(
            str(_value(tracker, "model", default.model.name)) or default.model.name,
            str(_value(tracker, "device", default.model.device)),
            str(_value(tracker, "precision", default.model.precision)),
        ),
        max(int(_value(tracker, "cache_mb", default.cache_mb)), 1),
        Path(folder).expanduser() if folder else None,
        bool(_value(tracker, "follow", default.follow)),
        max(int(_value(tracker, "encode_ahead", default.encode_ahead)), 0),
    )


def _section(name: str) -> Any:
    """Return a section of the plugin's settings; None if napari (before 0.9) has none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return getattr(get_plugin_settings(_PLUGIN), name, None)
    except (KeyError, ValueError, AttributeError):  # the plugin is not registered, as in a test
        return None


def _value(section: Any, name: str, default: Any) -> Any:
    value = getattr(section, name, None)
    return default if value is None else value
