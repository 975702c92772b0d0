import pytest

from backend.database import open_database


@pytest.fixture
def sessions(tmp_path):
    engine, sessions = open_database(f"sqlite:///{tmp_path}/jobs.sqlite3")
    yield sessions
    engine.dispose()
