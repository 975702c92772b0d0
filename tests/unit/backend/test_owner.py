"""Whether the worker that holds a lease is known to be dead."""

import os
import socket
import subprocess
import sys

import pytest

from backend.jobs.owner import is_dead, new_owner

posix = pytest.mark.skipif(os.name != "posix", reason="asking would end the process")


def named(process_id, hostname=None):
    hostname = hostname or socket.gethostname()
    return f"{hostname}/{process_id}/a nonce"


def test_every_worker_has_a_name_of_its_own():
    assert new_owner() != new_owner()
    assert new_owner().startswith(f"{socket.gethostname()}/{os.getpid()}/")


@posix
def test_a_process_that_has_ended_is_dead_and_one_that_runs_is_not():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = named(process.pid)
        assert not is_dead(owner)
    assert is_dead(owner)


@posix
def test_an_earlier_process_with_our_own_number_is_dead():
    assert is_dead(named(os.getpid()))


@posix
def test_a_process_of_another_user_lives(monkeypatch):
    def refuse(process_id, signal):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_dead(named(4_000_000))


def test_nothing_is_known_of_other_machines():
    assert not is_dead(named(os.getpid(), "elsewhere"))


@pytest.mark.parametrize("owner", ["", "worker", "a/b", f"{socket.gethostname()}/x/y"])
def test_nothing_is_known_of_other_names(owner):
    assert not is_dead(owner)
