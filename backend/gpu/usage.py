"""What has passed between this backend and each GPU host, and how often a host may be asked.

Tunnels count: ngrok's free plan lets 20,000 requests and 1 GB out pass in a month.
"""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import BigInteger, CursorResult, case, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.database import Base, Database
from backend.gpu.traffic import Traffic
from contracts.hosts import HostUsage

log = logging.getLogger(__name__)

QUESTIONS_A_DAY: Final = 300
"""So often at most a host beyond this machine is asked how it does, from midnight UTC on."""
SPARED_QUESTIONS: Final = 100
"""The last of these are spread over what is left of the day, so that it is never out of sight."""
FAR_SECONDS: Final = 30.0
"""Until then, what such a host said is not asked again for so long."""


class UsageRow(Base):
    """One host's month. It is known by its address, as by its tunnel."""

    __tablename__ = "gpu_host_usage"

    url: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    sent_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    received_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    day: Mapped[str] = mapped_column(default="")
    """The last day on which it was asked how it does."""
    questions: Mapped[int] = mapped_column(default=0)
    """How often, on that day."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Usage:
    """Counts for every process that uses the database; safe to use from every thread.

    Args:
        database: Where.
        now: The moment, in UTC.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = _utc_now) -> None:
        self._database = database
        self._now = now

    def passed(self, url: str, traffic: Traffic) -> None:
        """Count what has passed; a database that does not answer stops no render."""
        try:
            self._change(
                url,
                requests=UsageRow.requests + traffic.requests,
                sent_bytes=UsageRow.sent_bytes + traffic.sent_bytes,
                received_bytes=UsageRow.received_bytes + traffic.received_bytes,
            )
        except SQLAlchemyError:
            log.exception("what has passed to a GPU host could not be counted")

    def may_ask(self, url: str, *, spared: int = 0) -> bool:
        """Whether the host may be asked how it does once more today; counts it as asked.

        Args:
            url: Its address.
            spared: So many of the day's questions are left for others.
        """
        today = self._day()
        asked = case((UsageRow.day == today, UsageRow.questions), else_=0)
        return self._change(url, asked < QUESTIONS_A_DAY - spared, day=today, questions=asked + 1)

    def all(self) -> dict[str, HostUsage]:
        """What has passed this month, by the host's address."""
        today = self._day()
        with self._database.reading() as session:
            rows = session.scalars(select(UsageRow).where(UsageRow.month == today[:7]))
            return {
                row.url: HostUsage(
                    month=row.month,
                    requests=row.requests,
                    sent_bytes=row.sent_bytes,
                    received_bytes=row.received_bytes,
                    questions_today=row.questions if row.day == today else 0,
                )
                for row in rows
            }

    def question_seconds(self, num_asked: int) -> float:
        """How long a host beyond this machine is not asked again.

        Args:
            num_asked: How often it was asked today.

        Returns:
            Seconds; infinite when it may be asked no more.
        """
        left = QUESTIONS_A_DAY - num_asked
        if left > SPARED_QUESTIONS:
            return FAR_SECONDS
        if left <= 0:
            return math.inf
        now = self._now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return max(FAR_SECONDS, (midnight - now).total_seconds() / left)

    def _day(self) -> str:
        return self._now().date().isoformat()

    def _change(self, url: str, *conditions: Any, **values: Any) -> bool:
        """Change a host's row of this month, which is made where there is none.

        Returns:
            Whether the conditions held.
        """
        key = {"url": url, "month": self._day()[:7]}
        statement = (
            update(UsageRow)
            .where(UsageRow.url == url, UsageRow.month == key["month"], *conditions)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        with self._database.writing() as session:
            if _changed(session, statement):
                return True
            if session.get(UsageRow, (url, key["month"])) is None:
                try:
                    with session.begin_nested():
                        session.add(
                            UsageRow(**key, requests=0, sent_bytes=0, received_bytes=0, questions=0)
                        )
                except IntegrityError:
                    log.debug("another backend has made the row")
            # Also where there is one by now: another backend may have made it in this moment.
            return _changed(session, statement)


def _changed(session: Session, statement: Any) -> bool:
    return cast(CursorResult[Any], session.execute(statement)).rowcount > 0
