import pytest

from backend.database import open_database


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/jobs.sqlite3")
    yield database
    database.close()
