"""The wish that a render ends, which reaches it also while it waits for its host."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop(threading.Event):
    """An event that cuts what blocks those who can't look at it.

    `set` means that nobody wants the render any more, so that the GPU host stops it, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.detached = False
        """Whether the render goes on at its host, because only this process ends."""
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []

    def set(self) -> None:
        """Stop, for good unless detached."""
        super().set()
        with self._lock:
            cuts = list(self._cuts)
        for cut in cuts:
            cut()

    def detach(self) -> None:
        """Stop here; the host keeps the render for whoever asks for it next."""
        self.detached = True
        self.set()

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Within the block, `cut` is called when it is time to stop, at once if that has passed."""
        with self._lock:
            self._cuts.append(cut)
        try:
            if self.is_set():
                cut()
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)
