"""Following a job: who stops listening is let go, at whatever moment."""

import asyncio

import pytest

from backend.jobs.changes import _Bell

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
