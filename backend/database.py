"""The database: connecting to it, its tables' base, and sessions that read or write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import DeclarativeBase, Session

_WRITES: Final = "lipsync_writes"
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_ONE_AT_A_TIME: Final = 0x6C697073
"""PostgreSQL's advisory lock that keeps two backends from migrating at once."""


class Base(DeclarativeBase):
    """Base of every table."""


class Database:
    """A connected database whose tables are those of this version."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads; what it gives stays usable after the block."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that writes: all of it when the block ends, or nothing if it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options={_WRITES: True})
            yield session

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Connect, and bring the tables to this version."""
    address = address_of(url)
    # Errors would show what was written: texts of people, tokens of GPU hosts.
    engine = create_engine(address, pool_pre_ping=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_ONE_AT_A_TIME})")
            connection.commit()
        try:
            _migrate(connection)
        finally:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_ONE_AT_A_TIME})")
                connection.commit()
    return Database(engine)


def address_of(url: str) -> URL:
    """Where a database is, with the driver that is locked for it."""
    address = make_url(url)
    if address.drivername in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    return address


def known_revisions() -> set[str]:
    """Names of the versions of the tables that this program can bring up to date."""
    return {path.name.partition("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py")}


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection.execution_options(**{_WRITES: True})
    command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # sqlite3 itself would begin transactions late, and never for DDL; `_begin_sqlite` does it.
    connection.isolation_level = None
    # Write-ahead logging lets routes read while the worker writes.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its turn before it reads: one that has read an older state can't write.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
