"""Whether the job database can be read, and which GPU hosts somebody added to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from backend.database import address_of, known_revisions
from backend.gpu.added import GpuHostRow
from backend.settings import Settings
from contracts.doctor.findings import Finding, fault, well
from contracts.doctor.machine import is_there, quoted, where_set

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
    is_file = address.get_backend_name() == "sqlite"
    if is_file:
        if not address.database or not is_there(Path(address.database)):
            return [well("database", "none yet; the backend makes it")], ()
        where = address.database
        query = {"mode": "ro", "uri": "true"}
        if not is_there(Path(f"{where}-wal")):
            # Nobody has it open. Else even who only reads makes files beside it, or fails where it
            # may not.
            query["immutable"] = "1"
        address = address.set(database=f"file:{quote(where)}", query=query)
        options = {"timeout": CONNECT_SECONDS}
    try:
        engine = create_engine(address, hide_parameters=True, connect_args=options)
    except ImportError as error:
        return [_no_driver(error)], ()
    try:
        with engine.connect() as connection:
            return _revision(connection, where), _added(connection)
    except SQLAlchemyError as error:
        # The first line alone, for others repeat the address with its password.
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        what = f"{where} can't be read: {words}"
        if not is_file:
            return [_away(what)], ()
        return [_unreadable(where, what, closed=isinstance(error, OperationalError))], ()
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


def _no_driver(error: ImportError) -> Finding:
    name = "BACKEND_DATABASE_URL"
    return fault(
        "database",
        f"{name} asks for a driver that is not here: {error}",
        "The backend does not start with it.",
        f"{name}=postgresql://…   # in {where_set(name)}: without a + and a driver",
    )


def _away(what: str) -> Finding:
    place = where_set("BACKEND_DATABASE_URL")
    line = f"sudo systemctl start postgresql   # or correct BACKEND_DATABASE_URL in {place}"
    return fault("database", what, "No job is taken or made while it is away.", line)


def _unreadable(where: str, what: str, *, closed: bool) -> Finding:
    if closed:  # held by another program, or not ours to read: it may be whole
        line = f"ls -l {quoted(where)}*   # whoever runs the backend must own them; else try again"
        return fault("database", what, "The backend does not start with it.", line)
    why = "The backend does not start with it. A new one is made; jobs and added hosts are lost."
    return fault("database", what, why, f"mv {quoted(where)} {quoted(f'{where}.damaged')}")
