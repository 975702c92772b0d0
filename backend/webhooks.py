"""Telling others that a job has ended: each delivery is kept in the database until it arrived."""

import http.client
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Text, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.database import Base, Database
from backend.outbound import AddressRefused, is_public, post
from contracts.errors import InvalidInput
from contracts.jobs import JobView
from contracts.webhooks import DELIVERY_HEADER, SIGNATURE_HEADER, WebhookEvent, sign

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = (5, 30, 120, 600, 3600)
"""How long after each failed try the next one comes; after the last of them it is given up."""
CLAIM_SECONDS: Final = 120
"""When a delivery is tried again whose process died over it."""
POLL_SECONDS: Final = 1.0
NUM_THREADS: Final = 4
"""So many receivers may be slow before others wait for them."""

# No spaces, no controls, and no backslash, which browsers and libraries read differently.
_URL = re.compile(r"[!-\[\]-~]{1,2000}")


class Delivery(Base):
    """What is to be posted, and how often that was tried; gone once it arrived or is given up."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]
    url: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    num_tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime] = mapped_column(index=True)
    """UTC."""


class Webhooks:
    """Keeps, signs, sends and repeats deliveries.

    Args:
        database: Where they are kept.
        secret: Signs them; without one no job may ask for any.
        private: Whether they may go to private and loopback addresses.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        private: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._secret = secret
        self._private = private
        self._clock = clock
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"webhooks-{i}", daemon=True)
            for i in range(NUM_THREADS)
        ]

    def check(self, url: str) -> None:
        """Refuse a call-back that could never be made.

        Raises:
            InvalidInput: Why not.
        """
        if not self._secret:
            raise InvalidInput(
                "this backend makes no call-backs",
                hint="Set BACKEND_WEBHOOK_SECRET to a long random string, and start it again.",
                field="callback_url",
            )
        if fault := _fault(url, self._private):
            raise InvalidInput(
                f"the call-back's address {fault}",
                hint="Give an address such as https://receiver.example/lipsync-done.",
                field="callback_url",
            )

    def record(self, session: Session, url: str | None, job: JobView) -> None:
        """Have a job's end told, if somebody wants to know; part of the session's transaction."""
        if url is not None:
            event = WebhookEvent.model_validate({"type": f"job.{job.state}", "job": job})
            session.add(
                Delivery(
                    id=secrets.token_hex(16),
                    job_id=job.id,
                    url=url,
                    body=event.model_dump_json(),
                    next_try_at=self._now(),
                )
            )

    def start(self) -> None:
        """Begin to send, with what an earlier process left."""
        if self._secret:
            for thread in self._threads:
                thread.start()

    def stop(self, timeout_seconds: float = 3.0) -> None:
        """End the threads; what was not delivered is taken up at the next start."""
        self._stop.set()
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sent = self.send_next()
            except SQLAlchemyError:
                log.exception("webhooks pause, because the database does not answer")
                sent = False
            if not sent:
                self._stop.wait(POLL_SECONDS)

    def send_next(self) -> bool:
        """Try the delivery that is due for the longest time; False when none is."""
        delivery = self._claim()
        if delivery is None:
            return False
        timestamp = int(self._clock())
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "LipSync-Studio",
            DELIVERY_HEADER: delivery.id,
            SIGNATURE_HEADER: sign(self._secret, timestamp, body),
        }
        hopeless = False
        try:
            status = post(delivery.url, body, headers, private=self._private)
            error = "" if 200 <= status < 300 else f"it answered {status}"
        except AddressRefused as refused:
            error, hopeless = str(refused), True
        except (OSError, http.client.HTTPException, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"[:200]
        self._note(delivery.id, error, hopeless)
        return True

    def _claim(self) -> Delivery | None:
        now = self._now()
        due = select(Delivery).where(Delivery.next_try_at <= now).order_by(Delivery.next_try_at)
        with self._database.reading() as session:  # writers take turns, so look first
            if session.scalar(due.limit(1)) is None:
                return None
        with self._database.writing() as session:
            delivery = session.scalar(due.limit(1).with_for_update(skip_locked=True))
            if delivery is not None:
                delivery.next_try_at = now + timedelta(seconds=CLAIM_SECONDS)
        return delivery

    def _note(self, delivery_id: str, error: str, hopeless: bool) -> None:
        with self._database.writing() as session:
            delivery = session.get_one(Delivery, delivery_id)
            delivery.num_tries += 1
            # Not all of the address: it may hold a token.
            who = f"job {delivery.job_id}: {urlsplit(delivery.url).hostname}"
            if error and not hopeless and delivery.num_tries <= len(RETRY_SECONDS):
                pause = RETRY_SECONDS[delivery.num_tries - 1]
                delivery.next_try_at = self._now() + timedelta(seconds=pause)
                log.info("%s is told again in %d s: %s", who, pause, error)
                return
            if error:
                tries = delivery.num_tries
                log.warning("%s was not told of its end, after %d tries: %s", who, tries, error)
            else:
                log.info("%s was told of its end", who)
            session.delete(delivery)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None)


def _fault(url: str, private: bool) -> str:
    """What is wrong with a call-back's address, in words; empty when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "can't be read"
    if not _URL.fullmatch(url) or parts.scheme not in ("http", "https") or not parts.hostname:
        return "is none of http or https, in ASCII"
    if parts.username is not None or parts.password is not None:
        return "carries a user name or a password"
    if port == 0:
        return "has the port 0"
    return "is private" if not private and _names_private(parts.hostname) else ""


def _names_private(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return host.rstrip(".").endswith("localhost")
