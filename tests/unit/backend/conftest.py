import sys

import pytest

from backend.database import open_database


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/jobs.sqlite3")
    yield database
    database.close()


_connects: list[object] = []


def _note_connects(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        _connects.append(arguments[1])


sys.addaudithook(_note_connects)


@pytest.fixture
def connects():
    """Every address that this process has connected to since the test began."""
    _connects.clear()
    return _connects
