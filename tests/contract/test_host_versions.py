"""A GPU host and callers of other versions: who is understood, and what is passed over."""

from collections.abc import Iterator

import pytest
import requests

from contracts.records import RECORDS_MEDIA_TYPE, EndRecord
from contracts.versions import API_HEADER, API_VERSION, PROGRAM_VERSION
from gpu_service.app import create_app
from gpu_service.settings import Settings
from tests.fakes.serving import serving
from tests.host_calls import FAKES, PORTRAIT, SPEECH, TIMEOUT, health, post, problem, records_of

MAX_UPLOAD_BYTES = 1_000_000
NEWER = f"{API_VERSION.major}.{API_VERSION.minor + 7}"
STRANGE = f"{API_VERSION.major + 1}.0"


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    settings = Settings(engine_order="counting", token="canary", max_upload_bytes=MAX_UPLOAD_BYTES)
    app = create_app(settings, FAKES)

    @app.get("/unforeseen")
    def fail() -> None:
        raise ZeroDivisionError

    with serving(app) as url:
        yield url


def ask(
    host: str, method: str, path: str, said: str | None = None, **request: object
) -> requests.Response:
    headers = {"Authorization": "Bearer canary"} | ({API_HEADER: said} if said else {})
    return requests.request(method, host + path, headers=headers, timeout=TIMEOUT, **request)


def test_health_says_what_is_spoken_and_which_program_it_is(host: str) -> None:
    said = health(host)
    assert (said["api"], said["version"]) == (str(API_VERSION), PROGRAM_VERSION)


@pytest.mark.parametrize(
    ("method", "path", "request_of", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/engines", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("GET", "/render", {}, 405),
        ("POST", "/render", {"data": {"options": "{}"}}, 422),
        ("POST", "/render", {"data": bytes(MAX_UPLOAD_BYTES + 1)}, 413),
        ("GET", f"/media/{'0' * 64}", {}, 404),
        ("PUT", f"/media/{'0' * 64}", {}, 422),
        ("GET", "/unforeseen", {}, 500),
    ],
)
def test_every_answer_says_the_version(
    host: str, method: str, path: str, request_of: dict[str, object], status: int
) -> None:
    for said in (None, "1.0", NEWER):
        answer = ask(host, method, path, said, **request_of)
        assert (answer.status_code, answer.headers[API_HEADER]) == (status, str(API_VERSION))


def test_a_refused_token_is_told_with_the_version_too(host: str) -> None:
    answer = requests.get(f"{host}/engines", timeout=TIMEOUT)
    problem(answer, 401, "NOT_AUTHORIZED")
    assert answer.headers[API_HEADER] == str(API_VERSION)


@pytest.mark.parametrize(("said", "older"), [(STRANGE, "the GPU host"), ("0.9", "the backend")])
def test_a_caller_whom_nobody_here_understands_is_told_who_must_update(
    host: str, said: str, older: str
) -> None:
    for method, path in (("GET", "/engines"), ("POST", "/render"), ("GET", "/nothing")):
        answer = ask(host, method, path, said, data=bytes(500_000))
        body = problem(answer, 502, "VERSION_MISMATCH")
        assert body["hint"].startswith(f"Update {older}")
        assert answer.headers[API_HEADER] == str(API_VERSION)
    assert ask(host, "GET", "/health", said).json()["api"] == str(API_VERSION)


def test_options_that_the_host_does_not_know_are_named_in_both_answers(host: str) -> None:
    options = (
        '{"engine": "counting", "max_height": 384, "seed": 3, "glow": {"a": 1}, "b\\u00e4\\nd": 0}'
    )
    fields, token = {"options": options}, "Bearer canary"
    last = records_of(post(host, accept=RECORDS_MEDIA_TYPE, fields=fields, Authorization=token))[
        -1
    ].record
    assert isinstance(last, EndRecord)
    assert last.report.ignored == ("seed", "b%C3%A4%0Ad", "glow")
    answer = post(host, fields=fields, Authorization=token)
    assert answer.headers["X-Ignored"] == "seed, b%C3%A4%0Ad, glow"


def test_a_video_of_known_options_has_none_that_are_ignored(host: str) -> None:
    answer = post(host, Authorization="Bearer canary")
    assert answer.status_code == 200
    assert "X-Ignored" not in answer.headers


def test_ever_so_many_unknown_options_make_a_short_header(host: str) -> None:
    names = ", ".join(f'"{"x" * 300}{number}": 0' for number in range(500))
    answer = requests.post(
        f"{host}/render",
        files={"face": PORTRAIT, "speech": SPEECH},
        data={"options": f'{{"engine": "counting", "max_height": 384, {names}}}'},
        headers={"Authorization": "Bearer canary"},
        timeout=TIMEOUT,
    )
    assert answer.status_code == 200
    assert len(answer.headers["X-Ignored"]) < 1000
