"""The GPU host over a real loopback socket, as its callers meet it."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from backend.gpu.client import GpuClient
from contracts.lipsync import EngineStatus, LipSyncOptions
from contracts.records import (
    RECORDS_MEDIA_TYPE,
    EndRecord,
    ErrorRecord,
    EventRecord,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    decode_records,
)
from gpu_service.app import create_app
from gpu_service.engines.registry import ENGINES
from gpu_service.settings import Settings
from tests.fakes.gated_engine import GatedEngine
from tests.fakes.serving import serving
from tests.fakes.uploads import huge_png
from tests.fakes.weighty_engine import WEIGHTY, Weighty, install
from tests.host_calls import (
    FAKES,
    PORTRAIT,
    SPEECH,
    TIMEOUT,
    health,
    num_pictures,
    post,
    problem,
    records_of,
)
from tests.media import media_file, picture, saved, tone, wav
from tests.processes import wait_until

KNOWN = FAKES | {
    "absent": "gpu_service.no_such_module:Engine",
    "wav2lip": ENGINES["wav2lip"],
}
TOKEN = "canary-7f3a"
MAX_UPLOAD_BYTES = 20_000_000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        engine_order="absent,wav2lip,counting",
        max_queue=0,
        avatar_cache_bytes=0,
        max_upload_bytes=MAX_UPLOAD_BYTES,
        weights_dir=tmp_path_factory.mktemp("weights"),
    )
    with serving(create_app(settings, KNOWN)) as url:
        yield url


@pytest.fixture
def gated(host: str) -> Iterator[GatedEngine]:
    engine = GatedEngine.latest
    engine.waiting.clear()
    engine.closed.clear()
    engine.num_patches = 0
    yield engine
    engine.gate.set()
    wait_until(lambda: health(host)["renders_running"] == 0)


def test_a_render_answers_with_one_mp4(host: str) -> None:
    answer = post(host, **{"Idempotency-Key": "job-1"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["X-Engine"] == "counting"
    assert len(answer.headers["Render-Id"]) == 32
    assert num_pictures(answer.content) == 25
    assert answer.content.find(b"moov") < answer.content.find(b"mdat")


def test_a_render_answers_with_records_whose_fragments_are_the_video(host: str) -> None:
    answer = post(host, accept=RECORDS_MEDIA_TYPE)
    assert answer.headers["X-Engine"] == "counting"
    framed = records_of(answer)
    assert framed[0].record == EventRecord(name="engine", value="counting")
    media = [f for f in framed if isinstance(f.record, InitRecord | MediaRecord)]
    assert [f.record.seq for f in media if not isinstance(f.record, EventRecord)] == list(
        range(len(media))
    )
    assert num_pictures(b"".join(f.payload for f in media)) == 25
    end = framed[-1].record
    assert isinstance(end, EndRecord)
    assert end.report.num_frames == 25


def test_auto_is_resolved_by_the_hosts_order(host: str) -> None:
    assert post(host, "auto").headers["X-Engine"] == "counting"


@pytest.mark.parametrize("accept", ["video/mp4", RECORDS_MEDIA_TYPE])
@pytest.mark.parametrize(
    ("face", "speech", "status", "code"),
    [
        (saved(picture(300, 300), "PNG"), SPEECH, 422, "NO_FACE_FOUND"),
        (PORTRAIT[:9000], SPEECH, 422, "UNDECODABLE_MEDIA"),
        (b"ffconcat version 1.0\nfile other.mp4\n", SPEECH, 415, "UNSUPPORTED_MEDIA"),
        (huge_png(), SPEECH, 413, "IMAGE_TOO_LARGE"),
        (PORTRAIT, media_file("mp4", video="libx264"), 422, "SOUND_MISSING"),
        (PORTRAIT, wav(tone(0), 16_000), 422, "SPEECH_EMPTY"),
        (PORTRAIT, wav(tone(601, 8_000), 8_000), 413, "SPEECH_TOO_LONG"),
    ],
    ids=["no face", "cut short", "playlist", "81 megapixels", "no sound", "empty", "too long"],
)
def test_bad_input_is_a_problem_of_its_own(
    host: str, accept: str, face: bytes, speech: bytes, status: int, code: str
) -> None:
    answer = post(host, face=face, speech=speech, accept=accept)
    if accept == RECORDS_MEDIA_TYPE and code == "NO_FACE_FOUND":
        last = records_of(answer)[-1].record  # the face is looked for once records flow
        assert isinstance(last, ErrorRecord)
        assert (last.error.code, last.error.status) == (code, status)
        return
    problem(answer, status, code)


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"options": '{"engine": "dream"}'}, 404, "ENGINE_NOT_FOUND", "dream"),
        ({"options": '{"engine": "absent"}'}, 503, "ENGINE_UNAVAILABLE", "no_such_module"),
        ({"options": '{"fps": 5}'}, 422, "OPTION_REJECTED", "fps"),
        ({"options": '{"colour": "red", "seed": -1}'}, 422, "OPTION_REJECTED", "seed"),
        ({"options": "not json"}, 422, "OPTION_REJECTED", "JSON"),
        ({"marks": '[{"start": -1, "end": 0, "phoneme": "a"}]'}, 422, "INVALID_INPUT", "start"),
        ({"marks": '[{"start": 0, "end": Infinity, "phoneme": "a"}]'}, 422, "INVALID_INPUT", "end"),
    ],
)
def test_a_wrong_option_is_named(
    host: str, fields: dict[str, str], status: int, code: str, named: str
) -> None:
    body = problem(post(host, fields=fields), status, code)
    assert named in body["detail"]
    if code == "OPTION_REJECTED":
        assert body["field"] == ("options" if named == "JSON" else named)


def test_a_missing_field_is_named(host: str) -> None:
    answer = requests.post(f"{host}/render", files={"face": PORTRAIT}, timeout=TIMEOUT)
    assert "speech" in problem(answer, 422, "INVALID_INPUT")["detail"]


def test_a_key_with_foreign_characters_is_refused(host: str) -> None:
    problem(post(host, **{"Idempotency-Key": "a b"}), 422, "INVALID_INPUT")


def test_addresses_and_methods_that_are_not_there_are_problems(host: str) -> None:
    missing = problem(requests.get(f"{host}/nothing", timeout=TIMEOUT), 404, "NOT_FOUND")
    assert "/openapi.json" in missing["hint"]
    problem(requests.get(f"{host}/docs", timeout=TIMEOUT), 404, "NOT_FOUND")
    refused = requests.get(f"{host}/render", timeout=TIMEOUT)
    problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert refused.headers["Allow"] == "POST"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(
    host: str, declared: bool
) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="face"; filename="face"\r\n\r\n'
    body = part + bytes(MAX_UPLOAD_BYTES + 1_000_000)
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    answer = requests.post(
        f"{host}/render",
        data=body if declared else chunks,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        timeout=TIMEOUT,
    )
    assert "20 MB" in problem(answer, 413, "MEDIA_TOO_LARGE")["detail"]


def test_an_engine_with_a_bug_is_a_problem_and_its_cause_is_logged(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    problem(post(host, "broken"), 500, "RENDER_FAILED")
    last = records_of(post(host, "broken", accept=RECORDS_MEDIA_TYPE))[-1].record
    assert isinstance(last, ErrorRecord)
    assert last.error.code == "RENDER_FAILED"
    assert "a bug of the engine" in caplog.text


def test_one_render_too_many_is_told_when_to_come_back_and_the_host_stays_awake(
    host: str, gated: GatedEngine
) -> None:
    gated.gate.clear()
    answers: list[requests.Response] = []
    first = threading.Thread(target=lambda: answers.append(post(host, "gated")))
    first.start()
    assert gated.waiting.wait(TIMEOUT)
    assert health(host)["renders_running"] == 1
    for accept in ("video/mp4", RECORDS_MEDIA_TYPE):
        refused = post(host, accept=accept)
        assert problem(refused, 503, "ENGINE_BUSY")["retryable"] is True
        assert int(refused.headers["Retry-After"]) > 0
    gated.gate.set()
    first.join()
    assert answers[0].status_code == 200
    wait_until(lambda: health(host)["renders_running"] == 0)
    assert post(host).status_code == 200


def test_progress_is_repeated_while_nothing_else_flows(
    host: str, gated: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_service.routes.rendering.HEARTBEAT_SECONDS", 0.02)
    gated.gate.clear()
    silent = 0
    for framed in decode_records(
        post(host, "gated", accept=RECORDS_MEDIA_TYPE).iter_content(chunk_size=None)
    ):
        if isinstance(framed.record, ProgressRecord) and framed.record.stage == "prepare":
            silent += 1
        if silent == 5:
            gated.gate.set()
    assert silent >= 5
    assert isinstance(framed.record, EndRecord)


def test_a_caller_of_records_who_hangs_up_stops_the_render(host: str, gated: GatedEngine) -> None:
    long_speech = wav(tone(590, 8_000), 8_000)
    answer = post(host, "gated", speech=long_speech, accept=RECORDS_MEDIA_TYPE)
    records = decode_records(answer.iter_content(chunk_size=None))
    assert next(f for f in records if isinstance(f.record, MediaRecord))
    answer.raw.close()
    answer.close()
    assert gated.closed.wait(TIMEOUT)
    assert gated.num_patches < 590 * 25 / 2


def test_a_caller_of_an_mp4_who_hangs_up_stops_the_render(host: str, gated: GatedEngine) -> None:
    gated.gate.clear()
    options = LipSyncOptions(engine="gated", max_height=384).model_dump_json()
    asked = requests.Request(
        "POST",
        f"{host}/render",
        files={"face": PORTRAIT, "speech": wav(tone(590, 8_000), 8_000)},
        data={"options": options},
    ).prepare()
    with closing(HTTPConnection(host.removeprefix("http://"))) as caller:
        caller.request("POST", "/render", asked.body, dict(asked.headers))
        assert gated.waiting.wait(TIMEOUT)
    gated.gate.set()
    wait_until(lambda: health(host)["renders_running"] == 0)
    assert gated.num_patches < 590 * 25 / 2


def test_run_wav2lip_says_that_the_checkpoint_is_missing_unless_auto_is_asked_for(
    host: str,
) -> None:
    files = {"image": PORTRAIT, "audio": SPEECH}
    refused = requests.post(f"{host}/run-wav2lip", files=files, timeout=TIMEOUT)
    assert "weights add" in problem(refused, 503, "CHECKPOINT_MISSING")["hint"]
    answer = requests.post(
        f"{host}/run-wav2lip", files=files, data={"engine": "auto"}, timeout=TIMEOUT
    )
    assert answer.status_code == 200
    assert answer.headers["X-Engine"] == "counting"
    assert num_pictures(answer.content) == 25


def test_engines_say_which_are_ready_and_why_one_is_not(host: str) -> None:
    answer = requests.get(f"{host}/engines", timeout=TIMEOUT)
    statuses = {s["info"]["name"]: EngineStatus.model_validate(s) for s in answer.json()}
    assert set(statuses) == set(KNOWN)
    assert statuses["counting"].ready
    assert "pip install" in statuses["absent"].reason
    assert set(health(host)["engines_ready"]) == set(KNOWN) - {"absent", "wav2lip"}


def test_engines_say_what_they_run_on_and_how_fast_their_renders_were(host: str) -> None:
    def counting() -> EngineStatus:
        statuses = GpuClient(host, "", TIMEOUT).engines()
        assert [status.info.name for status in statuses[:3]] == ["absent", "wav2lip", "counting"]
        assert [status.auto for status in statuses] == [True] * 3 + [False] * (len(KNOWN) - 3)
        return statuses[2]

    assert post(host).status_code == 200
    whole = counting()
    assert (whole.device, whole.runtime, whole.precision) == ("cpu", "built-in", "fp32")
    assert whole.real_time
    assert whole.real_time > 0
    problem(post(host, "broken"), 500, "RENDER_FAILED")
    assert records_of(post(host, "gated", accept=RECORDS_MEDIA_TYPE))
    by_name = {status.info.name: status for status in GpuClient(host, "", TIMEOUT).engines()}
    assert by_name["broken"].real_time is None
    assert by_name["gated"].real_time


def test_while_an_engine_is_loaded_the_host_answers_and_a_render_waits(tmp_path: Path) -> None:
    Weighty.forget()
    settings = Settings(engine_order="weighty,counting", weights_dir=tmp_path)
    with serving(create_app(settings, WEIGHTY | KNOWN)) as url:
        assert post(url, "auto").headers["X-Engine"] == "counting"
        Weighty.gate.clear()
        install(tmp_path, b"fits")
        answers: list[requests.Response] = []
        render = threading.Thread(target=lambda: answers.append(post(url, "auto")))
        render.start()
        wait_until(lambda: health(url)["renders_running"] == 1)
        assert health(url)["engines_loading"] == ["weighty"]
        weighty = GpuClient(url, "", TIMEOUT).engines()[0]
        assert (weighty.info.name, weighty.ready, weighty.loading) == ("weighty", False, True)
        assert not answers
        Weighty.gate.set()
        render.join()
        assert answers[0].headers["X-Engine"] == "weighty"
        assert health(url)["engines_loading"] == []
        assert len(Weighty.begun) == 1


def test_without_a_token_programs_may_call_and_web_pages_may_not() -> None:
    page = {"Origin": "https://elsewhere.example"}
    with serving(create_app(Settings(), KNOWN)) as url:
        assert requests.get(f"{url}/engines", timeout=9).status_code == 200
        refused = requests.post(f"{url}/render", headers=page, timeout=9)
        assert (refused.status_code, refused.json()["code"]) == (403, "ORIGIN_REFUSED")
        assert requests.get(f"{url}/health", headers=page, timeout=9).status_code == 200


def test_with_a_token_only_health_is_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(create_app(Settings(token=TOKEN), KNOWN)) as url:
        assert health(url)["status"] == "ok"
        for path in ("/engines", "/render", "/docs", "/nothing"):
            for sent in ("", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"):
                answer = requests.get(url + path, headers={"Authorization": sent}, timeout=TIMEOUT)
                problem(answer, 401, "NOT_AUTHORIZED")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        problem(post(url), 401, "NOT_AUTHORIZED")
        assert post(url, Authorization=f"Bearer {TOKEN}").status_code == 200
    assert TOKEN not in caplog.text


def test_every_route_and_its_errors_are_described(host: str) -> None:
    described = json.loads(requests.get(f"{host}/openapi.json", timeout=TIMEOUT).content)
    others = {"/media/{sha256}", "/run-wav2lip", "/engines", "/health"}
    assert set(described["paths"]) == {"/render", "/render/{key}", *others}
    answers = described["paths"]["/render"]["post"]["responses"]
    assert set(answers["200"]["content"]) >= {"video/mp4", RECORDS_MEDIA_TYPE}
    assert "application/problem+json" in answers["503"]["content"]
    form = next(iter(described["paths"]["/render"]["post"]["requestBody"]["content"].values()))
    fields = described["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]
    options = fields["properties"]["options"]
    LipSyncOptions.model_validate_json(options["examples"][0])
    assert set(options["contentSchema"]["properties"]) == set(LipSyncOptions.model_fields)
    assert all(field["description"] for field in options["contentSchema"]["properties"].values())
