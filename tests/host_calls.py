"""Calls of a GPU host, as its callers make them."""

import io
from typing import Any

import av
import requests

from contracts.lipsync import LipSyncOptions
from contracts.records import RECORDS_MEDIA_TYPE, Framed, decode_records
from tests.media import SAMPLES, tone, wav

FAKES = {
    "counting": "tests.fakes.engine:CountingEngine",
    "gated": "tests.fakes.gated_engine:GatedEngine",
    "broken": "tests.fakes.gated_engine:BrokenEngine",
    "held": "tests.fakes.gated_engine:HeldEngine",
}
"""Engines by name, as `create_app` takes them."""
PORTRAIT = (SAMPLES / "portrait.jpg").read_bytes()
SPEECH = wav(tone(1.0, 16_000), 16_000)
TIMEOUT = 60


def health(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(f"{url}/health", timeout=TIMEOUT).json()
    return answer


def post(
    url: str,
    engine: str = "counting",
    *,
    face: bytes = PORTRAIT,
    speech: bytes = SPEECH,
    accept: str = "video/mp4",
    fields: dict[str, str] | None = None,
    **headers: str,
) -> requests.Response:
    options = LipSyncOptions(engine=engine, max_height=384)
    return requests.post(
        f"{url}/render",
        files={"face": face, "speech": speech},
        data={"options": options.model_dump_json()} | (fields or {}),
        headers={"Accept": accept, **headers},
        timeout=TIMEOUT,
        stream=accept == RECORDS_MEDIA_TYPE,
    )


def records_of(answer: requests.Response) -> list[Framed]:
    assert answer.headers["Content-Type"] == RECORDS_MEDIA_TYPE
    return list(decode_records(answer.iter_content(chunk_size=None)))


def num_pictures(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as video:
        return sum(1 for _ in video.decode(video=0))


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["hint"]
    assert len(body["request_id"]) == 32
    return body
