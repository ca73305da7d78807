"""Talking to a terminal: console, progress, interrupts."""
