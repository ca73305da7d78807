"""Widgets and styles that several docks share."""
