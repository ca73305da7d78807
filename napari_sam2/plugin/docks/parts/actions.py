"""What buttons and keys do with a controller: one name each, errors told as notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_info, show_warning

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.qt.undo_stack import stack_of
from napari_sam2.plugin.state import Direction


class Actions:
    """Verbs on the controller that a dock works with.

    Parameters
    ----------
    current : callable
        Gives the controller, or None.
    """

    def __init__(self, current: Callable[[], Controller | None]) -> None:
        self._current = current

    def do(self, act: Callable[[Controller], Any]) -> Any:
        """Call ``act(controller)``; what cannot be done now is told in one sentence."""
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
        self.do(lambda c: c.objects.show_alone(() if c.objects.solo else _chosen(c)))

    def delete_objects(self) -> None:
        """Delete the selected objects."""
        self.do(lambda c: c.objects.delete(_chosen(c)))

    def switch_sign(self) -> None:
        """Switch between "here" and "not here"."""

        def switch(controller: Controller) -> None:
            controller.prompts.positive = not controller.prompts.positive

        self.do(switch)

    def cycle(self, step: int = 1) -> None:
        """Show another mask for an ambiguous click."""
        self.do(lambda c: c.prompts.cycle_alternative(step))

    def clear(self) -> None:
        """Take back all prompts of the active object on this frame."""
        self.do(lambda c: c.prompts.clear())

    def undo(self) -> None:
        """Undo."""

        def undo(controller: Controller) -> None:
            stack = stack_of(controller)
            if stack is not None and stack.canUndo():
                stack.undo()
            else:  # perhaps it is a prompt that is not answered yet
                controller.undo()

        self.do(undo)

    def redo(self) -> None:
        """Redo."""

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
        """Track, or stop when that is under way."""

        def track(controller: Controller) -> None:
            if controller.n_frames == 1:
                raise ValueError("there is nothing to track in a single image: its masks are there already")
            if controller.propagation.phase == "idle":
                controller.propagate(direction, **reach)
            else:
                controller.stop()

        self.do(track)

    def go_to_doubt(self, step: int) -> None:
        """Go to the next or previous doubtful frame."""

        def go(controller: Controller) -> None:
            if not controller.go_to_uncertain(step):
                where = "after" if step > 0 else "before"
                show_info(f"No doubtful frame {where} this one.")

        self.do(go)


def _chosen(controller: Controller) -> tuple[int, ...]:
    objects = controller.objects
    return objects.selected or ((objects.active,) if objects.active else ())
