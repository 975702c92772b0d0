"""What the worker asks of a GPU host, whichever kind it is."""

from collections.abc import Generator
from typing import Protocol

from backend.gpu.rendering import OnRestart, RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.uploads import OnSent
from backend.staging.fragments import Fragments
from contracts.records import Framed


class Renderer(Protocol):
    """A GPU host that renders; safe to use from several threads."""

    far: bool
    """Whether what is sent there had better be small, see `GpuClient`."""

    def render(
        self,
        order: RenderOrder,
        fragments: Fragments,
        stop: Stop,
        on_restart: OnRestart,
        on_sent: OnSent = ...,
    ) -> Generator[Framed, None, None]:
        """Have a face speak; see `GpuClient.render`."""

    def cancel(self, key: str) -> bool:
        """Have the host stop a render and forget it.

        Returns:
            Whether it knew the render.

        Raises:
            LipSyncError: It could not be told.
        """
