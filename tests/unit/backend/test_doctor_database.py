import contextlib
import socket
import sqlite3
from pathlib import Path

import pytest

from backend.database import known_revisions, open_database
from backend.doctor.database import Added, look_at_database
from backend.gpu.added import AddedHosts
from backend.settings import Settings
from contracts.hosts import NewGpuHost


def settings(folder: Path, url: str = "") -> Settings:
    return Settings(_env_file=None, data_dir=folder, database_url=url)  # type: ignore[arg-type, call-arg]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A job database as the backend leaves it, with one GPU host."""
    file = tmp_path / "jobs.sqlite3"
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database:
        new = NewGpuHost(name="Colab", connection="lipsync://a-token@host.example")
        AddedHosts(database).add(new, besides="")
    return file


def test_added_hosts_are_read_and_nothing_is_changed(tmp_path: Path, file: Path) -> None:
    before = file.read_bytes()
    found, hosts = look_at_database(settings(tmp_path))
    assert [each.state for each in found] == ["ok"]
    assert list(hosts) == [Added("Colab", "https://host.example", "a-token")]
    assert "a-token" not in str(found)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_no_database_yet_is_no_fault_and_none_is_made(tmp_path: Path) -> None:
    found, hosts = look_at_database(settings(tmp_path / "new"))
    assert [each.state for each in found] == ["ok"]
    assert not hosts
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database at all" * 100)
    (found,), _ = look_at_database(settings(tmp_path))
    assert found.state == "fault"
    assert "not a database" in found.what
    assert found.fix.startswith("mv ")


def test_a_database_that_another_program_holds_is_not_to_be_put_away(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.doctor.database.CONNECT_SECONDS", 0.01)
    with contextlib.closing(sqlite3.connect(file)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("UPDATE alembic_version SET version_num = version_num")
        (found,), _ = look_at_database(settings(tmp_path))
    assert found.state == "fault"
    assert "locked" in found.what
    assert found.fix.startswith(f"ls -l {file}*")


def test_what_the_running_backend_has_just_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    with contextlib.closing(open_database(f"sqlite:///{file}")) as database:
        AddedHosts(database).add(NewGpuHost(url="https://host.example"), besides="")
        _, hosts = look_at_database(settings(tmp_path))
    assert [each.url for each in hosts] == ["https://host.example"]


def test_a_folder_whose_name_means_something_in_an_address_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "C# 100%"
    folder.mkdir()
    open_database(settings(folder).sqlalchemy_url).close()
    (found,), _ = look_at_database(settings(folder))
    assert (found.state, "empty" in found.what) == ("ok", False)


def test_a_driver_that_is_not_installed_is_a_fault(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://me:pass-word@db.example/jobs"
    (found,), _ = look_at_database(settings(tmp_path, url))
    assert found.state == "fault"
    assert "asyncpg" in found.what
    assert found.fix.startswith("BACKEND_DATABASE_URL=postgresql://")
    assert "pass-word" not in str(found)


def test_a_database_of_a_newer_program_is_a_fault(tmp_path: Path, file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    (found,), hosts = look_at_database(settings(tmp_path))
    assert found.state == "fault"
    assert "9999" in found.what
    assert "git pull" in found.fix
    assert len(hosts) == 1


def test_an_empty_database_is_no_fault(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "jobs.sqlite3").close()
    (tmp_path / "jobs.sqlite3").touch()
    found, hosts = look_at_database(settings(tmp_path))
    assert [each.state for each in found] == ["ok"]
    assert not hosts


def test_a_server_that_is_away_is_a_fault_that_shows_no_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    url = f"postgresql://me:pass-word@127.0.0.1:{port}/jobs"
    (found,), hosts = look_at_database(settings(tmp_path, url))
    assert found.state == "fault"
    assert "127.0.0.1/jobs can't be read" in found.what
    assert "pass-word" not in str(found)
    assert not hosts


def test_the_programs_own_revisions_are_known() -> None:
    assert {"0001", "0002"} <= known_revisions()
