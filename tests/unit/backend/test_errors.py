import errno
import io
import sqlite3

import pytest
import requests
from sqlalchemy.exc import OperationalError

from contracts.problem import PROBLEM_JSON
from tests.fakes.uploads import photo, tone
from tests.fakes.watched_backend import watched_backend


@pytest.fixture
def backend(tmp_path):
    with watched_backend(tmp_path) as backend:
        yield backend


def submit(backend, image=None):
    files = {"image": image or photo(), "audio": tone(0.1)}
    headers = {"Prefer": "respond-async"}
    return requests.post(backend.url + "/generate-from-audio", files=files, headers=headers)


def problem_of(answer):
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    return answer.json()


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_database(*_):
    raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


def folders(backend):
    root = backend.media("x").folder.parent
    return list(root.iterdir()) if root.exists() else []


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("backend.generation.write", no_space),
        ("backend.staging.store.MediaStore.create", no_space),
        ("backend.jobs.store.JobStore.add", full_database),
        ("starlette.formparsers.SpooledTemporaryFile.write", no_space),
    ],
)
def test_a_full_disk_is_told_as_such_and_leaves_nothing(backend, monkeypatch, where, what):
    monkeypatch.setattr(where, what)
    answer = submit(backend)
    problem = problem_of(answer)
    assert (answer.status_code, problem["code"]) == (507, "STORAGE_FULL")
    assert "room" in problem["hint"]
    assert folders(backend) == []
    assert backend.services.jobs.page(10) == ([], None)
    monkeypatch.undo()
    assert submit(backend).status_code == 202


@pytest.mark.parametrize("fault", [PermissionError("a canary"), OSError(errno.EIO, "a canary")])
def test_another_fault_of_the_disk_is_none_of_the_callers(backend, monkeypatch, fault):
    def broken(*_):
        raise fault

    monkeypatch.setattr("backend.generation.write", broken)
    answer = submit(backend)
    assert (answer.status_code, problem_of(answer)["code"]) == (500, "INTERNAL")
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"{", "", "JSON"),
        (b"", "", "JSON"),
        (b"[]", "", "JSON"),
        (b'{"token": ["a canary"], "url": "x"}', "token", "token"),
        (b'{"adress": "x"}', "adress", "adress"),
        (b'{"url": 5}', "url", "url"),
    ],
)
def test_json_that_can_not_be_used_is_told_by_its_field(backend, body, field, words):
    headers = {"Content-Type": "application/json"}
    answer = requests.post(backend.url + "/gpu-hosts", data=body, headers=headers)
    problem = problem_of(answer)
    assert (answer.status_code, problem["field"]) == (422, field)
    assert words in problem["detail"]
    assert "canary" not in answer.text
    if field == "adress":
        assert problem["hint"] == "The fields are name, connection, url, token."


def test_a_form_field_that_is_unknown_is_answered_with_those_of_the_form(backend):
    answer = requests.post(
        backend.url + "/generate-from-text",
        files={"image": io.BytesIO(photo())},
        data={"text": "Hello.", "colour": "red"},
    )
    problem = problem_of(answer)
    assert (problem["code"], problem["field"]) == ("OPTION_REJECTED", "colour")
    assert "text or audio" in problem["hint"]
