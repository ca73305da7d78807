"""Qt glue: the event loop and the undo stack."""
