"""What every tunnel is: a public address that leads here, opened, looked after, and closed."""

from collections.abc import Callable
from typing import Protocol

from contracts.errors import TunnelFailed


class Unopened(Exception):
    """A tunnel can't be opened.

    Args:
        error: Why, for people; it holds no secret.
        final: Whether it is in vain to try again before a person has done something.
    """

    def __init__(self, error: TunnelFailed, *, final: bool) -> None:
        super().__init__(error.detail)
        self.error, self.final = error, final


class Tunnel(Protocol):
    """One that is open."""

    @property
    def url(self) -> str:
        """The public address."""

    def fault(self) -> str:
        """Why nothing comes through it any more; empty while it stands."""

    def close(self) -> None:
        """Give the address back; harmless where that has been done."""


class Opener(Protocol):
    """Opens tunnels of one kind."""

    def __call__(self, upstream: str, on_end: Callable[[], None]) -> Tunnel:
        """A tunnel from a new public address.

        Args:
            upstream: Where it leads, such as `http://127.0.0.1:9000`.
            on_end: Called from another thread when it may have ended by itself.

        Raises:
            Unopened: It can't be opened.
        """

    def give_up(self) -> None:
        """Open none any more; one that is being opened need not be waited for. Any thread may ask.

        What is left of that one ends with this process at the latest.
        """
