"""GPU hosts that are found in an ngrok account."""

import logging
import socket
import threading

import pytest
import requests

from backend.gpu import discovery as discovery_module
from backend.gpu.discovery import FRESH_SECONDS, Discovery
from backend.gpu.usage import QUESTIONS_A_DAY, SPARED_QUESTIONS, Usage
from contracts.errors import NgrokRefused, NgrokUnreachable
from contracts.hosts import FoundGpuHost, FoundGpuHosts
from tests.fakes.gpu_host import gpu_host
from tests.fakes.ngrok_account import endpoint, ngrok_account
from tests.fakes.plain_host import plain_host
from tests.fakes.watched_backend import watched_backend

KEY = "canary-ak-51c0"


class Look:
    """A discovery over one account, with a clock that only the test moves."""

    def __init__(self, database, account_url, key=KEY):
        self.now = 100.0
        self.usage = Usage(database)
        self.discovery = Discovery(
            key, self.usage, account_url, clock=lambda: self.now, allowed=lambda url: True
        )

    def __call__(self, *known):
        return self.discovery.found(known)


def test_without_a_key_nobody_is_asked(database, connects):
    found = Look(database, "http://127.0.0.1:9", key="")()
    assert found == FoundGpuHosts(configured=False)
    assert connects == []


def test_endpoints_that_answer_as_gpu_hosts_are_offered(database):
    with (
        gpu_host(token="a secret") as host,
        plain_host() as plain,
        ngrok_account(KEY, host.url, plain.url, "http://127.0.0.1:9", "tcp://1.2.3.4:5") as account,
    ):
        found = Look(database, account.url)()
        assert found.hosts == (
            FoundGpuHost(url=host.url, device="cpu", engines_ready=("counting",)),
        )
        assert (found.configured, found.looking) == (True, False)
        headers = account.asked[0]
        assert (headers["Authorization"], headers["Ngrok-Version"]) == (f"Bearer {KEY}", "2")
        assert KEY not in found.model_dump_json()


def test_older_answers_name_only_the_public_address(database):
    with gpu_host() as host, ngrok_account(KEY) as account:
        account.endpoints = [{"id": "ep_1", "public_url": host.url}, endpoint("")]
        assert [each.url for each in Look(database, account.url)().hosts] == [host.url]


def test_hosts_that_are_there_already_are_neither_offered_nor_asked(database):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        look = Look(database, account.url)
        assert look(host.url).hosts == ()
        assert look.usage.all() == {}


def test_the_account_is_asked_once_a_minute(database):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        look = Look(database, account.url)
        for _ in range(5):
            look()
        assert len(account.asked) == 1
        assert look.usage.all()[host.url].questions_today == 1
        # One that has been added since is left out at once.
        assert look(host.url).hosts == ()
        look.now += FRESH_SECONDS
        look()
        assert len(account.asked) == 2


def test_endpoints_are_asked_no_more_often_than_hosts(database):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        look = Look(database, account.url)
        assert look().hosts
        for _ in range(QUESTIONS_A_DAY):
            look.usage.may_ask(host.url)
        requests_so_far = look.usage.all()[host.url].requests
        look.now += FRESH_SECONDS
        assert look().hosts  # as it was
        assert look.usage.all()[host.url].requests == requests_so_far


def test_an_endpoint_can_still_be_asked_once_it_is_added(database):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        look = Look(database, account.url)
        for _ in range(QUESTIONS_A_DAY - SPARED_QUESTIONS):
            look.usage.may_ask(host.url)
        look()
        assert look.usage.all()[host.url].requests == 0
        assert look.usage.may_ask(host.url)


def test_a_wrong_key_is_said_and_never_shown(database, caplog):
    caplog.set_level(logging.DEBUG)
    with ngrok_account("another") as account, pytest.raises(NgrokRefused) as failure:
        Look(database, account.url)()
    assert "API key" in failure.value.hint
    assert KEY not in str(failure.value) + repr(failure.value) + failure.value.hint + caplog.text


@pytest.mark.parametrize("status", [302, 429, 500])
def test_an_api_that_fails_is_said_to(database, status):
    with ngrok_account(KEY) as account:
        account.status = status
        with pytest.raises(NgrokUnreachable, match=str(status)):
            Look(database, account.url)()


def test_something_else_in_its_place_is_said_to_be(database):
    with ngrok_account(KEY) as account:
        account.endpoints = "nonsense"
        with pytest.raises(NgrokUnreachable, match="unknown"):
            Look(database, account.url)()


def test_without_the_internet_that_is_said_and_tried_again(database):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        look = Look(database, f"http://127.0.0.1:{taken.getsockname()[1]}")
        for _ in range(2):
            with pytest.raises(NgrokUnreachable, match="nobody answers"):
                look()


def test_nobody_waits_long_for_a_slow_answer(database, monkeypatch):
    monkeypatch.setattr(discovery_module, "WAIT_SECONDS", 0.05)
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        account.gate = threading.Event()
        look = Look(database, account.url)
        assert look() == FoundGpuHosts(configured=True, looking=True)
        account.gate.set()
        monkeypatch.setattr(discovery_module, "WAIT_SECONDS", 20)
        assert look().hosts
        assert len(account.asked) == 1


def test_a_fault_that_nobody_foresaw_does_not_look_for_ever(database, monkeypatch):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        look = Look(database, account.url)
        monkeypatch.setattr(look.usage, "may_ask", lambda url, **_: 1 / 0)
        with pytest.raises(NgrokUnreachable):
            look()
        monkeypatch.undo()
        look.now += FRESH_SECONDS
        assert look().hosts


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://name.ngrok-free.app", True),
        ("https://gpu.example", True),
        ("http://name.ngrok-free.app", False),
        ("https://api.internal", False),
        ("https://localhost:9000", False),
        ("https://127.0.0.1", False),
    ],
)
def test_only_public_endpoints_are_asked(url, may):
    assert discovery_module._is_public(url) is may


def test_what_is_found_is_offered_over_http(tmp_path, monkeypatch):
    with gpu_host() as host, ngrok_account(KEY, host.url) as account:
        with watched_backend(tmp_path, gpu_url="") as backend:
            answer = requests.get(backend.url + "/gpu-hosts/found").json()
            assert answer == {"configured": False, "looking": False, "hosts": []}
        monkeypatch.setattr(discovery_module, "NGROK_API", account.url)
        monkeypatch.setattr(discovery_module, "_is_public", lambda url: True)
        with watched_backend(tmp_path, gpu_url="", ngrok_api_key=KEY) as backend:
            found = FoundGpuHosts.model_validate(
                requests.get(backend.url + "/gpu-hosts/found").json()
            )
            assert [each.url for each in found.hosts] == [host.url]
            requests.post(backend.url + "/gpu-hosts", json={"url": found.hosts[0].url})
            assert requests.get(backend.url + "/gpu-hosts/found").json()["hosts"] == []
        with watched_backend(tmp_path, gpu_url="", ngrok_api_key="wrong") as backend:
            answer = requests.get(backend.url + "/gpu-hosts/found")
            assert (answer.status_code, answer.json()["code"]) == (502, "NGROK_REFUSED")
            assert "wrong" not in answer.text
