import json
import socket
import threading

import pytest

from backend.gpu import client as client_module
from backend.gpu.client import MAX_BUSY_ANSWERS, GpuClient, RenderOrder
from contracts.errors import (
    Cancelled,
    EngineBusy,
    GpuAnswerBroken,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    LipSyncError,
    NoFaceFound,
    NotFound,
)
from contracts.lipsync import LipSyncOptions
from contracts.marks import PhonemeMark
from contracts.records import EndRecord
from tests.fakes.gpu_host import ENGINE, REPORT, gpu_host, tiny_fragments


@pytest.fixture
def order(tmp_path):
    (tmp_path / "face").write_bytes(b"a face")
    (tmp_path / "speech").write_bytes(b"a voice")
    return RenderOrder(
        key="job1",
        face=tmp_path / "face",
        speech=tmp_path / "speech",
        options=LipSyncOptions(seed=7),
        marks=[PhonemeMark(start=0.5, end=0.75, phoneme="ʃ")],
    )


def render(host_or_url, order, token="", stop=None, timeout_seconds=20.0):
    url = host_or_url if isinstance(host_or_url, str) else host_or_url.url
    return list(GpuClient(url, token, timeout_seconds).render(order, stop or threading.Event()))


def test_what_was_ordered_arrives_and_what_was_rendered_comes_back(order):
    with gpu_host(token="a secret") as host:
        records = render(host, order, token="a secret")
    form, headers = host.forms[0], host.headers[0]
    assert (form["face"], form["speech"]) == (b"a face", b"a voice")
    assert json.loads(form["options"])["seed"] == 7
    assert json.loads(form["marks"]) == [{"start": 0.5, "end": 0.75, "phoneme": "ʃ"}]
    assert headers["Idempotency-Key"] == "job1"
    assert headers["ngrok-skip-browser-warning"]
    assert b"".join(framed.payload for framed in records) == tiny_fragments()
    assert isinstance(records[-1].record, EndRecord)
    assert records[-1].record.report == REPORT


def test_the_engines_are_relayed():
    with gpu_host() as host:
        assert GpuClient(host.url, "", 5).engines() == [ENGINE]


def test_a_busy_host_is_asked_again(order):
    with gpu_host(busy_answers=2) as host:
        assert render(host, order)
        assert host.renders() == 3


def test_a_host_that_stays_busy_is_given_up(order):
    with gpu_host(busy_answers=99) as host:
        with pytest.raises(EngineBusy):
            render(host, order)
        assert host.renders() == MAX_BUSY_ANSWERS + 1


def test_waiting_for_a_busy_host_can_be_stopped(order):
    stop = threading.Event()
    stop.set()
    with gpu_host(busy_answers=99) as host:
        with pytest.raises(Cancelled):
            render(host, order, stop=stop)
        assert host.renders() == 1


def test_a_render_can_be_stopped_between_records(order):
    stop = threading.Event()
    with gpu_host() as host:
        records = GpuClient(host.url, "", 20).render(order, stop)
        next(records)
        stop.set()
        with pytest.raises(Cancelled):
            list(records)


def test_nobody_there_is_unreachable_and_not_asked_again(order):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(GpuUnreachable) as failure:
            render(f"http://127.0.0.1:{taken.getsockname()[1]}", order)
    assert "BACKEND_GPU_URL" in failure.value.hint


@pytest.mark.parametrize("url", ["http://gpu.invalid", "no address", "ftp://x"])
def test_a_wrong_address_is_unreachable(order, url):
    with pytest.raises(GpuUnreachable):
        render(url, order)


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_refused_with_the_setting_to_mend(order, token):
    with gpu_host(token="right") as host:
        with pytest.raises(GpuRefused) as failure:
            render(host, order, token=token)
        with pytest.raises(GpuRefused):
            GpuClient(host.url, token, 5).engines()
    assert "BACKEND_GPU_TOKEN" in failure.value.hint
    assert "wrong" not in str(failure.value)


@pytest.mark.parametrize("num_records", [0, 1, 3, 5])
def test_a_host_that_dies_within_its_answer_is_told(order, num_records):
    with gpu_host(dies_after=num_records) as host, pytest.raises(GpuAnswerBroken):
        render(host, order)


def test_an_answer_without_an_end_is_broken(order):
    with gpu_host(ends_early=True) as host, pytest.raises(GpuAnswerBroken):
        render(host, order)


def test_a_silent_host_times_out(order):
    gate = threading.Event()
    with gpu_host(gate=gate, silent=True) as host:
        with pytest.raises(GpuTimeout):
            render(host, order, timeout_seconds=0.2)
        gate.set()


@pytest.mark.parametrize("moment", ["fail_before", "fail_within"])
def test_the_hosts_error_comes_back_as_itself(order, moment):
    fault = NoFaceFound("there is nobody", hint="turn round")
    with gpu_host(**{moment: fault}) as host, pytest.raises(NoFaceFound) as failure:
        render(host, order)
    assert (failure.value.detail, failure.value.hint) == ("there is nobody", "turn round")


def test_a_web_page_is_no_gpu_host(order):
    with gpu_host(babbles=True) as host:
        with pytest.raises(GpuAnswerBroken):
            render(host, order)
        with pytest.raises(GpuAnswerBroken):
            GpuClient(host.url, "", 5).engines()


def test_another_service_of_ours_is_no_gpu_host(order):
    fault = NotFound("there is nothing at /render")
    with gpu_host(fail_before=fault) as host, pytest.raises(GpuAnswerBroken) as failure:
        render(host, order)
    assert "BACKEND_GPU_URL" in failure.value.hint


def test_proxies_of_the_environment_are_not_asked_for_loopback(order, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with gpu_host() as host:
        assert render(host, order)


def test_a_host_may_ask_for_patience_up_to_a_limit(order, monkeypatch):
    waited = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return False

    monkeypatch.setattr(client_module, "MAX_RETRY_AFTER_SECONDS", 0.5)
    fault = EngineBusy("busy")
    with gpu_host(fail_before=fault) as host, pytest.raises(LipSyncError):
        render(host, order, stop=Stop())
    assert waited
    assert max(waited) <= 0.5
