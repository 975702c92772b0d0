import http.client
import logging
from urllib.parse import urlsplit

import pytest
import requests

from tests.fakes.running_backend import running_backend

NO_GPU = "http://127.0.0.1:9"
LIMIT = 300_000


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running_backend(
        tmp_path_factory.mktemp("backend"),
        NO_GPU,
        allowed_hosts="studio.example, other.example",
        allowed_origins="https://studio.example",
        max_upload_bytes=LIMIT,
    ) as url:
        yield url


@pytest.fixture(scope="module")
def locked_url(tmp_path_factory):
    with running_backend(tmp_path_factory.mktemp("backend"), NO_GPU, token="a canary") as url:
        yield url


def code_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"]
    return answer.status_code, body["code"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "203.0.113.5:8000", "localhost.evil", "[", ""],
)
def test_a_foreign_host_name_is_refused(url, host):
    assert code_of(requests.get(url + "/voices", headers={"Host": host})) == (403, "ORIGIN_REFUSED")


@pytest.mark.parametrize("host", ["localhost", "LocalHost:1", "[::1]:8000", "studio.example:443"])
def test_own_and_named_hosts_are_served(url, host):
    assert requests.get(url + "/voices", headers={"Host": host}).ok


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:5000", "http://[", "", "file://"]
)
def test_a_foreign_page_is_refused_even_when_it_only_reads(url, origin):
    headers = {"Origin": origin}
    assert code_of(requests.get(url + "/voices", headers=headers)) == (403, "ORIGIN_REFUSED")
    answer = requests.post(url + "/generate-from-text", data={"text": "hello"}, headers=headers)
    assert code_of(answer) == (403, "ORIGIN_REFUSED")


def test_own_pages_named_pages_and_programs_are_served(url):
    assert requests.get(url + "/voices", headers={"Origin": url}).ok
    assert requests.get(url + "/voices", headers={"Origin": "https://studio.example"}).ok
    assert requests.get(url + "/voices").ok


@pytest.mark.parametrize(
    "sent", [None, "Bearer wrong", "Bearer ", "Basic a canary", "a canary", "Bearer ä"]
)
def test_without_the_token_nothing_is_answered(locked_url, sent):
    headers = {"Authorization": sent.encode()} if sent else {}
    for path in ("/voices", "/jobs/x", "/nowhere", "/openapi.json"):
        answer = requests.get(locked_url + path, headers=headers)
        assert code_of(answer) == (401, "NOT_AUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "canary" not in answer.text


def test_the_token_opens_and_health_needs_none(locked_url, caplog):
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "bearer a canary"}
    assert requests.get(locked_url + "/voices", headers=headers).ok
    assert requests.get(locked_url + "/health/live").json() == {"status": "ok"}
    assert "canary" not in caplog.text


def test_a_large_body_is_refused_by_its_length_and_the_answer_arrives(url):
    answer = requests.post(url + "/generate-from-text", files={"image": bytes(LIMIT + 1)})
    assert code_of(answer) == (413, "MEDIA_TOO_LARGE")


def test_a_large_body_of_unknown_length_is_counted(url):
    whole, content_type = requests.models.RequestEncodingMixin._encode_files(
        {"image": bytes(LIMIT + 1)}, {}
    )
    pieces = (whole[i : i + 10_000] for i in range(0, len(whole), 10_000))
    headers = {"Content-Type": content_type}
    answer = requests.post(url + "/generate-from-text", data=pieces, headers=headers)
    assert code_of(answer) == (413, "MEDIA_TOO_LARGE")


def test_a_refused_caller_with_a_body_gets_the_answer(locked_url):
    answer = requests.post(locked_url + "/generate-from-text", files={"image": bytes(2_000_000)})
    assert code_of(answer) == (401, "NOT_AUTHORIZED")


def test_one_who_waits_for_leave_to_send_is_told_at_once(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    headers = {"Content-Length": str(LIMIT + 1), "Expect": "100-continue"}
    connection.putrequest("POST", "/generate-from-text")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
