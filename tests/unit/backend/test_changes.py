"""Following a job: nothing is missed, and who stops listening is let go, at whatever moment."""

import asyncio
from types import SimpleNamespace

import pytest

from backend.jobs.changes import Changes, _Bell
from contracts.jobs import JobState

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize("turns", range(6))
async def test_who_stops_waiting_just_when_the_bell_rings_does_not_wait_on(turns):
    bell = _Bell()

    async def listen():
        while True:
            await bell.wait(30)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    bell.ring()
    for _ in range(turns):
        await asyncio.sleep(0)
    listener.cancel()
    await asyncio.wait({listener}, timeout=5)
    gone = listener.cancelled()
    listener.cancel()
    assert gone


class Stopping:
    """A job that the backend gives back, being stopped just after somebody has looked at it."""

    def __init__(self):
        self.on_change = []
        self.changes = Changes(self)
        self.version = 1

    def get(self, _):
        view = SimpleNamespace(version=self.version, state=JobState.RUNNING)
        self.version = 2
        self.changes.close()
        return SimpleNamespace(view=lambda: view)


async def test_what_a_stop_has_changed_is_told_before_followers_go():
    assert [view.version async for view in Stopping().changes.follow("a")] == [1, 2]
