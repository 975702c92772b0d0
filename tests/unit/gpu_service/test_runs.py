"""Renders in threads of their own."""

import asyncio
import threading

import pytest

from contracts.errors import Busy, EngineBusy
from contracts.records import EventRecord
from gpu_service.render import Emit
from gpu_service.routes.runs import Renders, Run

RECORD = EventRecord(name="engine", value="counting")


class Work:
    """A job that emits a record, waits for its gate, and emits another."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, emit: Emit) -> str:
        emit(RECORD, b"")
        assert self.gate.wait(30), "nobody opened the gate"
        emit(RECORD, b"")
        return "done"


async def ended(run: Run[str]) -> str:
    while await run.next():
        pass
    return run.result()


def test_there_is_room_again_once_a_job_has_ended() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work()
        run = renders.start(work)
        with pytest.raises(EngineBusy) as refused:
            renders.start(work)
        assert refused.value.retry_after_seconds
        assert renders.running == 1
        work.gate.set()
        assert await ended(run) == "done"
        assert renders.running == 0
        assert await ended(renders.start(work)) == "done"
        await renders.close()

    asyncio.run(scenario())


def test_a_job_that_ends_with_its_host_says_that_it_may_be_sent_again() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work()
        run = renders.start(work)
        await run.next()
        renders.stop()
        work.gate.set()
        with pytest.raises(Busy) as stopped:
            await ended(run)
        assert stopped.value.retryable
        assert stopped.value.retry_after_seconds
        await renders.close()

    asyncio.run(scenario())
