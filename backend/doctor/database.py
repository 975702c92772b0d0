"""Whether the job database can be read, and which GPU hosts somebody added to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from backend.database import address_of, known_revisions
from backend.gpu.added import GpuHostRow
from backend.settings import Settings
from contracts.findings import Finding, fault, well

CONNECT_SECONDS = 4


class Added(NamedTuple):
    """A GPU host in the database."""

    name: str
    url: str
    token: str


def look_at_database(settings: Settings) -> tuple[list[Finding], Sequence[Added]]:
    """Read it, and change nothing: it is neither made nor brought up to date here."""
    address = address_of(settings.sqlalchemy_url)
    options: dict[str, object] = {"connect_timeout": CONNECT_SECONDS}
    where = f"{address.host}/{address.database}"
    if address.get_backend_name() == "sqlite":
        if not address.database or not Path(address.database).exists():
            return [well("database", "none yet; the backend makes it")], ()
        where = address.database
        address = address.set(database=f"file:{where}", query={"mode": "ro", "uri": "true"})
        options = {"timeout": CONNECT_SECONDS}
    engine = create_engine(address, hide_parameters=True, connect_args=options)
    try:
        with engine.connect() as connection:
            return _revision(connection, where), _added(connection)
    except SQLAlchemyError as error:
        # The first line alone, for others repeat the address with its password.
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return [_unreadable(settings, where, words)], ()
    finally:
        engine.dispose()


def _revision(connection: Connection, where: str) -> list[Finding]:
    if not inspect(connection).has_table("alembic_version"):
        return [well("database", f"{where}, empty")]
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found in known_revisions():
        return [well("database", f"{where} can be read")]
    return [
        fault(
            "database",
            f"{where} was written by a newer version of the program (revision {found})",
            "The backend does not start with it.",
            "git pull && python3 run.py up",
        )
    ]


def _added(connection: Connection) -> Sequence[Added]:
    if not inspect(connection).has_table(GpuHostRow.__tablename__):
        return ()
    # Only these columns, which every version has.
    rows = connection.execute(select(GpuHostRow.name, GpuHostRow.url, GpuHostRow.token))
    return [Added(*row) for row in rows]


def _unreadable(settings: Settings, where: str, words: str) -> Finding:
    what = f"{where} can't be read: {words}"
    if settings.database_url.get_secret_value():
        why = "No job is taken or made while it is away."
        return fault(
            "database",
            what,
            why,
            "sudo systemctl start postgresql   # or correct BACKEND_DATABASE_URL in .env",
        )
    why = "The backend does not start with it. A new one is made; jobs and added hosts are lost."
    return fault("database", what, why, f"mv {where} {where}.damaged")
