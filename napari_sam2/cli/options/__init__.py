"""Flags: the parser and the types of its arguments."""
