"""Actions of buttons and keys on the controller of a dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_info, show_warning

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.qt.undo_stack import stack_of
from napari_sam2.plugin.state import Direction


class Actions:
    """Actions that are the same for a button, a key and a menu.

    Parameters
    ----------
    current : callable
        Returns the controller, or None.
    """

    def __init__(self, current: Callable[[], Controller | None]) -> None:
        self._current = current

    def do(self, act: Callable[[Controller], Any]) -> Any:
        """Return ``act(controller)``; an error becomes a notification, and None is returned."""
        controller = self._current()
        if controller is None or controller.closed:
            show_info("Open an image first: drop one into the window, or choose File ▸ Open Sample ▸ SAM 2.")
            return None
        try:
            return act(controller)
        except (ValueError, RuntimeError) as error:
            text = str(error)
            show_warning(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))
            return None

    def new_object(self) -> None:
        """Add an object and make it the active one."""
        self.do(lambda c: c.objects.add())

    def step_object(self, step: int) -> None:
        """Make the next or previous object the active one."""
        self.do(lambda c: c.objects.step(step))

    def solo(self) -> None:
        """Show the selected objects alone, or all again."""
        self.do(lambda c: c.objects.show_alone(() if c.objects.solo else selected_objects(c)))

    def lock_objects(self, locked: bool) -> None:
        """Lock or unlock the selected objects."""
        self.do(lambda c: c.objects.lock(selected_objects(c), locked))

    def delete_objects(self) -> None:
        """Delete the selected objects."""
        self.do(lambda c: c.objects.delete(selected_objects(c)))

    def cycle(self, step: int = 1) -> None:
        """Show another mask for an ambiguous click."""
        self.do(lambda c: c.prompts.cycle_alternative(step))

    def clear(self) -> None:
        """Delete the prompts of the active object on this frame."""
        self.do(lambda c: c.prompts.clear())

    def undo(self) -> None:
        """Undo the last step."""

        def undo(controller: Controller) -> None:
            stack = stack_of(controller)
            if stack is not None and stack.canUndo():
                stack.undo()
            else:  # possibly a prompt that has no answer yet
                controller.undo()

        self.do(undo)

    def redo(self) -> None:
        """Redo the last step that was undone."""

        def redo(controller: Controller) -> None:
            stack = stack_of(controller)
            if stack is not None and stack.canRedo():
                stack.redo()
            else:
                controller.redo()

        self.do(redo)

    def stop(self) -> None:
        """Stop tracking."""
        self.do(lambda c: c.stop())

    def track(self, direction: Direction, **reach: Any) -> None:
        """Track, or stop if tracking is running."""

        def track(controller: Controller) -> None:
            if controller.n_frames == 1:
                raise ValueError("there is nothing to track in a single image: its masks are there already")
            if controller.propagation.phase == "idle":
                controller.propagate(direction, **reach)
            else:
                controller.stop()

        self.do(track)

    def go_to_uncertain(self, step: int) -> None:
        """Go to the next or previous uncertain frame."""

        def go(controller: Controller) -> None:
            if not controller.go_to_uncertain(step):
                show_info(f"No uncertain frame {'after' if step > 0 else 'before'} this one.")

        self.do(go)


def selected_objects(controller: Controller) -> tuple[int, ...]:
    """Return the selected objects; the active one if none is selected."""
    objects = controller.objects
    return objects.selected or ((objects.active,) if objects.active else ())
