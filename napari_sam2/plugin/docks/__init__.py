"""Docks of the window, a folder each."""
