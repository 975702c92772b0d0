"""What contract tests share: each database that the backend runs on, and a host that waits."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import sqlalchemy

from tests.fakes.gated_engine import HeldEngine

CLUSTERS = Path("/usr/lib/postgresql")


@pytest.fixture
def held(host):
    """The engine of the module's own GPU host, which waits after two seconds of video."""
    assert host
    engine = HeldEngine.latest
    engine.gate.clear()
    yield engine
    engine.gate.set()


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a PostgreSQL server of our own."""
    initdb = max(CLUSTERS.glob("*/bin/initdb"), default=None)
    if initdb is None:
        assert not os.environ.get("CI"), "PostgreSQL is not installed: apt-get install postgresql"
        pytest.skip("PostgreSQL is not installed")
    # Not in a folder of pytest, which only root may enter, where root runs the tests.
    with tempfile.TemporaryDirectory() as folder:
        # The server refuses to run as root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if as_user:
            shutil.chown(folder, "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        run = {"check": True, "capture_output": True, "cwd": "/"}
        data, log = f"{folder}/data", f"{folder}/log"
        control = [*as_user, initdb.with_name("pg_ctl"), "-D", data]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        subprocess.run([*as_user, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N"], **run)
        subprocess.run([*control, "-l", log, "-w", "-o", options, "start"], **run)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], **run)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite3"
    url = request.getfixturevalue("postgresql")
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return url
