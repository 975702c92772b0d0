"""Renders with a key over a real loopback socket: joined, resumed, stopped and kept."""

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi.responses import FileResponse

from contracts.errors import EngineBusy
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    EventRecord,
    Framed,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    Record,
    decode_records,
)
from gpu_service.app import create_app
from gpu_service.media.join import join_fragments
from gpu_service.routes import render, runs
from gpu_service.settings import Settings
from tests.fakes.gated_engine import HeldEngine
from tests.fakes.serving import serving
from tests.host_calls import (
    FAKES,
    PORTRAIT,
    SPEECH,
    TIMEOUT,
    health,
    post,
    problem,
    records_of,
)
from tests.media import picture, saved, tone, wav
from tests.processes import wait_until

LONG_SPEECH = wav(tone(6.0, 16_000), 16_000)
NOBODY = saved(picture(300, 300), "PNG")
HASH = sha256(PORTRAIT).hexdigest()
GONE = sha256(b"never sent").hexdigest()


@pytest.fixture
def host() -> Iterator[str]:
    with serving(create_app(Settings(engine_order="counting"), FAKES)) as url:
        yield url


def post_held(url: str, key: str, accept: str = RECORDS_MEDIA_TYPE) -> requests.Response:
    return post(url, "held", speech=LONG_SPEECH, accept=accept, **{"Idempotency-Key": key})


def get(url: str, key: str, first: int = 0) -> requests.Response:
    return requests.get(
        f"{url}/render/{key}",
        params={"from": str(first)},
        headers={"Accept": RECORDS_MEDIA_TYPE},
        timeout=TIMEOUT,
        stream=True,
    )


def delete(url: str, key: str) -> requests.Response:
    return requests.delete(f"{url}/render/{key}", timeout=TIMEOUT)


def media(records: list[Framed]) -> list[Framed]:
    return [framed for framed in records if isinstance(framed.record, InitRecord | MediaRecord)]


def joined(parts: list[bytes], folder: Path) -> bytes:
    join_fragments(parts, folder / "joined.mp4")
    return (folder / "joined.mp4").read_bytes()


def read_until(answer: requests.Response, seq: int) -> list[Framed]:
    """The records up to a fragment; then the connection is dropped."""
    records = []
    for framed in decode_records(answer.iter_content(chunk_size=None)):
        records.append(framed)
        if isinstance(framed.record, MediaRecord) and framed.record.seq == seq:
            break
    answer.raw.close()
    answer.close()
    return records


@pytest.mark.parametrize("seq", [1, 4, 8])
def test_a_connection_dropped_in_mid_render_is_resumed_to_the_same_video(
    host: str, held: HeldEngine, seq: int, tmp_path: Path
) -> None:
    answer = post_held(host, "dropped")
    records = read_until(answer, seq)
    assert held.reached.wait(TIMEOUT)
    resumed = get(host, "dropped", seq + 1)
    assert resumed.headers["Render-Id"] == answer.headers["Render-Id"]
    assert resumed.headers["X-Engine"] == "held"
    held.gate.set()
    rest = records_of(resumed)
    assert rest[0].record == EventRecord(name="engine", value="held")
    assert isinstance(rest[1].record, ProgressRecord)
    assert isinstance(rest[-1].record, EndRecord)
    resumed_parts = media(records) + media(rest)
    assert held.num_renders == 1

    undisturbed = records_of(post_held(host, "undisturbed"))
    assert held.num_renders == 2
    assert [part.record for part in resumed_parts] == [part.record for part in media(undisturbed)]
    parts, whole = ([each.payload for each in of] for of in (resumed_parts, media(undisturbed)))
    assert joined(parts, tmp_path) == joined(whole, tmp_path)


def test_what_ended_is_kept_from_any_record_on(host: str) -> None:
    first = records_of(post(host, accept=RECORDS_MEDIA_TYPE, **{"Idempotency-Key": "kept"}))
    for seq in (0, 1, 3, 99):
        again = records_of(get(host, "kept", seq))
        assert media(again) == media(first)[seq:]
        assert again[-1] == first[-1]


def test_ten_requests_at_once_with_one_key_are_one_render_in_either_form(
    host: str, held: HeldEngine, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(10) as callers:
        forms = ["video/mp4", RECORDS_MEDIA_TYPE] * 5
        answers = [callers.submit(post_held, host, "shared", accept) for accept in forms]
        assert held.reached.wait(TIMEOUT)
        wait_until(lambda: sum(answer.done() for answer in answers) == 5)
        held.gate.set()
        done = [answer.result() for answer in answers]
    assert len({answer.headers["Render-Id"] for answer in done}) == 1
    videos = {answer.content for answer in done[::2]}
    videos |= {joined([f.payload for f in media(records_of(a))], tmp_path) for a in done[1::2]}
    assert len(videos) == 1
    assert held.num_renders == 1
    assert post_held(host, "shared", "video/mp4").content in videos


def test_a_key_that_was_used_for_something_else_is_refused(host: str) -> None:
    key = {"Idempotency-Key": "used"}
    assert post(host, **key).status_code == 200
    for other in (
        post(host, speech=LONG_SPEECH, **key),
        post(host, face=NOBODY, **key),
        post(host, "held", **key),
        post(host, fields={"marks": '[{"start": 0, "end": 1, "phoneme": "a"}]'}, **key),
    ):
        problem(other, 409, "IDEMPOTENCY_MISMATCH")
    assert post(host, **key).status_code == 200


def test_after_an_error_a_repeat_renders_anew_and_the_error_can_still_be_read(host: str) -> None:
    key = {"Idempotency-Key": "failing"}
    ids = []
    for _ in range(2):
        failed = post(host, face=NOBODY, **key)
        problem(failed, 422, "NO_FACE_FOUND")
        ids.append(failed.headers["Render-Id"])
    assert len(set(ids)) == 2
    told = get(host, "failing")
    assert told.headers["Render-Id"] == ids[-1]
    last = records_of(told)[-1].record
    assert isinstance(last, ErrorRecord)
    assert last.error.code == "NO_FACE_FOUND"


def test_a_deleted_render_stops_and_is_known_no_more(host: str, held: HeldEngine) -> None:
    answer = post_held(host, "unwanted")
    assert held.reached.wait(TIMEOUT)
    deleted = delete(host, "unwanted")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert deleted.headers["Render-Id"] == answer.headers["Render-Id"]
    held.gate.set()
    last = records_of(answer)[-1].record
    assert isinstance(last, ErrorRecord)
    assert last.error.code == "CANCELLED"
    wait_until(lambda: health(host)["renders_running"] == 0)
    problem(delete(host, "unwanted"), 404, "RENDER_NOT_FOUND")
    problem(get(host, "unwanted"), 404, "RENDER_NOT_FOUND")


def test_a_place_that_no_record_has_is_refused(host: str) -> None:
    problem(get(host, "any", -1), 422, "INVALID_INPUT")


def test_two_renders_wait_for_their_turn_and_a_third_is_told_to_come_back(
    host: str, held: HeldEngine
) -> None:
    running = post_held(host, "running")
    assert held.reached.wait(TIMEOUT)
    waiting = [post(host, accept=RECORDS_MEDIA_TYPE, **{"Idempotency-Key": key}) for key in "ab"]
    assert all("Render-Id" in answer.headers for answer in waiting)
    told = [decode_records(answer.iter_content(chunk_size=None)) for answer in waiting]
    first, second = (ProgressRecord(stage="queue", done=0, total=place) for place in (1, 2))
    assert next(told[0]).record == first
    assert next(told[1]).record == second
    state = health(host)
    assert (state["renders_running"], state["renders_max"], state["renders_waiting"]) == (1, 1, 2)
    refused = post(host, **{"Idempotency-Key": "c"})
    assert problem(refused, 503, EngineBusy.code)["retryable"] is True
    assert int(refused.headers["Retry-After"]) > 0
    assert post_held(host, "running").headers["Render-Id"] == running.headers["Render-Id"]
    problem(get(host, "c"), 404, "RENDER_NOT_FOUND")
    assert delete(host, "a").status_code == 204
    assert [framed.record for framed in told[0]][-1].type == "error"
    assert next(framed.record for framed in told[1] if framed.record != second) == first
    held.gate.set()
    assert isinstance([framed.record for framed in told[1]][-1], EndRecord)
    assert isinstance(records_of(running)[-1].record, EndRecord)


def test_a_waiting_caller_without_a_key_who_hangs_up_leaves_the_queue(
    host: str, held: HeldEngine
) -> None:
    post_held(host, "running")
    assert held.reached.wait(TIMEOUT)
    waiting = post(host, accept=RECORDS_MEDIA_TYPE)
    assert health(host)["renders_waiting"] == 1
    waiting.raw.close()
    waiting.close()
    wait_until(lambda: health(host)["renders_waiting"] == 0)


def test_a_render_that_nobody_listens_to_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ALONE_SECONDS", 0.0)
    monkeypatch.setattr(runs, "SWEEP_SECONDS", 0.001)
    app = create_app(Settings(engine_order="counting"), FAKES)
    with serving(app) as url:
        held = HeldEngine.latest
        held.gate.clear()
        listening = post_held(url, "alone")
        read_until(get(url, "alone"), 1)
        assert held.reached.wait(TIMEOUT)
        run = app.state.renders.find("alone")
        wait_until(lambda: run.listeners == 1)
        assert run.joinable
        read_until(listening, 2)
        wait_until(lambda: not run.joinable)
        held.gate.set()
        wait_until(lambda: health(url)["renders_running"] == 0)
        last = records_of(get(url, "alone"))[-1].record
    assert isinstance(last, ErrorRecord)
    assert last.error.code == "CANCELLED"


def test_an_answer_begins_before_its_caller_takes_the_line_for_broken(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "BEGIN_SECONDS", 0.0)
    gate = threading.Event()
    emit = runs.Run.emit

    def late(run: runs.Run, record: Record, payload: bytes) -> None:
        assert gate.wait(TIMEOUT)
        emit(run, record, payload)

    monkeypatch.setattr(runs.Run, "emit", late)
    answer = post(host, face=NOBODY, accept=RECORDS_MEDIA_TYPE)
    assert answer.status_code == 200
    records = decode_records(answer.iter_content(chunk_size=None))
    assert next(records).record == ProgressRecord(stage="decode", done=0, total=1)
    gate.set()
    assert [framed.record for framed in records][-1].type == "error"


def send(url: str, face: bytes | None, face_sha256: str | None) -> requests.Response:
    files = {"speech": SPEECH} | ({"face": face} if face else {})
    data = {"face_sha256": face_sha256} if face_sha256 else {}
    return requests.post(f"{url}/render", files=files, data=data, timeout=TIMEOUT)


def test_a_face_that_was_sent_before_is_named_by_its_hash(host: str) -> None:
    problem(send(host, None, HASH), 428, "FACE_NEEDED")
    whole = send(host, PORTRAIT, None)
    for named in (send(host, None, HASH), send(host, None, HASH.upper())):
        assert named.status_code == 200
        assert named.content == whole.content
    assert send(host, PORTRAIT, HASH).status_code == 200
    key = {"Idempotency-Key": "same"}
    by_file = post(host, **key)
    options = '{"engine": "counting", "max_height": 384}'
    by_hash = requests.post(
        f"{host}/render",
        files={"speech": SPEECH},
        data={"options": options, "face_sha256": HASH},
        headers=key,
        timeout=TIMEOUT,
    )
    assert by_hash.headers["Render-Id"] == by_file.headers["Render-Id"]


@pytest.mark.parametrize(
    ("face", "face_sha256", "status", "code"),
    [
        (None, None, 422, "INVALID_INPUT"),
        (None, "abc", 422, "INVALID_INPUT"),
        (None, "g" * 64, 422, "INVALID_INPUT"),
        (PORTRAIT, GONE, 422, "INVALID_INPUT"),
        (None, GONE, 428, "FACE_NEEDED"),
    ],
)
def test_a_face_that_is_not_there_or_not_what_its_hash_says_is_refused(
    host: str, face: bytes | None, face_sha256: str | None, status: int, code: str
) -> None:
    assert "face" in problem(send(host, face, face_sha256), status, code)["detail"]


def test_faces_beyond_the_budget_are_to_be_sent_again() -> None:
    settings = Settings(engine_order="counting", face_cache_bytes=len(PORTRAIT))
    with serving(create_app(settings, FAKES)) as url:
        assert send(url, PORTRAIT, None).status_code == 200
        assert send(url, None, HASH).status_code == 200
        problem(send(url, NOBODY, None), 422, "NO_FACE_FOUND")
        problem(send(url, None, HASH), 428, "FACE_NEEDED")


def test_a_face_that_is_sent_again_is_kept_once() -> None:
    app = create_app(Settings(engine_order="counting"), FAKES)
    with serving(app) as url:
        assert send(url, PORTRAIT, None).status_code == 200
        kept = app.state.faces.get(HASH)
        assert send(url, PORTRAIT, None).status_code == 200
        assert app.state.faces.get(HASH) is kept


def test_the_second_speech_of_a_face_is_rendered_without_looking_for_it(host: str) -> None:
    reports = []
    for speech in (SPEECH, LONG_SPEECH):
        last = records_of(post(host, speech=speech, accept=RECORDS_MEDIA_TYPE))[-1].record
        assert isinstance(last, EndRecord)
        reports.append(last.report)
    assert reports[0].stage_seconds["track"] > 0
    assert reports[1].stage_seconds["track"] == reports[1].stage_seconds["prepare"] == 0


def test_no_file_is_left_of_a_video_that_was_sent_or_whose_caller_has_gone(
    host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def left() -> list[Path]:
        return list(tmp_path.iterdir())

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert post(host).status_code == 200
    key = {"Idempotency-Key": "kept"}
    assert post(host, **key).status_code == 200
    wait_until(lambda: not left())
    send = FileResponse.__call__

    async def broken_off(answer: FileResponse, *args: Any) -> None:
        assert left()
        await send(answer, *args)
        raise OSError("the caller has gone")

    monkeypatch.setattr(FileResponse, "__call__", broken_off)
    assert post(host, **key).status_code == 200
    wait_until(lambda: not left())
