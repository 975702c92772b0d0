"""One render followed through broken connections, stalls and restarts."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import requests
from pydantic import TypeAdapter
from requests_toolbelt import MultipartEncoder

from backend.gpu.delivery import Delivery, Enclosed, SentAhead
from backend.gpu.stop import Stop
from backend.gpu.transport import Line, gpu_errors, no_gpu_host
from backend.gpu.uploads import UPLOAD_PATIENCE, OnSent, Transfers, Uploads
from backend.staging.fragments import Fragments
from contracts.catalogue import from_body
from contracts.errors import (
    Busy,
    Cancelled,
    FaceNeeded,
    GpuAnswerBroken,
    GpuHostDied,
    GpuTimeout,
    GpuUnreachable,
    IdempotencyMismatch,
    LipSyncError,
    RenderNotFound,
    SpeechNeeded,
)
from contracts.lipsync import LipSyncOptions
from contracts.marks import PhonemeMark
from contracts.problem import ErrorBody
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    decode_records,
)
from contracts.versions import ApiVersion

log = logging.getLogger(__name__)

MAX_BUSY_ANSWERS = 5
"""How often a busy host is asked again."""
MAX_RETRY_AFTER_SECONDS = 30.0
MAX_PAUSE_SECONDS = 5.0
"""Longest pause before the next try to resume."""
KEPT_SECONDS = 15 * 60.0
"""A host may have forgotten a render that nobody asked for in so long a time."""
TOLD_BEFORE = 2
"""The host begins each answer with the engine and the latest progress: these say nothing new."""
MEDIA_SINCE = ApiVersion(1, 1)
"""Hosts that take files ahead of a render."""

LOST: Final = "lost"
"""The event with which we ourselves tell that nothing comes now, by an error's code."""

OnRestart = Callable[[GpuHostDied], None]
_LOST = (GpuUnreachable, GpuTimeout, GpuAnswerBroken)
_MARKS = TypeAdapter(list[PhonemeMark])
_random = random.SystemRandom()


@dataclass(frozen=True)
class RenderOrder:
    """What one render needs."""

    key: str
    """Names the render, so that asking again joins it."""
    face: Path
    speech: Path
    options: LipSyncOptions
    marks: Sequence[PhonemeMark] | None = None


class Patience(NamedTuple):
    """What a connection may do before it is given up; see `GpuClient`."""

    lost_seconds: float
    stall_seconds: float
    pause_seconds: float


class Rendering:
    """Follows one render in one thread; see `GpuClient.render`."""

    def __init__(
        self,
        line: Line,
        order: RenderOrder,
        fragments: Fragments,
        patience: Patience,
        stop: Stop,
        on_restart: OnRestart,
        on_sent: OnSent,
        transfers: Transfers | None,
    ) -> None:
        self._line = line
        self._order = order
        self._fragments = fragments
        self._patience = patience
        self._stop = stop
        self._on_restart = on_restart
        self._on_sent = on_sent
        self._transfers = transfers
        """None for a host that is near."""
        self._delivery: Delivery | None = None
        self._resumable = fragments.host == line.url and not fragments.abandoned
        """Whether the host should know the render, and what comes next of it."""
        self._reached = self._resumable
        """Whether the host has ever been there; a stranger gets no patience."""
        self._heard_at = 0.0
        self._lost_since: float | None = None
        self._pause = patience.pause_seconds

    def records(self) -> Iterator[Framed]:
        """What is new, to the end."""
        if self._fragments.report and not self._fragments.abandoned:
            yield Framed(EndRecord(report=self._fragments.report))
            return
        while True:
            try:
                with self._begin() as answer:
                    yield from self._follow(answer)
                return
            except _LOST as error:
                seconds = self._endure(error)
                yield Framed(EventRecord(name=LOST, value=error.code))
                self._stop.wait(seconds)

    def _begin(self) -> requests.Response:
        """An answer that goes on with the fragments, or begins new ones."""
        while True:
            self._check_stop()
            answer = self._resume() if self._resumable else None
            answer = answer or self._send()
            render_id = answer.headers.get("Render-Id")
            if not render_id:
                answer.close()
                raise no_gpu_host(self._line.url)
            self._reached = True
            if self._delivery:
                self._delivery.taken()
            if not self._resumable or render_id == self._fragments.render_id:
                return answer
            answer.close()
            self._restart("the GPU host has begun the render anew")

    def _resume(self) -> requests.Response | None:
        """The render from where the fragments end; None when the host does not know it."""
        try:
            return self._line.ask(
                "GET",
                f"/render/{self._order.key}",
                params={"from": self._fragments.next_seq},
                headers={"Accept": RECORDS_MEDIA_TYPE},
                media_type=RECORDS_MEDIA_TYPE,
                read_seconds=self._patience.stall_seconds,
                stream=True,
            )
        except RenderNotFound:
            self._restart("the GPU host was restarted in the middle of the render")
            return None

    def _restart(self, why: str) -> None:
        heard_at = max(self._heard_at, self._fragments.written_at)
        forgotten = time.time() - heard_at > KEPT_SECONDS
        self._resumable = False
        self._fragments.abandon()
        log.warning("%s: %s", self._order.key, why)
        if not forgotten:
            self._on_restart(GpuHostDied(why))

    def _send(self) -> requests.Response:
        """Ask for the render as often as it takes; the host joins by the key."""
        if self._fragments.complete:
            self._forget()  # else the host would give what has come to nothing once more
        self._delivery = delivery = self._delivery or self._deliver()
        mismatched, busy_answers = False, 0
        while True:
            self._check_stop()
            try:
                return self._post(delivery)
            except (FaceNeeded, SpeechNeeded) as needed:
                delivery.needed(needed)
            except IdempotencyMismatch:
                # The key is ours alone: something older of this job is still kept there.
                if mismatched:
                    raise
                mismatched = True
                self._forget()
            except Busy as busy:
                busy_answers += 1
                if busy_answers > MAX_BUSY_ANSWERS:
                    raise
                asked = busy.retry_after_seconds
                seconds = min(1.0 if asked is None else asked, MAX_RETRY_AFTER_SECONDS)
                log.info("the GPU host is busy, asking again in %.1f s", seconds)
                self._stop.wait(seconds)

    def _deliver(self) -> Delivery:
        order = self._order
        if self._transfers is None:
            return Enclosed(order.face, order.speech)
        if self._line.peer.api is None:
            self._line.ask("GET", "/health")
        uploads = None
        if self._line.peer.api is not None and self._line.peer.api >= MEDIA_SINCE:
            uploads = Uploads(
                self._line,
                self._transfers,
                self._stop,
                self._patience.stall_seconds,
                self._live_on,
            )
        return SentAhead(order.face, order.speech, uploads, self._transfers, self._on_sent)

    def _post(self, delivery: Delivery) -> requests.Response:
        order = self._order
        fields: dict[str, Any] = {"options": order.options.model_dump_json()}
        if order.marks is not None:
            fields["marks"] = _MARKS.dump_json(list(order.marks)).decode()
        with ExitStack() as files:
            encoded = MultipartEncoder(fields | delivery.fields(files))
            try:
                return self._line.ask(
                    "POST",
                    "/render",
                    data=delivery.body(encoded),
                    headers={
                        "Accept": RECORDS_MEDIA_TYPE,
                        "Content-Type": encoded.content_type,
                        "Idempotency-Key": order.key,
                    },
                    media_type=RECORDS_MEDIA_TYPE,
                    read_seconds=UPLOAD_PATIENCE * self._patience.stall_seconds,
                    stream=True,
                )
            except (GpuTimeout, GpuAnswerBroken):
                delivery.broken()
                raise

    def _forget(self) -> None:
        with suppress(RenderNotFound):
            self._line.ask("DELETE", f"/render/{self._order.key}")

    def _follow(self, answer: requests.Response) -> Iterator[Framed]:
        render_id = answer.headers["Render-Id"]
        if render_id != self._fragments.render_id:
            self._fragments.start_over(render_id, self._line.url)
        self._resumable = True
        with gpu_errors(self._line.url):
            # A chunk is what one read of the socket gives, so that records come without delay.
            records = decode_records(answer.iter_content(chunk_size=None))
            for position, framed in enumerate(records):
                self._check_stop()
                self._heard_at = time.time()
                record = framed.record
                if isinstance(record, ErrorRecord):
                    self._fail(record.error)
                if isinstance(record, InitRecord | MediaRecord | EndRecord):
                    if not self._fragments.append(record, framed.payload):
                        continue
                    self._live_on()
                elif position >= TOLD_BEFORE:
                    self._live_on()
                yield framed
                if isinstance(record, EndRecord):
                    return
        raise GpuAnswerBroken("the GPU host's answer ended before the video did")

    def _fail(self, told: ErrorBody) -> NoReturn:
        """Raise what the host says of the render's end."""
        self._fragments.abandon()
        self._resumable = False
        if told.code == Cancelled.code:
            # Nobody here did that: the host stops what nobody has listened to for a while.
            raise GpuAnswerBroken("the GPU host has stopped the render")
        raise from_body(told.model_dump(), told.status)

    def _live_on(self) -> None:
        self._lost_since = None
        self._pause = self._patience.pause_seconds

    def _endure(self, error: LipSyncError) -> float:
        """How long to wait before the next try; raises when there should be none."""
        self._check_stop()
        # What says when to ask again, such as a tunnel whose month is used up, says not before.
        if isinstance(error, GpuUnreachable) and (
            not self._reached or error.retry_after_seconds is not None
        ):
            raise error
        self._reached = True
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if now - self._lost_since >= self._patience.lost_seconds:
            if isinstance(error, GpuAnswerBroken):
                raise GpuUnreachable(
                    f"the connection to the GPU host at {self._line.url} can't be resumed: "
                    f"{error.detail}"
                ) from error
            raise error
        seconds = self._pause * _random.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)
        log.info("%s: %s; going on in %.1f s", self._order.key, error.detail, seconds)
        return seconds

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Cancelled("stopped while the GPU host was rendering")
