"""Renders in threads of their own, which many may follow."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue

import numpy as np
import pytest

from contracts.errors import (
    Busy,
    EngineBusy,
    IdempotencyMismatch,
    LipSyncError,
    NoFaceFound,
    RenderNotFound,
)
from contracts.lipsync import RenderReport
from contracts.records import (
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    Record,
)
from gpu_service.render import Emit
from gpu_service.routes import rendering
from gpu_service.routes.rendering import Run
from gpu_service.routes.runs import ALONE_SECONDS, KEPT_SECONDS, Renders

ENGINE = EventRecord(name="engine", value="counting")
REPORT = RenderReport(
    engine="counting", engine_version="1", width=64, height=64, fps=25, num_frames=25, seconds=1.0
)
Step = tuple[Record, bytes] | Exception | None


class Work:
    """A job that does what it is told, step by step, in its own thread."""

    def __init__(self, *steps: Step) -> None:
        self.steps: SimpleQueue[Step] = SimpleQueue()
        self.begun = 0
        self.tell(*steps)

    def tell(self, *steps: Step) -> None:
        for step in steps:
            self.steps.put(step)

    def __call__(self, emit: Emit) -> RenderReport:
        self.begun += 1
        while (step := self.steps.get(timeout=30)) is not None:
            if isinstance(step, Exception):
                raise step
            emit(*step)
        return REPORT


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(done: float = 0.0) -> Step:
    return ProgressRecord(stage="render", done=done, total=9), b""


def media(count: int) -> list[Step]:
    """The init record and fragments, of bytes that are all different."""
    fragments = (MediaRecord(seq=seq, start=seq / 5, seconds=0.2) for seq in range(1, count))
    return [(record, bytes([record.seq]) * 100) for record in (InitRecord(), *fragments)]


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), 60)

    asyncio.run(limited())


async def read(run: Run, first: int = 0) -> list[Framed]:
    return [framed async for framed in run.records(first)]


def payloads(records: list[Framed]) -> list[bytes]:
    return [framed.payload for framed in records if framed.payload]


def test_there_is_room_again_once_a_render_has_ended() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work()
        run = renders.start(work)
        with pytest.raises(EngineBusy) as refused:
            renders.start(work)
        assert refused.value.retry_after_seconds
        assert renders.running == 1
        work.tell(None, None)
        assert (await read(run))[-1].record == EndRecord(report=REPORT)
        assert renders.running == 0
        assert (await read(renders.start(work)))[-1].record == EndRecord(report=REPORT)
        await renders.close()

    in_loop(scenario)


def test_a_render_that_ends_with_its_host_says_that_it_may_be_sent_again() -> None:
    async def scenario() -> None:
        renders, work = Renders(1, 1), Work((ENGINE, b""))
        run, waiting = renders.start(work), renders.start(Work())
        await run.begun()
        renders.stop()
        work.tell(progress())
        for stopped in (run, waiting):
            await stopped.ended()
            assert isinstance(stopped.error, Busy)
            assert stopped.error.retryable
            assert stopped.error.retry_after_seconds
        assert (renders.running, renders.waiting) == (0, 0)
        await renders.close()

    in_loop(scenario)


def test_a_host_that_drains_hands_back_what_waits_and_lets_end_what_runs() -> None:
    async def scenario() -> None:
        renders, work = Renders(1, 1), Work((ENGINE, b""))
        run, waiting = renders.start(work, "key"), renders.start(Work())
        await run.begun()
        draining = asyncio.create_task(renders.drain(60))
        await waiting.ended()
        assert isinstance(waiting.error, Busy)
        assert renders.draining
        with pytest.raises(Busy) as refused:
            renders.start(Work())
        assert refused.value.hint
        assert refused.value.retry_after_seconds
        assert renders.start(Work(), "key") is run
        assert not draining.done()
        work.tell(None)
        await draining
        assert (await read(run))[-1].record == EndRecord(report=REPORT)
        await renders.close()

    in_loop(scenario)


def test_what_does_not_end_while_the_host_drains_is_handed_back() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work((ENGINE, b""))
        run = renders.start(work)
        await run.begun()
        await renders.drain(0)
        work.tell(progress())
        await run.ended()
        assert isinstance(run.error, Busy)
        assert run.error.retryable
        await renders.close()

    in_loop(scenario)


def test_a_host_without_renders_has_drained_at_once() -> None:
    async def scenario() -> None:
        renders = Renders(1)
        await renders.drain(1e9)
        await renders.close()

    in_loop(scenario)


def test_readers_at_any_place_get_the_same_bytes_whenever_they_come() -> None:
    async def scenario() -> None:
        choose = np.random.default_rng(7)
        renders, work = Renders(1), Work((ENGINE, b""))
        run = renders.start(work, "key")
        steps = media(40)
        readers: list[tuple[int, asyncio.Task[list[Framed]]]] = []
        while steps:
            first = int(choose.integers(45))
            readers.append((first, asyncio.create_task(read(run, first))))
            told, steps = steps[: (cut := int(choose.integers(1, 6)))], steps[cut:]
            work.tell(*told, progress(40 - len(steps)))
            await asyncio.sleep(0)
        work.tell(None)
        await run.ended()
        readers += [(first, asyncio.create_task(read(run, first))) for first in range(45)]
        whole = [payload for _, payload in media(40)]
        for first, reader in readers:
            records = await reader
            assert records[0].record == ENGINE or not run.media
            assert payloads(records) == whole[first:]
            assert records[-1].record == EndRecord(report=REPORT)
            assert sum(framed.record == ENGINE for framed in records) == 1
        await renders.close()

    in_loop(scenario)


def test_a_reader_who_is_slow_holds_up_neither_the_render_nor_others() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work((ENGINE, b""), *media(30), None)
        run = renders.start(work, "key")
        slow = run.records()
        assert (await anext(slow)).record
        assert payloads(await read(run)) == [payload for _, payload in media(30)]
        assert renders.running == 0
        assert len(payloads([framed async for framed in slow])) == 30
        await renders.close()

    in_loop(scenario)


def test_of_progress_only_the_latest_is_told_and_again_while_nothing_else_flows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "HEARTBEAT_SECONDS", 0.01)

    async def scenario() -> None:
        renders, work = Renders(1), Work(*(progress(done) for done in range(9)))
        run = renders.start(work)
        work.tell((ENGINE, b""), *media(1))
        async for framed in run.records():
            if framed.record == InitRecord():
                break
        told = []
        async for framed in run.records():
            told.append(framed.record)
            if len(told) == 6:
                work.tell(None)
        assert told[:3] == [ENGINE, ProgressRecord(stage="render", done=8, total=9), InitRecord()]
        assert told[3:6] == [told[1]] * 3
        await renders.close()

    in_loop(scenario)


def test_ten_requests_with_one_key_are_one_render() -> None:
    async def scenario() -> None:
        renders, works = Renders(4), [Work((ENGINE, b""), *media(3)) for _ in range(10)]
        joined = [renders.start(work, "key", "content") for work in works]
        assert len({run.id for run in joined}) == renders.running == 1
        readers = [asyncio.create_task(read(run)) for run in joined]
        works[0].tell(None)
        for reader in readers:
            assert len(payloads(await reader)) == 3
        assert [work.begun for work in works] == [1] + [0] * 9
        assert renders.start(Work(), "key", "content") is joined[0]
        await renders.close()

    in_loop(scenario)


def test_without_a_key_each_request_is_a_render_of_its_own() -> None:
    async def scenario() -> None:
        renders = Renders(2)
        assert renders.start(Work(None)).id != renders.start(Work(None)).id
        await renders.close()

    in_loop(scenario)


def test_a_key_that_is_used_for_something_else_is_refused() -> None:
    async def scenario() -> None:
        renders = Renders(1)
        run = renders.start(Work(None), "key", "content")
        for _ in range(2):
            with pytest.raises(IdempotencyMismatch):
                renders.start(Work(), "key", "other content")
            await run.ended()
        await renders.close()

    in_loop(scenario)


@pytest.mark.parametrize(
    "error", [NoFaceFound("nobody"), ZeroDivisionError("a bug"), StopIteration()], ids=repr
)
def test_after_an_error_a_repeat_renders_anew_and_until_then_the_error_is_told(
    error: Exception,
) -> None:
    async def scenario() -> None:
        renders = Renders(1)
        failed = renders.start(Work((ENGINE, b""), error), "key")
        await failed.ended()
        last = (await read(renders.find("key")))[-1].record
        assert isinstance(last, ErrorRecord)
        assert last.error.code == getattr(error, "code", "RENDER_FAILED")
        assert last.error.request_id == failed.id
        anew = renders.start(Work(None), "key")
        assert anew.id != failed.id
        assert renders.find("key") is anew
        await renders.close()

    in_loop(scenario)


def test_what_an_error_passed_through_is_not_kept_with_it() -> None:
    async def scenario() -> None:
        renders = Renders(1)
        failed = renders.start(Work(NoFaceFound("nobody")), "key")
        await failed.ended()
        for _ in range(2):
            error = failed.error
            assert isinstance(error, NoFaceFound)
            assert (error.detail, error.hint) == ("nobody", NoFaceFound.default_hint)
            assert error.__traceback__ is None
            with pytest.raises(LipSyncError):
                raise error
        assert failed.job is None
        await renders.close()

    in_loop(scenario)


def test_renders_wait_for_their_turn_in_the_order_in_which_they_came() -> None:
    async def scenario() -> None:
        renders, works = Renders(1, 2), [Work(), Work((ENGINE, b"")), Work(), Work()]
        first, second, third = (renders.start(work) for work in works[:3])
        with pytest.raises(EngineBusy):
            renders.start(works[3])
        assert (renders.running, renders.waiting) == (1, 2)
        told = third.records()
        assert (await anext(told)).record == ProgressRecord(stage="queue", done=0, total=2)
        works[0].tell(None)
        assert (await anext(told)).record == ProgressRecord(stage="queue", done=0, total=1)
        await second.begun()
        assert (first.last is not None, third.engine) == (True, None)
        works[1].tell(None)
        assert (await anext(told)).record == ProgressRecord(stage="decode", done=0, total=1)
        works[2].tell(None)
        assert [framed.record async for framed in told][-1] == EndRecord(report=REPORT)
        await renders.close()

    in_loop(scenario)


@pytest.mark.parametrize("how", ["its caller goes", "it is deleted"])
def test_a_render_that_nobody_wants_any_more_leaves_the_queue(how: str) -> None:
    async def scenario() -> None:
        renders, work, unwanted = Renders(1, 2), Work(), Work(None)
        renders.start(work)
        waiting = renders.start(unwanted, None if how == "its caller goes" else "key")
        behind = renders.start(Work(None))
        renders.join(waiting)
        if how == "its caller goes":
            renders.leave(waiting)
        else:
            renders.delete("key")
        assert (renders.running, renders.waiting) == (1, 1)
        assert (await read(waiting))[-1].record.type == "error"
        told = behind.records()
        assert (await anext(told)).record == ProgressRecord(stage="queue", done=0, total=1)
        work.tell(None)
        await behind.ended()
        assert unwanted.begun == 0
        await renders.close()

    in_loop(scenario)


def test_a_render_without_a_key_ends_with_its_caller() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work((ENGINE, b""))
        run = renders.start(work)
        renders.join(run)
        await run.begun()
        renders.leave(run)
        work.tell(progress())
        await run.ended()
        assert run.error
        assert run.error.code == "CANCELLED"
        await renders.close()

    in_loop(scenario)


def test_a_render_with_a_key_goes_on_alone_for_a_minute() -> None:
    async def scenario() -> None:
        clock = Clock()
        renders, work = Renders(1, clock=clock), Work((ENGINE, b""))
        run = renders.start(work, "key")
        renders.join(run)
        renders.join(run)
        clock.now += 10 * ALONE_SECONDS
        renders.leave(run)
        renders.sweep()
        assert run.joinable
        renders.leave(run)
        clock.now += ALONE_SECONDS - 1
        renders.sweep()
        assert run.joinable
        renders.join(run)
        clock.now += 10
        renders.leave(run)
        clock.now += ALONE_SECONDS
        renders.sweep()
        assert not run.joinable
        work.tell(progress())
        assert (await read(renders.find("key")))[-1].record.type == "error"
        await renders.close()

    in_loop(scenario)


def test_a_render_that_is_being_stopped_is_not_joined() -> None:
    async def scenario() -> None:
        clock = Clock()
        renders, work = Renders(1, 1, clock=clock), Work()
        stopping = renders.start(work, "key")
        clock.now += ALONE_SECONDS
        renders.sweep()
        anew = renders.start(Work(None), "key")
        assert anew is not stopping
        assert renders.waiting == 1
        work.tell(progress())
        assert (await read(anew))[-1].record == EndRecord(report=REPORT)
        assert stopping.error
        assert renders.find("key") is anew
        await renders.close()

    in_loop(scenario)


def test_a_render_can_be_asked_for_until_15_minutes_after_its_end() -> None:
    async def scenario() -> None:
        clock = Clock()
        renders = Renders(1, clock=clock)
        run = renders.start(Work(None), "key")
        renders.join(run)
        await run.ended()
        clock.now += KEPT_SECONDS - 1
        renders.leave(run)
        renders.sweep()
        assert renders.find("key") is run
        clock.now += 1
        renders.sweep()
        with pytest.raises(RenderNotFound):
            renders.find("key")
        await renders.close()

    in_loop(scenario)


def test_beyond_the_budget_the_oldest_that_ended_are_let_go_and_none_that_runs() -> None:
    async def scenario() -> None:
        clock = Clock()
        renders = Renders(2, kept_bytes=1000, clock=clock)
        running = Work((ENGINE, b""), *media(50))
        renders.start(running, "running")
        for name in "abcd":
            clock.now += 1
            await renders.start(Work(*media(4), None), name).ended()
        kept = [name for name in (*"abcd", "running") if has(renders, name)]
        assert kept == ["c", "d", "running"]
        clock.now += 1
        await renders.start(Work(*media(20), None), "large").ended()
        kept = [name for name in (*"abcd", "large", "running") if has(renders, name)]
        assert kept == ["large", "running"]
        running.tell(None)
        await renders.close()

    in_loop(scenario)


def has(renders: Renders, key: str) -> bool:
    try:
        return renders.find(key) is not None
    except RenderNotFound:
        return False


def test_a_deleted_render_stops_and_is_forgotten() -> None:
    async def scenario() -> None:
        renders, work = Renders(1), Work((ENGINE, b""))
        run = renders.start(work, "key")
        await run.begun()
        assert renders.delete("key") is run
        for forgotten in (renders.find, renders.delete):
            with pytest.raises(RenderNotFound):
                forgotten("key")
        work.tell(progress())
        await run.ended()
        assert run.error
        assert run.error.code == "CANCELLED"
        assert renders.running == 0
        await renders.close()

    in_loop(scenario)


def test_records_are_handed_on_from_the_renders_thread() -> None:
    async def scenario() -> None:
        threads: list[int] = []

        def job(emit: Emit) -> RenderReport:
            threads.append(threading.get_ident())
            return REPORT

        renders = Renders(1)
        await renders.start(job).ended()
        assert threads != [threading.get_ident()]
        await renders.close()

    in_loop(scenario)
