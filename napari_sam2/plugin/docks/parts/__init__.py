"""Widgets, styles and actions that several docks share."""
