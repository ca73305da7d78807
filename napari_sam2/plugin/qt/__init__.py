"""Qt glue: the event loop, the undo stack, and opening a tracker with or without them."""
