"""The GPU hosts that somebody added, in the database."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base, Database
from contracts.errors import Conflict, GpuHostNotFound, InvalidInput
from contracts.hosts import (
    Connection,
    NewGpuHost,
    host_name,
    host_url,
    is_loopback,
    parse_connection,
)


class GpuHostRow(Base):
    """Where a GPU host answers, and what it asks for."""

    __tablename__ = "gpu_hosts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    url: Mapped[str] = mapped_column(unique=True)
    token: Mapped[str]
    created_at: Mapped[datetime]


class AddedHosts:
    """Keeps them, for every process that uses the database.

    Args:
        database: Where.
        plain_http: Whether hosts beyond this machine may be added without TLS.
    """

    def __init__(self, database: Database, *, plain_http: bool = False) -> None:
        self._database = database
        self._plain_http = plain_http

    def rows(self) -> Sequence[GpuHostRow]:
        """All, the oldest first."""
        with self._database.reading() as session:
            return list(session.scalars(select(GpuHostRow).order_by(GpuHostRow.created_at)))

    def add(self, new: NewGpuHost, besides: str) -> tuple[str, bool]:
        """Keep another, or the new token of one that is kept already.

        Args:
            new: As somebody typed it.
            besides: Address of a host that is there without having been added.

        Returns:
            Its id, and whether it is a new one.

        Raises:
            InvalidInput: Its address or token can't be used.
            Conflict: It is there already, and no token was given, or it was not added.
        """
        url, token = self._checked(new)
        if url == besides:
            raise Conflict(
                f"BACKEND_GPU_URL names the GPU host {url}",
                hint="If its token has changed, set BACKEND_GPU_TOKEN and restart the backend.",
            )
        name = new.name.strip()
        row = GpuHostRow(
            id=uuid.uuid4().hex,
            name=name or host_name(url),
            url=url,
            token=token,
            created_at=datetime.now(UTC).replace(tzinfo=None),
        )
        with suppress(IntegrityError):  # which would show the token, if it were a cause
            with self._database.writing() as session:
                session.add(row)
            return row.id, True
        return self._changed(url, token, name), False

    def _changed(self, url: str, token: str, name: str) -> str:
        """Take the new token of a host: who pastes its connection string once more wants that."""
        with self._database.writing() as session:
            row = session.scalar(select(GpuHostRow).where(GpuHostRow.url == url))
            if row is None:  # removed in this moment
                raise GpuHostNotFound(f"the GPU host {url} is gone already")
            # An address alone is no wish to forget the token.
            if not token:
                raise Conflict(
                    f"the GPU host {url} is there already",
                    hint="Give its new token, if that has changed, or remove it.",
                )
            row.token = token
            row.name = name or row.name
            return row.id

    def _checked(self, new: NewGpuHost) -> Connection:
        token = new.token.get_secret_value()
        if bool(new.connection) == bool(new.url):
            raise InvalidInput("give either a connection string or an address", field="connection")
        if new.connection:
            url, told = parse_connection(new.connection)
            token = told or token
        else:
            url = new.url
        url = host_url(url)
        if not all("!" <= character <= "~" for character in token):
            raise InvalidInput("the token holds characters that no token has", field="token")
        if not new.name.isprintable():
            raise InvalidInput("the name holds what can't be shown", field="name")
        hostname = urlsplit(url).hostname or ""
        if url.startswith("http:") and not (self._plain_http or is_loopback(hostname)):
            raise InvalidInput(
                "over http:// the token and the faces could be read by everybody on the way",
                hint="Use the host's https:// address, or set BACKEND_GPU_PLAIN_HTTP=true.",
                field="url",
            )
        return Connection(url, token)

    def remove(self, host_id: str) -> None:
        """Forget one.

        Raises:
            GpuHostNotFound: None has this id.
        """
        with self._database.writing() as session:
            # PostgreSQL takes no NUL in a string, and no id of ours has anything but hex digits.
            row = session.get(GpuHostRow, host_id) if host_id.isalnum() else None
            if row is None:
                raise GpuHostNotFound(f"there is no GPU host {host_id[:64]!r}")
            session.delete(row)
