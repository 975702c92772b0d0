import itertools
import json
import socket
import threading

import pytest

from backend.gpu import rendering
from backend.gpu.client import GpuClient
from backend.gpu.rendering import MAX_BUSY_ANSWERS, RenderOrder
from backend.gpu.stop import Stop
from backend.staging.fragments import Fragments
from backend.staging.store import JobMedia
from contracts.errors import (
    Cancelled,
    EngineBusy,
    GpuRefused,
    GpuTimeout,
    GpuUnreachable,
    NoFaceFound,
    NotFound,
)
from contracts.lipsync import LipSyncOptions
from contracts.marks import PhonemeMark
from contracts.records import EndRecord, EventRecord, ProgressRecord
from tests.fakes.gpu_host import ENGINE, REPORT, gpu_host
from tests.fakes.tiny_video import tiny_fragments


@pytest.fixture
def media(tmp_path):
    media = JobMedia(tmp_path)
    media.face.write_bytes(b"a face")
    media.speech.write_bytes(b"a voice")
    return media


@pytest.fixture
def order(media):
    return RenderOrder(
        key="job1",
        face=media.face,
        speech=media.speech,
        options=LipSyncOptions(seed=7),
        marks=[PhonemeMark(start=0.5, end=0.75, phoneme="ʃ")],
    )


@pytest.fixture
def fragments(media):
    with Fragments(media) as fragments:
        yield fragments


@pytest.fixture
def render(order, fragments):
    """Renders, and gives the records; short of patience, so that tests of its end are quick."""

    def render(host_or_url, token="", stop=None, timeout_seconds=20.0, **patience):
        url = host_or_url if isinstance(host_or_url, str) else host_or_url.url
        client = GpuClient(url, token, timeout_seconds, pause_seconds=0.01, **patience)
        return list(client.render(order, fragments, stop or Stop(), unexpected))

    return render


def unexpected(died):
    raise AssertionError(died)


def test_what_was_ordered_arrives_and_what_was_rendered_comes_back(render, fragments):
    with gpu_host(token="a secret") as host:
        records = render(host, token="a secret")
    form, headers = host.forms[0], host.headers[0]
    assert (form["face"], form["speech"]) == (b"a face", b"a voice")
    assert json.loads(form["options"])["seed"] == 7
    assert json.loads(form["marks"]) == [{"start": 0.5, "end": 0.75, "phoneme": "ʃ"}]
    assert headers["Idempotency-Key"] == "job1"
    assert headers["ngrok-skip-browser-warning"]
    assert records[0].record == EventRecord(name="engine", value="counting")
    assert b"".join(framed.payload for framed in records) == tiny_fragments()
    assert fragments.path.read_bytes() == tiny_fragments()
    assert records[-1].record == EndRecord(report=REPORT)
    assert (fragments.report, fragments.host) == (REPORT, host.url)
    assert [fragments.render_id] == host.rendered


def test_each_record_is_on_disk_before_it_is_given(order, media, fragments):
    with gpu_host() as host:
        num_bytes = 0
        for framed in GpuClient(host.url, "").render(order, fragments, Stop(), unexpected):
            num_bytes += len(framed.payload)
            if num_bytes:
                assert fragments.path.stat().st_size == num_bytes
    assert Fragments(media).complete


def test_complete_fragments_need_no_host(render):
    with gpu_host() as host:
        render(host)
    assert [framed.record for framed in render(host)] == [EndRecord(report=REPORT)]


def test_the_engines_and_the_health_are_relayed():
    with gpu_host() as host:
        client = GpuClient(host.url, "", 5)
        assert client.engines() == [ENGINE]
        assert (client.health().device, client.health().renders_max) == ("cpu", 1)


def test_a_busy_host_is_asked_again(render):
    with gpu_host(busy_answers=2) as host:
        assert render(host)
        assert host.renders() == 3


def test_a_host_that_stays_busy_is_given_up(render):
    with gpu_host(busy_answers=99) as host:
        with pytest.raises(EngineBusy):
            render(host)
        assert host.renders() == MAX_BUSY_ANSWERS + 1


def test_a_host_may_ask_for_patience_up_to_a_limit(render, monkeypatch):
    waited = []

    class Patient(Stop):
        def wait(self, timeout=None):
            waited.append(timeout)
            return False

    monkeypatch.setattr(rendering, "MAX_RETRY_AFTER_SECONDS", 0.5)
    fault = EngineBusy("busy", retry_after_seconds=60)
    with gpu_host(fail_before=fault) as host, pytest.raises(EngineBusy):
        render(host, stop=Patient())
    assert waited == [0.5] * MAX_BUSY_ANSWERS


def test_nobody_there_is_unreachable_and_not_asked_again(render):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(GpuUnreachable) as failure:
            render(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout_seconds=1e9)
    assert "BACKEND_GPU_URL" in failure.value.hint


@pytest.mark.parametrize("url", ["http://gpu.invalid", "no address", "ftp://x"])
def test_a_wrong_address_is_unreachable(render, url):
    with pytest.raises(GpuUnreachable):
        render(url)


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_refused_with_the_setting_to_mend(render, token):
    with gpu_host(token="right") as host:
        with pytest.raises(GpuRefused) as failure:
            render(host, token=token)
        with pytest.raises(GpuRefused):
            GpuClient(host.url, token, 5).engines()
        with pytest.raises(GpuRefused):
            GpuClient(host.url, token, 5).cancel("job1")
    assert "BACKEND_GPU_TOKEN" in failure.value.hint
    assert "wrong" not in str(failure.value)


@pytest.mark.parametrize("moment", ["fail_before", "fail_within"])
def test_the_hosts_error_comes_back_as_itself(render, moment):
    fault = NoFaceFound("there is nobody", hint="turn round")
    with gpu_host(**{moment: fault}) as host, pytest.raises(NoFaceFound) as failure:
        render(host)
    assert (failure.value.detail, failure.value.hint) == ("there is nobody", "turn round")


def test_a_web_page_is_no_gpu_host(render):
    with gpu_host(babbles=True) as host:
        with pytest.raises(GpuUnreachable, match="no GPU host"):
            render(host, timeout_seconds=1e9)
        with pytest.raises(GpuUnreachable, match="no GPU host"):
            GpuClient(host.url, "", 5).engines()


def test_another_service_of_ours_is_no_gpu_host(render):
    fault = NotFound("there is nothing at /render")
    with gpu_host(fail_before=fault) as host, pytest.raises(GpuUnreachable) as failure:
        render(host, timeout_seconds=1e9)
    assert "BACKEND_GPU_URL" in failure.value.hint


def test_proxies_of_the_environment_are_not_asked_for_loopback(render, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with gpu_host() as host:
        assert render(host)


def test_a_large_face_is_sent_once_and_then_named_by_its_hash(render, order, media):
    face = bytes(300_000)
    media.face.write_bytes(face)
    with gpu_host() as host:
        render(host)
        assert [len(form.get("face", b"")) for form in host.forms] == [0, len(face)]
        assert host.rendered  # the first ask has begun nothing
        host.forget()
        for path in media.folder.glob("fragments*"):
            path.unlink()
        with Fragments(media) as again:
            client = GpuClient(host.url, "")
            assert list(client.render(order, again, Stop(), unexpected))
        assert len(host.forms) == 3
        assert "face" not in host.forms[2]


def test_a_face_that_is_smaller_than_the_speech_is_sent_at_once(render, media):
    media.face.write_bytes(bytes(300_000))
    media.speech.write_bytes(bytes(300_001))
    with gpu_host() as host:
        render(host)
        assert len(host.forms) == 1


def test_something_older_under_the_same_key_is_forgotten_by_the_host(render, media):
    with gpu_host() as host:
        render(host)
        media.speech.write_bytes(b"another voice")
        for path in media.folder.glob("fragments*"):
            path.unlink()
        with Fragments(media) as fragments:
            order = RenderOrder("job1", media.face, media.speech, LipSyncOptions())
            client = GpuClient(host.url, "")
            assert list(client.render(order, fragments, Stop(), unexpected))
        assert host.asked == ["POST job1", "POST job1", "DELETE job1", "POST job1"]


class Impatient(Stop):
    """Stops where it would have to wait."""

    def wait(self, timeout=None):
        self.set()
        return True


def test_waiting_for_a_busy_host_can_be_stopped(render):
    with gpu_host(fail_before=EngineBusy("busy", retry_after_seconds=30)) as host:
        with pytest.raises(Cancelled):
            render(host, stop=Impatient())
        assert host.renders() == 1


def test_waiting_for_a_silent_host_can_be_stopped(render):
    stop = Stop()
    gate = threading.Event()
    with gpu_host(gate=gate, silent=True) as host:
        stopper = threading.Thread(target=lambda: host.began.wait(20) and stop.set())
        stopper.start()
        with pytest.raises(Cancelled):
            render(host, stop=stop, stall_seconds=1e6)
        stopper.join()
        assert host.asked == ["POST job1", "DELETE job1"]


def test_a_render_can_be_stopped_between_records_and_the_host_stops_it(order, fragments):
    stop = Stop()
    with gpu_host() as host:
        records = GpuClient(host.url, "", 20).render(order, fragments, stop, unexpected)
        next(records)
        stop.set()
        with pytest.raises(Cancelled):
            next(records)
        assert host.asked == ["POST job1", "DELETE job1"]
    assert fragments.abandoned


def test_a_reader_who_leaves_after_a_stop_has_it_stopped_too(order, fragments):
    stop = Stop()
    with gpu_host() as host:
        records = GpuClient(host.url, "", 20).render(order, fragments, stop, unexpected)
        next(records)
        stop.set()
        records.close()
        assert host.asked == ["POST job1", "DELETE job1"]


def test_a_detached_render_is_left_to_the_next_process(order, media):
    stop = Stop()
    gate = threading.Event()
    with gpu_host(gate=gate, gate_after=6) as host:
        client = GpuClient(host.url, "")
        with Fragments(media) as fragments:
            records = client.render(order, fragments, stop, unexpected)
            seen = list(itertools.islice(records, 6))
            stop.detach()
            with pytest.raises(Cancelled):
                next(records)
            assert not fragments.abandoned
        gate.set()
        with Fragments(media) as fragments:
            rest = list(client.render(order, fragments, Stop(), unexpected))
        assert host.asked == ["POST job1", "GET job1 3"]
        assert len(host.rendered) == 1
    got = [*seen, *rest]
    assert b"".join(framed.payload for framed in got) == tiny_fragments()
    assert isinstance(rest[0].record, EventRecord)
    assert sum(isinstance(framed.record, ProgressRecord) for framed in rest) == 1


def test_a_host_that_can_not_be_told_to_stop_is_left_to_itself(order, fragments):
    stop = Stop()
    with gpu_host() as host:
        records = GpuClient(host.url, "", 20).render(order, fragments, stop, unexpected)
        next(records)
        host.babbles = True
        stop.set()
        with pytest.raises(Cancelled):
            next(records)


def test_a_render_is_cancelled_by_its_key():
    with gpu_host() as host:
        assert GpuClient(host.url, "").cancel("job1") is False


def test_a_silent_host_times_out(render):
    gate = threading.Event()
    with gpu_host(gate=gate, silent=True) as host, pytest.raises(GpuTimeout):
        render(host, timeout_seconds=0.2, stall_seconds=0.05)
