"""Deliveries: kept, signed, repeated, and never made to where they must not go."""

import logging
import re
import socket
from contextlib import suppress
from itertools import pairwise

import pytest
import requests
from sqlalchemy import select

from backend.database import open_database
from backend.webhooks import CLAIM_SECONDS, RETRY_SECONDS, Delivery, Webhooks
from contracts.errors import InvalidInput
from contracts.jobs import JobStage, JobState
from contracts.webhooks import WebhookEvent
from lipsync_client import LipSync, verify_signature
from tests.fakes.backend import job_view
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.scripted_server import answer, scripted
from tests.fakes.uploads import photo

SECRET = "a canary"
DONE = job_view(JobState.SUCCEEDED, JobStage.DONE, id="job")
NAMES = {
    "intranet.example": ["10.1.2.3"],
    "both.example": ["8.8.8.8", "192.168.0.1"],
    "loopback.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
}
FORBIDDEN = [
    "http://localhost/",
    "http://LOCALHOST:8000/",
    "http://localhost./",
    "http://a.localhost/",
    "http://127.0.0.1/",
    "https://127.0.0.1:8443/x",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.3.4/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://224.0.0.251/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]:80/",
    "http://[::127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://127.0.0.1#@8.8.8.8/",
    "http://127.0.0.1?@8.8.8.8/",
    *(f"http://{name}/" for name in NAMES),
    *(f"https://{name}:8443/hook" for name in NAMES),
]
UNREADABLE = [
    "",
    "receiver.example",
    "/relative",
    "//receiver.example/",
    "ftp://receiver.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "http://",
    "http:///path",
    "http://[::1",
    "http://user@8.8.8.8/",
    "http://user:password@8.8.8.8/",
    "http://@8.8.8.8/",
    "http://receiver.example:99999/",
    "http://receiver.example:0/",
    "http://receiver.example:http/",
    "http://receiver.example/ HTTP/1.1\r\nX: y",
    "http://receiver.example/\n",
    "http://receiver .example/",
    "http://bücher.example/",
    "http://receiver.example/" + 2000 * "x",
]


class Clock:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def webhooks(database, clock):
    return Webhooks(database, SECRET, private=True, clock=clock)


def deliveries(database):
    with database.reading() as session:
        return list(session.scalars(select(Delivery)))


def ended(webhooks, database, url, view=DONE):
    with database.writing() as session:
        webhooks.record(session, url, view)


def test_a_delivery_is_signed_and_named(webhooks, database, clock):
    with scripted(answer(status="202 Accepted")) as server:
        ended(webhooks, database, f"{server.url}/hook")
        [delivery] = deliveries(database)
        assert webhooks.send_next()
        assert not webhooks.send_next()
    head, body = server.requests[0], server.bodies[0]
    assert f"LipSync-Delivery: {delivery.id}\r\n" in head
    assert "Content-Type: application/json\r\n" in head
    signature = re.search(r"LipSync-Signature: (\S+)\r\n", head)[1]
    assert signature.startswith(f"t={int(clock.now)},v1=")
    assert verify_signature(SECRET, signature, body, tolerance_seconds=1e10)
    assert WebhookEvent.model_validate_json(body) == WebhookEvent(type="job.succeeded", job=DONE)
    assert deliveries(database) == []


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_every_end_is_told(webhooks, database, state):
    with scripted(answer()) as server:
        ended(webhooks, database, server.url, job_view(state, JobStage.DONE))
        webhooks.send_next()
    assert WebhookEvent.model_validate_json(server.bodies[0]).type == f"job.{state}"


def test_nobody_is_told_who_did_not_ask(webhooks, database):
    ended(webhooks, database, None)
    assert deliveries(database) == []


def test_what_fails_is_repeated_with_growing_pauses_and_then_given_up(
    webhooks, database, clock, caplog
):
    caplog.set_level(logging.INFO)
    with scripted(*[answer(status="500 Oops")] * 6) as server:
        ended(webhooks, database, f"{server.url}/?token=canary")
        for pause in RETRY_SECONDS:
            assert webhooks.send_next()
            clock.now += pause - 1
            assert not webhooks.send_next()
            clock.now += 1
        assert webhooks.send_next()
        clock.now += 1e6
        assert not webhooks.send_next()
    assert deliveries(database) == []
    times = [int(re.search(r"t=(\d+)", head)[1]) for head in server.requests]
    assert [b - a for a, b in pairwise(times)] == list(RETRY_SECONDS)
    assert len({re.search(r"Delivery: (\S+)", head)[1] for head in server.requests}) == 1
    assert "is told again in 3600 s: it answered 500" in caplog.text
    assert "was not told of its end, after 6 tries: it answered 500" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "bad", [b"", b"gibberish\r\n", answer(status="302 Found", Location="http://127.0.0.1:9/")]
)
def test_a_repeat_after_any_failure_arrives(webhooks, database, clock, bad):
    with scripted(bad, answer()) as server:
        ended(webhooks, database, server.url)
        webhooks.send_next()
        assert deliveries(database)[0].num_tries == 1
        clock.now += RETRY_SECONDS[0]
        webhooks.send_next()
    assert deliveries(database) == []
    assert server.bodies[0] == server.bodies[1] != b""


def test_a_name_that_does_not_exist_is_tried_again(webhooks, database, monkeypatch, caplog):
    caplog.set_level(logging.INFO)

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    ended(webhooks, database, "https://receiver.example/")
    webhooks.send_next()
    assert "not known" in caplog.text
    assert deliveries(database)[0].num_tries == 1


def test_a_restart_in_between_loses_nothing(webhooks, database, clock, tmp_path):
    with scripted(answer(status="503 Down"), answer()) as server:
        ended(webhooks, database, server.url)
        webhooks.send_next()
        database.close()
        clock.now += RETRY_SECONDS[0]
        later = open_database(f"sqlite:///{tmp_path}/jobs.sqlite3")
        assert Webhooks(later, SECRET, private=True, clock=clock).send_next()
        assert deliveries(later) == []
        later.close()


def test_a_process_that_dies_over_a_delivery_leaves_it_to_the_next(
    webhooks, database, clock, monkeypatch
):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with scripted(answer()) as server:
        ended(webhooks, database, server.url)
        with monkeypatch.context() as patch:
            patch.setattr("backend.webhooks.post", die)
            with pytest.raises(Killed):
                webhooks.send_next()
        successor = Webhooks(database, SECRET, private=True, clock=clock)
        assert not successor.send_next(), "it may still be at it"
        clock.now += CLAIM_SECONDS
        assert successor.send_next()
    assert deliveries(database) == []


def test_a_change_that_is_taken_back_tells_nobody(webhooks, database):
    with suppress(ZeroDivisionError), database.writing() as session:
        webhooks.record(session, "http://127.0.0.1:9/", DONE)
        raise ZeroDivisionError
    assert deliveries(database) == []


@pytest.mark.parametrize("url", FORBIDDEN)
def test_where_it_must_not_go_nothing_is_connected_to(
    database, clock, monkeypatch, connects, caplog, url
):
    caplog.set_level(logging.INFO)

    resolve = socket.getaddrinfo

    def lookup(host, port, *rest, **named):
        addresses = NAMES.get(host, [host])
        return [info for each in addresses for info in resolve(each, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    webhooks = Webhooks(database, SECRET, clock=clock)
    ended(webhooks, database, url)
    assert webhooks.send_next()
    assert connects == []
    assert "was told" not in caplog.text
    assert re.search("was not told|is told again", caplog.text)


@pytest.mark.parametrize("url", [*UNREADABLE, *FORBIDDEN[:5], *FORBIDDEN[13:20], "http://[::1]/"])
def test_an_address_that_can_never_be_told_is_refused_at_the_door(database, url):
    with pytest.raises(InvalidInput) as refusal:
        Webhooks(database, SECRET).check(url)
    assert refusal.value.field == "callback_url"
    assert "https://receiver.example/" in refusal.value.hint


@pytest.mark.parametrize(
    "url", ["https://receiver.example/a?b=c", "http://8.8.8.8:8080", "http://[2606:4700::1111]/"]
)
def test_an_address_of_the_internet_is_taken(database, url):
    Webhooks(database, SECRET).check(url)


def test_private_addresses_are_taken_where_the_operator_allows_them(database):
    Webhooks(database, SECRET, private=True).check("http://127.0.0.1:5000/hook")


def test_without_a_secret_no_call_back_is_promised(database):
    with pytest.raises(InvalidInput, match="no call-backs") as refusal:
        Webhooks(database, "").check("https://receiver.example/")
    assert "BACKEND_WEBHOOK_SECRET" in refusal.value.hint


def submit(url, callback_url, **more):
    form = {"text": "Hello.", "callback_url": callback_url, **more}
    return requests.post(
        f"{url}/generate-from-text",
        files={"image": photo()},
        data=form,
        headers={"Prefer": "respond-async"},
    )


def test_the_end_of_a_job_is_posted_with_the_job_as_it_is(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with (
        gpu_host() as host,
        scripted(answer()) as receiver,
        running_backend(tmp_path, host.url, webhook_secret=SECRET, webhook_private=True) as url,
    ):
        job_id = submit(url, receiver.url).json()["id"]
        done = LipSync(url).wait(job_id, 30)
        receiver.wait_for(1)
    event = WebhookEvent.model_validate_json(receiver.bodies[0])
    assert event == WebhookEvent(type="job.succeeded", job=done)
    signature = re.search(r"LipSync-Signature: (\S+)\r\n", receiver.requests[0])[1]
    assert verify_signature(SECRET, signature, receiver.bodies[0])
    assert SECRET not in caplog.text


def test_a_call_back_that_can_not_be_made_refuses_the_request_and_keeps_nothing(tmp_path):
    with running_backend(tmp_path / "a", "http://127.0.0.1:9") as url:
        answer = submit(url, "https://receiver.example/")
        assert (answer.status_code, answer.json()["field"]) == (422, "callback_url")
        assert "BACKEND_WEBHOOK_SECRET" in answer.json()["hint"]
    with running_backend(tmp_path / "b", "http://127.0.0.1:9", webhook_secret=SECRET) as url:
        answer = submit(url, "http://192.168.1.1/")
        assert (answer.status_code, answer.json()["field"]) == (422, "callback_url")
        assert list((tmp_path / "b" / "jobs").glob("*")) == []
