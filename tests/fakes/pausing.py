"""A stop that does not wait."""

from collections.abc import Callable

from backend.gpu.stop import Stop


class Pausing(Stop):
    """Does something where a client would wait before its next try, and does not wait.

    Args:
        steps: What to do, one for each pause; nothing once they have run out.
    """

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self.steps = list(steps)
        self.num_pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Take the next step; whether the stop was set."""
        self.num_pauses += 1
        if self.steps:
            self.steps.pop(0)()
        return self.is_set()
