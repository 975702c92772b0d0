"""The base64 socket, driven by a client that is not ours."""

import base64
import errno
import gc
import io
import json
import re
import socket
import sqlite3
import threading
from contextlib import contextmanager

import av
import pytest
import requests
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from backend.generation import Generation
from backend.routes.base64_ws import SocketRequest, _video_message
from contracts.errors import Busy, NoFaceFound
from contracts.jobs import JobStage, JobState
from lipsync_client import LipSync
from tests.fakes.backend import job_view
from tests.fakes.gpu_host import gpu_host
from tests.fakes.running_backend import running_backend
from tests.fakes.uploads import photo, tone
from tests.fakes.voice import FakeVoices
from tests.processes import wait_until

LIMIT = 300_000


def b64(data):
    return base64.b64encode(data).decode()


GOOD = {"image_base64": b64(photo()), "audio_base64": b64(tone(0.3))}


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def url(tmp_path, host):
    settings = {"max_upload_bytes": LIMIT, "max_queue": 5}
    with running_backend(tmp_path, host.url, [FakeVoices()], **settings) as url:
        yield url


@contextmanager
def socket_to(url, **options):
    address = url.replace("http", "ws") + "/ws/lipsync"
    with connect(address, max_size=None, proxy=None, **options) as socket:
        yield socket


def ask(socket, message):
    """The last answer to a message, and what was said before it."""
    socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    before = []
    while set(answer := json.loads(socket.recv(30))) == {"progress"}:
        before.append(answer["progress"])
    return answer, before


def last_answer(socket):
    while "progress" in (answer := json.loads(socket.recv(30))):
        pass
    return answer


def refused(url, message):
    """The error, after which the socket still works."""
    with socket_to(url) as socket:
        answer, before = ask(socket, message)
        assert (set(answer), before) == ({"error"}, [])
        again, _ = ask(socket, {"image_base64": "!", "text": "Hello."})
        assert again["error"]["field"] == "image_base64"
    assert {"code", "detail", "hint", "status", "request_id"} <= set(answer["error"])
    return answer["error"]


def assert_video(answer):
    with av.open(io.BytesIO(base64.b64decode(answer["video_base64"], validate=True))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


def test_a_face_and_a_recording_become_a_video(url, host):
    with socket_to(url) as socket:
        answer, before = ask(socket, GOOD)
    assert before == []
    assert_video(answer)
    assert set(answer) == {"video_base64", "job_id"}
    video = requests.get(f"{url}/jobs/{answer['job_id']}/video").content
    assert base64.b64decode(answer["video_base64"]) == video
    assert host.forms[0]["speech"] == tone(0.3)


def test_several_requests_go_over_one_socket(url):
    with socket_to(url) as socket:
        first, _ = ask(socket, GOOD)
        bad, _ = ask(socket, "{")
        second, _ = ask(socket, json.dumps(GOOD).encode())
    assert_video(first)
    assert_video(second)
    assert bad["error"]["code"] == "INVALID_INPUT"
    assert first["job_id"] != second["job_id"]


def test_a_message_may_wait_for_its_turn_and_a_third_is_refused_in_turn(url, host):
    host.gate = threading.Event()
    with socket_to(url) as socket:
        for _ in range(3):
            socket.send(json.dumps(GOOD))
        assert host.began.wait(30)
        host.gate.set()
        answers = [json.loads(socket.recv(30)) for _ in range(3)]
    assert_video(answers[0])
    assert_video(answers[1])
    assert (answers[2]["error"]["code"], answers[2]["error"]["retryable"]) == ("BUSY", True)


def test_progress_is_told_to_who_asks_for_it(url):
    with socket_to(url) as socket:
        answer, before = ask(socket, {**GOOD, "progress": True})
    assert {each["job_id"] for each in before} == {answer["job_id"]}
    assert before[-1]["state"] == "succeeded"
    assert before[-1]["progress"] == 1
    fields = {"job_id", "state", "stage", "reason", "progress", "media_seconds", "seconds_left"}
    assert set(before[0]) == fields


def test_a_text_is_spoken_and_options_reach_the_host(url, host):
    message = {"image_base64": b64(photo()), "text": "Hello.", "options": {"seed": 7}}
    with socket_to(url) as socket:
        answer, _ = ask(socket, message)
    assert_video(answer)
    assert LipSync(url).job(answer["job_id"]).voice == "fake:en"
    assert json.loads(host.forms[0]["options"])["seed"] == 7


@pytest.mark.parametrize(
    "written",
    [
        lambda text: f"data:image/jpeg;base64,{text}",
        lambda text: f" \n data:image/jpeg;charset=x;base64,\r\n{text}\n",
        lambda text: "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)) + "\r\n",
        lambda text: "\t ".join(text),
        lambda text: text.rstrip("="),
    ],
    ids=["data URL", "loose data URL", "lines", "spaced out", "no padding"],
)
def test_base64_may_be_written_in_any_way(url, host, written):
    image = photo() + b"\0"  # 1 byte beyond a multiple of 3
    image += bytes((1 - len(image)) % 3)
    with socket_to(url) as socket:
        answer, _ = ask(socket, {**GOOD, "image_base64": written(b64(image))})
    assert_video(answer)
    assert host.forms[0]["face"] == image


def test_large_files_are_decoded_piece_by_piece_without_a_flaw(url, host):
    sound = tone(9.0)  # several pieces would be larger than the limit here, so they are made small
    with pytest.MonkeyPatch.context() as patch, socket_to(url) as socket:
        patch.setattr("backend.routes.base64_ws.PIECE_CHARACTERS", 1001)
        answer, _ = ask(socket, {**GOOD, "audio_base64": b64(sound).replace("A", "A\n")})
    assert_video(answer)
    assert host.forms[0]["speech"] == sound


@pytest.mark.parametrize("message", ["", "{", "hello", "[]", "null", "3", b"\xff\xfe", '{"a'])
def test_a_message_that_is_no_json_object_is_told_so(url, message):
    error = refused(url, message)
    assert (error["code"], error["status"]) == ("INVALID_INPUT", 422)
    assert "no JSON object" in error["detail"]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"image_base64": None}, "image_base64", "string"),
        ({"image_base64": 5}, "image_base64", "string"),
        ({"image_base64": ["a"]}, "image_base64", "string"),
        ({"image_base64": ""}, "image_base64", "empty"),
        ({"image_base64": "  "}, "image_base64", "empty"),
        ({"image_base64": "data:image/png;base64,"}, "image_base64", "empty"),
        ({"image_base64": "data:image/png,abc"}, "image_base64", "another kind"),
        ({"image_base64": "not base64!"}, "image_base64", "no base64"),
        ({"image_base64": "Zg==Zg=="}, "image_base64", "no base64"),
        ({"image_base64": "A"}, "image_base64", "no base64"),
        ({"image_base64": "é" * 8}, "image_base64", "no base64"),
        ({"image_base64": b64(b"hello" * 99)}, "image_base64", ""),
        ({"audio_base64": None}, "audio_base64", "either"),
        ({"audio_base64": ""}, "audio_base64", "empty"),
        ({"audio_base64": b64(photo())}, "audio_base64", ""),
        ({"text": "Hello."}, "audio_base64", "either"),
        ({"options": {"fps": 1000}}, "fps", "1000"),
        ({"options": {"nothing": 1}}, "nothing", "nothing"),
        ({"options": []}, "options", "object"),
        ({"progress": "perhaps"}, "progress", "bool"),
        ({"keep": 7}, "keep", "bool"),
        ({"idempotency_key": "a b"}, "idempotency_key", "pattern"),
        ({"nonsense": 1}, "", "nonsense"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_rendered(url, host, change, field, said):
    error = refused(url, {**GOOD, **change})
    assert error["field"] == field
    assert said in error["detail"]
    assert error["hint"]
    assert host.renders() == 0


def test_a_missing_field_is_named(url):
    assert "'image_base64' is missing" in refused(url, {"audio_base64": "aaaa"})["detail"]


def test_what_was_sent_is_not_told_back(url):
    message = {"image_base64": {"canary": 1}, "canary": "canary"}
    assert "canary" not in json.dumps(refused(url, message)).replace("'canary'", "")


def test_files_over_the_limit_are_refused_before_they_are_decoded(url, monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    message = {**GOOD, "audio_base64": b64(bytes(LIMIT - 3000))}
    assert len(json.dumps(message)) < LIMIT * 3 // 2
    monkeypatch.setattr("backend.routes.base64_ws._decoded", decode)
    error = refused_once(url, message)
    assert (error["code"], error["status"]) == ("MEDIA_TOO_LARGE", 413)
    assert "0.3 MB together" in error["detail"]


def refused_once(url, message):
    with socket_to(url) as socket:
        return ask(socket, message)[0]["error"]


def test_white_space_does_not_count_as_size(url):
    with socket_to(url) as socket:
        answer, _ = ask(socket, {**GOOD, "image_base64": GOOD["image_base64"] + LIMIT * " "})
    assert_video(answer)


@pytest.fixture
def held():
    """What is in memory of messages, without the help of a garbage collection."""
    gc.collect()
    gc.disable()
    kinds = (SocketRequest, ValidationError)
    yield lambda: [each for each in gc.get_objects() if type(each) in kinds]
    gc.enable()


@pytest.mark.parametrize(
    "change", [{"image_base64": b64(b"hello")}, {"image_base64": "!"}, {"image_base64": None}]
)
def test_of_a_refused_message_nothing_stays_in_memory(url, held, change):
    with socket_to(url) as socket:
        assert "error" in ask(socket, {**GOOD, **change})[0]
        wait_until(lambda: not held())


def test_of_a_message_nothing_stays_in_memory_while_its_video_is_made(url, host, held):
    with socket_to(url) as socket:
        begin(socket, host)
        wait_until(lambda: not held())
        host.gate.set()
        assert_video(last_answer(socket))


def test_a_failed_job_is_an_error_with_its_id(url, host):
    host.fail_before = NoFaceFound("no face was found")
    with socket_to(url) as socket:
        answer, _ = ask(socket, GOOD)
    assert answer["error"]["code"] == "NO_FACE_FOUND"
    assert LipSync(url).job(answer["job_id"]).state is JobState.FAILED


def test_the_same_key_is_the_same_job(url, host):
    message = {**GOOD, "idempotency_key": "one"}
    with socket_to(url) as first, socket_to(url) as second:
        answers = [ask(socket, message)[0] for socket in (first, second)]
    assert answers[0] == answers[1]
    assert host.renders() == 1


def begin(socket, host, **more):
    """Send a request and hear which job it is."""
    host.gate = threading.Event()
    socket.send(json.dumps({**GOOD, "progress": True, **more}))
    job_id = json.loads(socket.recv(30))["progress"]["job_id"]
    assert host.began.wait(30)
    return job_id


def state_after(url, job_id):
    *_, last = LipSync(url).events(job_id, timeout_seconds=30)
    return last.state


def test_hanging_up_cancels_the_job(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host)
    assert state_after(url, job_id) is JobState.CANCELLED
    host.gate.set()


def test_a_connection_that_breaks_cancels_the_job_too(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host)
        socket.socket.close()
        assert state_after(url, job_id) is JobState.CANCELLED
    host.gate.set()


def join(socket, job_id, key):
    socket.send(json.dumps({**GOOD, "progress": True, "idempotency_key": key}))
    assert json.loads(socket.recv(30))["progress"]["job_id"] == job_id


def open_sockets(url):
    return float(
        re.search(r'listeners{what="socket"} (\S+)', requests.get(f"{url}/metrics").text)[1]
    )


def test_one_of_two_who_wait_for_a_job_hangs_up_and_the_other_gets_the_video(url, host):
    with socket_to(url) as patient:
        with socket_to(url) as gone:
            job_id = begin(gone, host, idempotency_key="one")
            join(patient, job_id, "one")
        wait_until(lambda: open_sockets(url) == 1)
        host.gate.set()
        answer = last_answer(patient)
    assert_video(answer)
    assert answer["job_id"] == job_id


def test_the_last_of_two_who_wait_for_a_job_cancels_it(url, host):
    with socket_to(url) as first, socket_to(url) as second:
        job_id = begin(first, host, idempotency_key="one")
        join(second, job_id, "one")
    assert state_after(url, job_id) is JobState.CANCELLED
    host.gate.set()


def test_more_sockets_than_memory_is_for_are_refused(tmp_path, host):
    with running_backend(tmp_path, host.url, max_sockets=2) as url, socket_to(url):
        with socket_to(url):
            with pytest.raises(InvalidStatus) as refusal, socket_to(url):
                pass
            assert refusal.value.response.status_code == 503
            assert refusal.value.response.headers["Retry-After"]
            assert json.loads(refusal.value.response.body)["code"] == "BUSY"
        wait_until(lambda: open_sockets(url) == 1)
        with socket_to(url) as socket:
            assert_video(ask(socket, GOOD)[0])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "STORAGE_FULL"),
        (OSError(errno.EIO, "a canary"), "INTERNAL"),
        (OperationalError("a canary", None, sqlite3.Error("database is locked")), "INTERNAL"),
    ],
)
def test_a_fault_of_the_backend_is_told_and_the_next_message_is_taken(url, fault, code):
    def fail(*_):
        raise fault

    with socket_to(url) as socket:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Generation, "submit", fail)
            answer, _ = ask(socket, GOOD)
        assert_video(ask(socket, GOOD)[0])
    assert answer["error"]["code"] == code
    assert "canary" not in json.dumps(answer)


def test_who_says_keep_may_hang_up(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host, keep=True)
    host.gate.set()
    assert state_after(url, job_id) is JobState.SUCCEEDED


def test_who_says_keep_may_hang_up_before_any_answer(url, host):
    with socket_to(url) as socket:
        socket.send(json.dumps({**GOOD, "keep": True, "idempotency_key": "kept"}))
    with socket_to(url) as socket:
        answer, _ = ask(socket, {**GOOD, "idempotency_key": "kept"})
    assert_video(answer)
    assert host.renders() == 1


def test_hanging_up_with_another_message_waiting_cancels_and_begins_nothing(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host)
        socket.send(json.dumps(GOOD))
    assert state_after(url, job_id) is JobState.CANCELLED
    host.gate.set()
    assert host.renders() == 1


def test_a_message_that_comes_in_small_pieces_is_taken(url):
    text = json.dumps(GOOD)
    with socket_to(url) as socket:
        socket.send(text[i : i + 997] for i in range(0, len(text), 997))
        assert_video(json.loads(socket.recv(30)))


def test_a_message_that_is_cut_off_is_forgotten(url, host):
    def broken():
        yield '{"image_base64": "'
        raise ZeroDivisionError

    with socket_to(url) as socket, pytest.raises((ZeroDivisionError, ConnectionClosed)):
        socket.send(broken())
    with socket_to(url) as socket:
        assert_video(ask(socket, GOOD)[0])
    assert host.renders() == 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:5000"])
def test_a_foreign_page_can_not_open_a_socket(url, origin):
    with pytest.raises(InvalidStatus) as refusal, socket_to(url, origin=origin):
        pass
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body)["code"] == "ORIGIN_REFUSED"


def test_the_backends_own_pages_may(url):
    with socket_to(url, origin=url) as socket:
        assert_video(ask(socket, GOOD)[0])


def test_a_foreign_host_name_is_refused(url):
    port = url.rpartition(":")[2]
    raw = socket.create_connection(("127.0.0.1", int(port)))
    with (
        pytest.raises(InvalidStatus) as refusal,
        connect(f"ws://evil.example:{port}/ws/lipsync", sock=raw),
    ):
        pass
    assert refusal.value.response.status_code == 403


def test_without_the_token_no_socket_opens(tmp_path, host):
    with running_backend(tmp_path, host.url, token="a canary") as url:
        with pytest.raises(InvalidStatus) as refusal, socket_to(url):
            pass
        assert refusal.value.response.status_code == 401
        assert json.loads(refusal.value.response.body)["code"] == "NOT_AUTHORIZED"
        headers = {"Authorization": "Bearer a canary"}
        with socket_to(url, additional_headers=headers) as socket:
            assert_video(ask(socket, GOOD)[0])


def test_another_address_has_no_socket(url):
    with (
        pytest.raises(InvalidStatus),
        connect(url.replace("http", "ws") + "/ws/nothing", proxy=None),
    ):
        pass


def test_a_job_that_is_cancelled_elsewhere_is_an_error(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host)
        LipSync(url).cancel(job_id)
        answer = last_answer(socket)
    assert (answer["error"]["code"], answer["job_id"]) == ("CANCELLED", job_id)
    host.gate.set()


def test_a_backend_that_is_being_stopped_says_that_the_job_goes_on():
    with pytest.raises(Busy, match="goes on when it runs again"):
        _video_message(job_view(JobState.QUEUED, JobStage.WAITING), services=None)


def test_a_job_that_is_deleted_elsewhere_is_an_error(url, host):
    with socket_to(url) as socket:
        job_id = begin(socket, host)
        LipSync(url).delete(job_id)
        answer = last_answer(socket)
    assert answer["error"]["code"] in ("JOB_NOT_FOUND", "CANCELLED")
    host.gate.set()
