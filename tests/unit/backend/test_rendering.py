import itertools
import os
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests_toolbelt import MultipartEncoder

from backend.gpu import rendering
from backend.gpu.client import GpuClient
from backend.gpu.rendering import LOST, RenderOrder
from backend.gpu.stop import Stop
from backend.staging.fragments import Fragments, FragmentsReader
from backend.staging.store import JobMedia
from contracts.errors import (
    Cancelled,
    EngineError,
    GpuHostDied,
    GpuTimeout,
    GpuUnreachable,
    RenderFailed,
)
from contracts.lipsync import LipSyncOptions
from contracts.records import EndRecord, EventRecord, InitRecord, MediaRecord
from tests.fakes.gpu_host import gpu_host
from tests.fakes.pausing import Pausing
from tests.fakes.proxy import proxy_before
from tests.fakes.tiny_video import tiny_fragments
from tests.processes import wait_until

WHOLE = tiny_fragments()
NUM_FRAGMENTS = 5
HEAD = 2
"""The engine and a progress come first."""


@pytest.fixture
def media(tmp_path):
    media = JobMedia(tmp_path)
    media.face.write_bytes(b"a face")
    media.speech.write_bytes(b"a voice")
    return media


@pytest.fixture
def fragments(media):
    with Fragments(media) as fragments:
        yield fragments


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def proxy(host):
    with proxy_before(host.url) as proxy:
        yield proxy


class Deaths(list):
    """The deaths of the host that were told, of which so many are borne."""

    borne = 99

    def __call__(self, died):
        assert isinstance(died, GpuHostDied)
        self.append(died)
        if len(self) > self.borne:
            raise RenderFailed("too many")


@pytest.fixture
def deaths():
    return Deaths()


@pytest.fixture
def render(media, fragments, host, deaths):
    """A render's records one by one, by default at the host itself."""
    order = RenderOrder("job1", media.face, media.speech, LipSyncOptions())

    def render(url="", stop=None, timeout_seconds=20.0, stall_seconds=10.0, into=fragments):
        client = GpuClient(url or host.url, "", timeout_seconds, stall_seconds=stall_seconds)
        return client.render(order, into, stop or Pausing(), deaths)

    return render


def assert_whole(records, fragments):
    """Each fragment came once, in order, and the file is that of an undisturbed render."""
    parts = [f for f in records if isinstance(f.record, InitRecord | MediaRecord)]
    assert [framed.record.seq for framed in parts] == list(range(NUM_FRAGMENTS + 1))
    assert fragments.path.read_bytes() == WHOLE
    assert isinstance(records[-1].record, EndRecord)
    assert fragments.complete


@pytest.mark.parametrize("num_bytes", [0, 1, 300, 5000])
def test_a_connection_that_breaks_is_gone_on_with(render, fragments, host, num_bytes):
    host.cuts = [num_bytes]
    records = list(render())
    events = [each.record.name for each in records if isinstance(each.record, EventRecord)]
    assert events.count(LOST) == 1
    assert_whole(records, fragments)
    assert host.asked == ["POST job1", host.asked[1]]
    assert host.asked[1].startswith("GET job1 ")
    assert len(host.rendered) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cuts=st.lists(st.integers(0, len(WHOLE) // 2), max_size=12),
    leaves=st.lists(st.integers(0, 12), max_size=3),
)
def test_whatever_the_cuts_and_restarts_of_the_backend_the_video_is_the_same(
    tmp_path_factory, cuts, leaves
):
    media = JobMedia(tmp_path_factory.mktemp("job"))
    media.face.write_bytes(b"a face")
    media.speech.write_bytes(b"a voice")
    order = RenderOrder("job1", media.face, media.speech, LipSyncOptions())
    seen = []
    with gpu_host(cuts=cuts) as host:
        client = GpuClient(host.url, "")
        for num_records in (*leaves, None):
            with Fragments(media) as fragments:
                records = client.render(order, fragments, Pausing(), pytest.fail)
                seen += itertools.islice(records, num_records)
                records.close()
        assert_whole(seen, fragments)
        assert len(host.rendered) == 1


def test_a_request_that_broke_before_its_answer_is_repeated_and_joins(render, fragments, host):
    host.hangs_up = 2
    assert_whole(list(render()), fragments)
    assert host.asked == ["POST job1"] * 3
    assert len(host.rendered) == 1


def test_an_answer_that_ends_too_early_is_gone_on_with(render, fragments, host):
    host.ends_early = True
    stop = Pausing(lambda: host.mend("job1"))
    assert_whole(list(render(stop=stop)), fragments)
    assert host.asked == ["POST job1", f"GET job1 {NUM_FRAGMENTS + 1}"]


def test_a_connection_that_stalls_without_closing_is_gone_on_with(
    render, fragments, host, proxy, monkeypatch
):
    # However long an answer may be awaited, once it has begun it must not stall.
    monkeypatch.setattr(rendering, "UPLOAD_PATIENCE", 1e6)
    host.gate, host.gate_after = threading.Event(), 6
    stop = Pausing(host.gate.set, proxy.go_on)
    records = render(proxy.url, stop, stall_seconds=1.0)
    seen = list(itertools.islice(records, 6))
    proxy.stall()
    assert_whole([*seen, *records], fragments)
    assert stop.num_pauses == 2
    assert host.asked[0] == "POST job1"
    assert set(host.asked[1:]) == {"GET job1 3"}


def test_a_host_that_refuses_for_a_while_is_waited_for(render, fragments, host, proxy):
    host.gate, host.gate_after = threading.Event(), 6
    stop = Pausing(lambda: None, lambda: None, host.gate.set, proxy.go_on)
    records = render(proxy.url, stop)
    seen = list(itertools.islice(records, 6))
    proxy.refuse()
    assert_whole([*seen, *records], fragments)
    assert stop.num_pauses == 4


@pytest.mark.parametrize(("trouble", "error"), [("refuse", GpuUnreachable), ("stall", GpuTimeout)])
def test_patience_ends_and_the_next_call_goes_on(render, fragments, host, proxy, trouble, error):
    records = render(proxy.url, timeout_seconds=0.0, stall_seconds=1.0)
    host.gate, host.gate_after = threading.Event(), 6
    seen = list(itertools.islice(records, 6))
    getattr(proxy, trouble)()
    with pytest.raises(error):
        next(records)
    host.gate.set()
    proxy.go_on()
    assert_whole([*seen, *render(proxy.url)], fragments)
    assert host.asked == ["POST job1", "GET job1 3"]


def test_patience_ends_where_answers_break_with_nothing_new(render, host, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(rendering.time, "monotonic", lambda: next(seconds))
    host.dies_after = HEAD
    with pytest.raises(GpuUnreachable, match="can't be resumed"):
        list(render(timeout_seconds=9))


def test_patience_begins_anew_with_every_fragment(render, fragments, host, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(rendering.time, "monotonic", lambda: next(seconds))
    host.dies_after = HEAD + 1
    assert_whole(list(render(timeout_seconds=1)), fragments)


def test_a_host_that_was_restarted_renders_anew(render, fragments, host, media, deaths):
    host.gate, host.gate_after = threading.Event(), 6
    records = render(stop=Pausing(host.gate.set))
    next(itertools.islice(records, 5, None))
    viewer = FragmentsReader(media)
    host.restart()
    assert_whole(list(records), fragments)
    viewer.refresh()
    assert viewer.replaced
    assert len(deaths) == 1
    assert fragments.stream == 2
    assert host.asked == ["POST job1", "GET job1 3", "POST job1"]
    assert [fragments.render_id] == host.rendered[1:]


def test_a_render_that_the_host_made_anew_meanwhile_is_taken_from_its_start(
    render, fragments, host, deaths
):
    records = render()
    next(itertools.islice(records, 5, None))
    host.replace("job1")
    host.cut()
    records.close()
    assert_whole(list(render()), fragments)
    assert len(deaths) == 1
    assert len(host.rendered) == 2


def test_the_caller_may_give_up_when_the_host_died_and_the_next_call_begins_anew(
    render, fragments, host, deaths
):
    deaths.borne = 0
    records = render()
    next(itertools.islice(records, 5, None))
    records.close()
    host.restart()
    with pytest.raises(RenderFailed):
        list(render())
    assert_whole(list(render()), fragments)
    assert len(deaths) == 1


def test_after_an_error_of_the_engine_the_next_call_renders_anew(render, fragments, host, deaths):
    host.fail_within = RenderFailed("a bug")
    with pytest.raises(EngineError, match="a bug"):
        list(render())
    host.fail_within = None
    assert_whole(list(render()), fragments)
    assert host.asked == ["POST job1", "POST job1"]
    assert deaths == []


def test_what_the_host_stopped_because_nobody_listened_is_no_death(render, fragments, host, deaths):
    host.gate, host.gate_after = threading.Event(), 6
    records = render(stop=Pausing(host.gate.set))
    next(itertools.islice(records, 5, None))
    host.delete("job1")
    assert_whole(list(records), fragments)
    assert deaths == []


def test_what_the_host_forgot_after_its_time_is_no_death(render, fragments, host, media, deaths):
    records = render()
    next(itertools.islice(records, 5, None))
    records.close()
    host.restart()
    long_ago = time.time() - 16 * 60
    os.utime(media.fragments_index, (long_ago, long_ago))
    assert_whole(list(render()), fragments)
    assert deaths == []


def test_a_host_that_dies_after_long_preparations_has_died(render, fragments, host, media, deaths):
    host.gate, host.gate_after = threading.Event(), 6
    records = render(stop=Pausing(host.gate.set))
    next(itertools.islice(records, 5, None))
    long_ago = time.time() - 16 * 60
    os.utime(media.fragments_index, (long_ago, long_ago))
    host.restart()
    assert_whole(list(records), fragments)
    assert len(deaths) == 1


def test_another_host_renders_from_the_start_and_nobody_died(render, fragments, deaths):
    records = render()
    next(itertools.islice(records, 5, None))
    records.close()
    with gpu_host() as other:
        assert_whole(list(render(other.url)), fragments)
        assert other.asked == ["POST job1"]
        assert fragments.host == other.url
    assert deaths == []


def test_the_same_host_at_another_address_goes_on(render, fragments, proxy, host):
    records = render(proxy.url)
    seen = list(itertools.islice(records, 6))
    records.close()
    assert_whole([*seen, *render()], fragments)
    assert host.asked == ["POST job1", "POST job1"]
    assert fragments.stream == 1


def test_a_video_that_came_to_nothing_is_rendered_anew_and_not_given_again(render, fragments, host):
    list(render())
    fragments.abandon()
    assert_whole(list(render()), fragments)
    assert host.asked == ["POST job1", "DELETE job1", "POST job1"]
    assert len(host.rendered) == 2


def test_a_stop_reaches_who_waits_for_a_stalled_connection(render, host, proxy):
    stop = Stop()
    host.gate, host.gate_after = threading.Event(), 6
    records = render(proxy.url, stop, stall_seconds=1e6)
    next(itertools.islice(records, 5, None))
    proxy.stall()
    reading = threading.Event()

    def read():
        reading.set()
        with pytest.raises(Cancelled):
            next(records)

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(20)
    stop.detach()
    thread.join(20)
    assert not thread.is_alive()


def test_a_stop_reaches_who_uploads_to_a_host_that_does_not_read(render, media, proxy, monkeypatch):
    media.speech.write_bytes(bytes(30_000_000))  # more than the buffers between here and there hold
    stop, uploading = Stop(), threading.Event()
    read = MultipartEncoder.read

    def reading(body, size=-1):
        uploading.set()
        return read(body, size)

    monkeypatch.setattr(MultipartEncoder, "read", reading)
    proxy.stall()

    def upload():
        with pytest.raises(Cancelled):
            list(render(proxy.url, stop, stall_seconds=1e6))

    thread = threading.Thread(target=upload)
    thread.start()
    assert uploading.wait(20)
    stop.detach()
    thread.join(20)
    assert not thread.is_alive()


def test_a_full_disk_leaves_no_connection_open(render, fragments, host, monkeypatch):
    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(fragments, "start_over", full)
    host.gate = threading.Event()
    with pytest.raises(OSError, match="no space") as fault:
        list(render())
    wait_until(lambda: not host._connections)
    assert fault  # held until here, and with it what it refers to


def test_a_stop_reaches_through_a_proxy_of_the_environment(render, host, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", host.url)
    monkeypatch.setenv("NO_PROXY", "")
    stop = Stop()
    host.gate, host.silent = threading.Event(), True
    stopper = threading.Thread(target=lambda: host.began.wait(20) and stop.set())
    stopper.start()
    with pytest.raises(Cancelled):
        list(render("http://gpu.invalid", stop, stall_seconds=1e6))
    stopper.join()
    assert host.asked == ["POST job1", "DELETE job1"]
