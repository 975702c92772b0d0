"""Uploads pass through as streams, and only when the form is one of ours."""

import io
import tracemalloc
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from contracts.limits import MAX_UPLOAD_BYTES
from tests.fakes.backend import FakeBackend

BOUNDARY = "frontier"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(client: FlaskClient, data: Any, path: str = "/make/text", **more: Any) -> TestResponse:
    return client.post(path, data=data, content_type=CONTENT_TYPE, **more)


class Endless(io.RawIOBase):
    """A body of zeros between a head and a tail, made while it is read."""

    def __init__(self, head: bytes, num_zeros: int, tail: bytes) -> None:
        self.length = len(head) + num_zeros + len(tail)
        self.position = 0
        self._head, self._tail, self._num_zeros = head, tail, num_zeros

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + (self.length if whence == io.SEEK_END else 0)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.length - self.position)
        start = self.position
        chunk = bytearray(size)
        for offset, text in ((0, self._head), (len(self._head) + self._num_zeros, self._tail)):
            first, last = max(start, offset), min(start + size, offset + len(text))
            if first < last:
                chunk[first - start : last - start] = text[first - offset : last - offset]
        buffer[:size] = chunk
        self.position += size
        return size


def test_a_form_reaches_the_backend_with_its_own_fields_only(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    answer = post(
        client,
        body(
            part("csrf_token", token.encode()),
            part("image", b"\xff\xd8 picture", 'a "face".jpg'),
            part("text", "Grüß Gott".encode()),
            part("voice", b""),
            part("engine", b"facewarp"),
            part("surprise", b"1"),
            part("audio", b"", ""),
            part("consent", b"yes"),
        ),
    )
    assert answer.status_code == 303
    assert answer.location == f"/jobs/{fake.next_job.id}"
    assert fake.forms == [
        {
            "kind": "text",
            "image": b"\xff\xd8 picture",
            "text": "Grüß Gott",
            "engine": "facewarp",
        }
    ]
    assert fake.headers[-1]["Prefer"] == "respond-async"


def test_a_script_gets_the_job_instead_of_a_redirection(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    data = body(
        part("csrf_token", token.encode()),
        part("consent", b"yes"),
        part("image", b"picture", "face.jpg"),
        part("audio", b"sound", "speech.wav"),
    )
    answer = post(client, data, "/make/audio", headers={"Accept": "application/json"})
    assert answer.status_code == 202
    assert answer.json["id"] == fake.next_job.id
    assert fake.forms[0]["audio"] == b"sound"


@pytest.mark.parametrize("wrong", ["", "forged", None])
def test_without_the_right_token_not_one_byte_is_passed_on(
    fake: FakeBackend, client: FlaskClient, token: str, wrong: str | None
) -> None:
    first = [] if wrong is None else [part("csrf_token", wrong.encode())]
    upload = Endless(b"".join(first) + part("image", b"", "face.jpg")[:-2], 3_000_000, b"")
    answer = client.post(
        "/make/text",
        input_stream=upload,
        content_type=CONTENT_TYPE,
        headers={"Content-Length": str(upload.length)},
    )
    assert answer.status_code == 400
    assert "Load the page again" in answer.text
    assert upload.position < 200_000
    assert not fake.headers


def test_a_token_of_another_visit_is_refused(fake: FakeBackend, app: Flask, token: str) -> None:
    stranger = app.test_client()
    stranger.get("/")
    answer = post(stranger, body(part("csrf_token", token.encode()), part("consent", b"yes")))
    assert answer.status_code == 400
    assert not fake.headers


def test_without_consent_the_upload_is_broken_off_and_the_text_kept(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    data = body(
        part("csrf_token", token.encode()),
        part("image", b"picture" * 100_000, "face.jpg"),
        part("text", b"Keep this sentence"),
    )
    answer = post(client, data)
    assert answer.status_code == 422
    assert "Tick the box" in answer.text
    assert "Keep this sentence" in answer.text
    assert not fake.forms


def test_an_upload_over_the_limit_is_refused_before_it_is_read(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    head = part("csrf_token", token.encode()) + part("image", b"", "face.jpg")[:-2]
    upload = Endless(head, MAX_UPLOAD_BYTES, b"")
    answer = client.post(
        "/make/text",
        input_stream=upload,
        content_type=CONTENT_TYPE,
        headers={"Content-Length": str(upload.length)},
    )
    assert answer.status_code == 413
    assert "100 MB" in answer.text
    assert upload.position == 0
    assert not fake.headers


def test_a_large_upload_is_never_held_in_memory(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    fake.discard = True
    head = part("csrf_token", token.encode()) + part("image", b"", "face.jpg")[:-2]
    upload = Endless(head, 40_000_000, b"\r\n" + body(part("consent", b"yes")))
    tracemalloc.start()
    try:
        client.post(
            "/make/text",
            input_stream=upload,
            content_type=CONTENT_TYPE,
            headers={"Content-Length": str(upload.length)},
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fake.num_bytes > 40_000_000
    # The stand-in for the backend drains what is left in pieces of 10 MB.
    assert peak < 15_000_000


def test_a_form_that_is_cut_short_makes_no_job(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    data = part("csrf_token", token.encode()) + part("consent", b"yes") + part("image", b"x", "a")
    answer = post(client, data)
    assert answer.status_code == 400
    assert "did not arrive whole" in answer.text or "cut short" in answer.text
    assert not fake.forms


def test_something_that_is_no_upload_form_is_refused(client: FlaskClient) -> None:
    answer = client.post("/make/text", data="text=hello", content_type="text/plain")
    assert answer.status_code == 400


def test_a_video_is_passed_on_in_the_range_that_was_asked_for(
    fake: FakeBackend, client: FlaskClient
) -> None:
    answer = client.get("/jobs/any/video", headers={"Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.data == fake.video[10:20]
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(fake.video)}"
    assert answer.mimetype == "video/mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_video_has_a_name_to_keep_it_under_and_stays_with_its_owner(client: FlaskClient) -> None:
    answer = client.get("/jobs/0123456789/video")
    assert answer.headers["Content-Disposition"] == 'inline; filename="lipsync-01234567.mp4"'
    assert "private" in answer.headers["Cache-Control"]
    evil = client.get("/jobs/a%22%0D%0Ab/video")
    assert evil.headers["Content-Disposition"] == 'inline; filename="lipsync-ab.mp4"'


def test_a_jobs_name_can_not_lead_to_another_address_of_the_backend(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.jobs["job"] = fake.next_job
    answer = client.get("/jobs/job%3Fa=/video")
    assert answer.mimetype == "video/mp4"


def test_a_text_far_over_the_limit_is_refused_as_such(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    data = body(part("csrf_token", token.encode()), part("text", b"word " * 20_000))
    answer = post(client, data, headers={"Accept": "application/json"})
    assert answer.json["code"] == "TEXT_TOO_LONG"
    assert not fake.forms


def test_a_whole_video_comes_with_its_length_and_unread_by_us(
    fake: FakeBackend, client: FlaskClient
) -> None:
    answer = client.get("/jobs/any/video", buffered=False)
    assert answer.headers["Content-Length"] == str(len(fake.video))
    assert answer.is_streamed
    assert b"".join(answer.response) == fake.video
