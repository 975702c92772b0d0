"""Files sent ahead to a GPU host, over connections that break anywhere."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from contracts.lipsync import LipSyncOptions
from contracts.media import MediaView
from gpu_service.app import create_app
from gpu_service.settings import Settings
from tests.fakes.serving import serving
from tests.host_calls import FAKES, PORTRAIT, SPEECH, TIMEOUT, num_pictures, problem
from tests.processes import wait_until

LIMIT = 3_000_000
choose = np.random.default_rng(5)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        engine_order="counting",
        max_upload_bytes=LIMIT,
        face_cache_bytes=0,
        data_dir=tmp_path_factory.mktemp("data"),
    )
    with serving(create_app(settings, FAKES)) as url:
        yield url


def content(size: int) -> bytes:
    return choose.bytes(size)


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(
    host: str, data: bytes, first: int = 0, *, sha256: str = "", **headers: str
) -> requests.Response:
    said = f"bytes {first}-{len(data) - 1}/{len(data)}"
    return requests.put(
        f"{host}/media/{sha256 or name(data)}",
        data=data[first:],
        headers={"Content-Range": said, **headers},
        timeout=TIMEOUT,
    )


def asked(host: str, data: bytes) -> requests.Response:
    return requests.get(f"{host}/media/{name(data)}", timeout=TIMEOUT)


def received(host: str, data: bytes) -> int:
    answer = asked(host, data)
    if answer.status_code == 404:
        problem(answer, 404, "MEDIA_NOT_FOUND")
        return 0
    return MediaView.model_validate_json(answer.content).received


def connect(host: str) -> socket.socket:
    address = urlsplit(host)
    return socket.create_connection((address.hostname, address.port), TIMEOUT)


def head(data: bytes, first: int) -> bytes:
    return (
        f"PUT /media/{name(data)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(data) - first}\r\n"
        f"Content-Range: bytes {first}-{len(data) - 1}/{len(data)}\r\n\r\n"
    ).encode()


def test_a_file_that_is_sent_at_once_is_whole(host: str) -> None:
    data = content(1_000_003)
    for _ in range(2):
        view = MediaView.model_validate_json(put(host, data).content)
        assert view == MediaView(
            sha256=name(data), received=len(data), size=len(data), complete=True
        )
    assert MediaView.model_validate_json(asked(host, data).content) == view


@pytest.mark.parametrize("seed", range(6))
def test_a_file_survives_cuts_at_any_place(host: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    data = content(int(draw.integers(1_000, 900_000)))
    num_cuts, first, arrived, furthest = 0, 0, 0, 0
    while True:
        request = head(data, first) + data[first:]
        cut = int(draw.integers(1, len(request) + (len(data) if num_cuts >= 3 else 0)))
        with closing(connect(host)) as caller:
            caller.sendall(request[:cut])
            if cut >= len(request):
                assert caller.recv(12) == b"HTTP/1.1 200"
                break
        num_cuts += 1
        furthest = max(furthest, first + cut - len(head(data, first)))
        # What was sent arrives a little later than this asks, which only costs overlap.
        before, arrived = arrived, received(host, data)
        assert before <= arrived <= furthest
        first = max(0, arrived - int(draw.integers(0, 200)))
    assert MediaView.model_validate_json(asked(host, data).content).complete


def test_bytes_are_kept_as_they_come_though_the_connection_is_only_silent(host: str) -> None:
    data = content(200_000)
    with closing(connect(host)) as silent:
        silent.sendall(head(data, 0) + data[:120_000])
        wait_until(lambda: received(host, data) == 120_000)
        assert MediaView.model_validate_json(put(host, data, 120_000).content).complete
        silent.sendall(data[120_000:130_000])
        assert b"409" in silent.recv(20)


def test_the_older_of_two_who_send_a_file_is_told_why(host: str) -> None:
    data = content(300_000)
    with closing(connect(host)) as older:
        older.sendall(head(data, 0) + data[:1000])
        wait_until(lambda: received(host, data) == 1000)
        with closing(connect(host)) as newer:
            newer.sendall(head(data, 1000) + data[1000:2000])
            wait_until(lambda: received(host, data) == 2000)
            older.sendall(data[1000:])
            said = older.recv(4096)
            assert b"409" in said.partition(b"\r\n")[0]
            newer.sendall(data[2000:])
            assert newer.recv(12) == b"HTTP/1.1 200"


def test_a_gap_is_refused_and_says_how_much_is_there(host: str) -> None:
    data = content(5000)
    assert "0 have arrived" in problem(put(host, data, 100), 409, "MEDIA_GAP")["detail"]


def test_what_is_not_what_its_hash_says_is_not_kept(host: str) -> None:
    data, other = content(5000), content(5000)
    problem(put(host, data, sha256=name(other)), 422, "MEDIA_CORRUPT")
    problem(asked(host, other), 404, "MEDIA_NOT_FOUND")
    assert put(host, other).status_code == 200


@pytest.mark.parametrize(
    "said",
    ["", "bytes 0-9", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-9/*", "0-9/10", "bytes -1-9/10"],
)
def test_a_range_that_is_none_is_refused(host: str, said: str) -> None:
    answer = put(host, content(10), **{"Content-Range": said})
    assert "Content-Range" in problem(answer, 422, "INVALID_INPUT")["hint"]


@pytest.mark.parametrize("said", ["bytes 0-8/20", "bytes 0-10/20"])
def test_a_body_of_another_length_than_its_range_is_refused(host: str, said: str) -> None:
    problem(put(host, content(10), **{"Content-Range": said}), 422, "INVALID_INPUT")


def test_a_body_that_does_not_say_its_length_is_counted(host: str) -> None:
    for size, status in ((10, 200), (9, 422), (11, 422)):
        data = content(10)
        answer = requests.put(
            f"{host}/media/{name(data)}",
            data=iter([(data + b"x")[:size]]),
            headers={"Content-Range": "bytes 0-9/10"},
            timeout=TIMEOUT,
        )
        assert answer.status_code == status


def test_a_file_over_the_limit_is_refused_before_its_body_has_come(host: str) -> None:
    with closing(connect(host)) as caller:
        caller.sendall(
            f"PUT /media/{'0' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            f"Content-Range: bytes 0-999999/{LIMIT + 1}\r\n\r\n".encode()
        )
        assert b"413" in caller.recv(4096)
        caller.sendall(bytes(1_000_000))  # taken all the same, so that the answer is read


@pytest.mark.parametrize("sha256", ["0" * 63, "g" * 64, "..", "0" * 65])
def test_a_name_that_is_no_hash_is_refused(host: str, sha256: str) -> None:
    answer = requests.get(f"{host}/media/{sha256}", timeout=TIMEOUT)
    assert answer.status_code in (404, 422)


def test_media_are_guarded_by_the_token(tmp_path: Path) -> None:
    settings = Settings(token="canary", data_dir=tmp_path)
    with serving(create_app(settings, FAKES)) as url:
        problem(put(url, content(10)), 401, "NOT_AUTHORIZED")
        problem(asked(url, content(10)), 401, "NOT_AUTHORIZED")
        assert list(tmp_path.iterdir()) == []


def render(host: str, files: dict[str, bytes], **fields: str) -> requests.Response:
    options = LipSyncOptions(engine="counting", max_height=384).model_dump_json()
    return requests.post(
        f"{host}/render",
        files=files or None,
        data={"options": options, **fields},
        timeout=TIMEOUT,
    )


def test_a_render_takes_face_and_speech_that_were_sent_ahead(host: str) -> None:
    for data in (PORTRAIT, SPEECH):
        assert put(host, data).status_code == 200
    named = {"face_sha256": name(PORTRAIT), "speech_sha256": name(SPEECH).upper()}
    assert num_pictures(render(host, {}, **named).content) == 25
    for field, file in (("face", PORTRAIT), ("speech", SPEECH)):
        rest = {key: value for key, value in named.items() if not key.startswith(field)}
        assert render(host, {field: file}, **rest).status_code == 200


def test_what_is_not_there_or_not_whole_is_asked_for(host: str) -> None:
    half = content(500)
    requests.put(
        f"{host}/media/{name(half)}",
        data=half[:100],
        headers={"Content-Range": "bytes 0-99/500"},
        timeout=TIMEOUT,
    )
    for missing in (name(half), "0" * 64):
        answer = render(host, {"speech": SPEECH}, face_sha256=missing)
        assert problem(answer, 428, "FACE_NEEDED")["field"] == "face_sha256"
        answer = render(host, {"face": PORTRAIT}, speech_sha256=missing)
        assert problem(answer, 428, "SPEECH_NEEDED")["field"] == "speech_sha256"


def test_a_file_that_is_sent_with_the_hash_of_another_is_refused(host: str) -> None:
    files = {"face": PORTRAIT, "speech": SPEECH}
    answer = render(host, files, speech_sha256=name(PORTRAIT))
    assert problem(answer, 422, "INVALID_INPUT")["field"] == "speech_sha256"


def test_a_host_that_was_restarted_has_nothing_of_what_was_sent(tmp_path: Path) -> None:
    data = content(5000)
    settings = Settings(data_dir=tmp_path)
    with serving(create_app(settings, FAKES)) as url:
        assert put(url, data).status_code == 200
        assert any(file.is_file() for file in tmp_path.rglob(name(data)))
    killed = tmp_path / "media" / "feedbeef"
    killed.mkdir()
    (killed / name(data)).write_bytes(data)
    with serving(create_app(settings, FAKES)) as url:
        problem(asked(url, data), 404, "MEDIA_NOT_FOUND")
        assert not killed.exists()
