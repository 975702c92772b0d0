"""Large files go ahead of a render to a host that is far, and once, whatever happens on the way."""

import hashlib
import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import pytest

from backend.gpu import rendering, uploads
from backend.gpu.client import GpuClient
from backend.gpu.rendering import LOST, RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.transport import line_to
from backend.gpu.uploads import Counted, Transfers
from backend.gpu.wire import Wire
from backend.staging.fragments import Fragments
from backend.staging.store import JobMedia
from contracts.errors import Cancelled, GpuRefused, GpuTimeout, GpuUnreachable, MediaTooLarge
from contracts.lipsync import LipSyncOptions
from contracts.media import MIN_RESUMABLE_BYTES
from contracts.records import EndRecord, EventRecord
from tests.fakes.gpu_host import gpu_host
from tests.fakes.pausing import Pausing
from tests.fakes.tunnel import ngrok_page, tunnel_to

FACE = bytes(range(256)) * 12_000
NAME = hashlib.sha256(FACE).hexdigest()
SHORT = NAME[:8]
SLACK = 700_000
"""What may be on its way in buffers of this machine when a connection breaks."""


@pytest.fixture
def host():
    with gpu_host() as host:
        yield host


@pytest.fixture
def tunnel(host):
    with tunnel_to(host.url) as tunnel:
        yield tunnel


@pytest.fixture
def studio(tmp_path, tunnel):
    """Renders through the tunnel, with a client that it keeps."""
    return Studio(tmp_path, tunnel.url)


class Studio:
    def __init__(self, folder, url, **patience):
        self.folder = folder
        self.client = GpuClient(url, "", 20.0, pause_seconds=0.01, far=True, **patience)
        self.sent = []
        self._numbers = itertools.count(1)

    def order(self, face=FACE, speech=b"a voice"):
        """A job of its own."""
        key = f"job{next(self._numbers)}"
        media = JobMedia(self.folder / key)
        media.folder.mkdir()
        media.face.write_bytes(face)
        media.speech.write_bytes(speech)
        return RenderOrder(key, media.face, media.speech, LipSyncOptions())

    def start(self, order=None, stop=None):
        """Its records, one by one."""
        order = order or self.order()
        with Fragments(JobMedia(order.face.parent)) as fragments:
            yield from self.client.render(
                order,
                fragments,
                stop or Pausing(),
                pytest.fail,
                lambda done, total: self.sent.append((done, total)),
            )

    def render(self, order=None, stop=None):
        records = list(self.start(order, stop))
        assert isinstance(records[-1].record, EndRecord)
        return records


def num_lost(records):
    lost = (each.record for each in records if isinstance(each.record, EventRecord))
    return sum(record.name == LOST for record in lost)


def test_a_small_job_takes_one_request(studio, host, tunnel):
    studio.client.health()
    tunnel.requests.clear()
    studio.render(studio.order(b"a face"))
    assert tunnel.requests == ["POST /render"]
    assert studio.sent == []


def test_a_big_face_takes_two_more_requests_and_no_more_for_the_next_job(studio, host, tunnel):
    studio.client.health()
    tunnel.requests.clear()
    studio.render()
    studio.render(studio.order(speech=b"another voice"))
    assert tunnel.requests == [
        f"GET /media/{NAME}",
        f"PUT /media/{NAME}",
        "POST /render",
        "POST /render",
    ]
    assert host.media.num_received == len(FACE)
    assert [form["face_sha256"].decode() for form in host.forms] == [NAME] * 2


def test_a_long_speech_goes_ahead_like_a_big_face(studio, host):
    speech = bytes(MIN_RESUMABLE_BYTES)
    studio.render(studio.order(b"a face", speech))
    assert [key for key in host.forms[0] if key != "options"] == ["face", "speech_sha256"]
    assert host.media.get(hashlib.sha256(speech).hexdigest()) == speech


def test_a_host_that_was_not_asked_before_is_asked_what_it_speaks(studio, host, tunnel):
    studio.render()
    assert tunnel.requests[0] == "GET /health"


def test_a_host_that_takes_no_files_ahead_gets_them_with_the_render(studio, host, tunnel):
    host.api = "1.0"
    studio.render(studio.order(speech=bytes(MIN_RESUMABLE_BYTES)))
    studio.render(studio.order())
    assert [request for request in tunnel.requests if "media" in request] == []
    assert len(host.forms[0]["face"]) == len(FACE)
    assert len(host.forms[0]["speech"]) == MIN_RESUMABLE_BYTES
    assert "face" not in host.forms[1]
    assert studio.sent[-1][0] == studio.sent[-1][1] > len(FACE)


def test_a_host_of_this_machine_gets_what_it_always_got(tmp_path, host):
    studio = Studio(tmp_path, host.url)
    studio.client = GpuClient(host.url, "")
    studio.render()
    assert [len(form.get("face", b"")) for form in host.forms] == [0, len(FACE)]
    assert host.asked == ["POST job1", "POST job1"]
    assert studio.sent == []


@pytest.mark.parametrize(
    ("url", "far"),
    [
        ("https://abc.ngrok.example", True),
        ("http://192.168.1.5:9000", True),
        ("http://localhost:9000", False),
        ("http://[::1]:9000", False),
    ],
)
def test_whether_a_host_is_far_is_told_by_its_address(url, far):
    assert GpuClient(url, "").far is far
    assert GpuClient(url, "", far=True).far is True


def test_a_cut_costs_only_what_was_in_flight(studio, host, tunnel):
    tunnel.cut_after = [1_000_000, 800_000, 600_000]
    records = studio.render()
    assert num_lost(records) == 3
    assert len(host.rendered) == 1
    assert host.media.get(NAME) == FACE
    assert len(FACE) <= host.media.num_received < len(FACE) + SLACK
    firsts = [int(each.split("-")[0].removeprefix("bytes ")) for each in host.media.puts]
    assert firsts == sorted(firsts)
    assert firsts[1] > 0
    assert tunnel.cuts[NAME] == 3


def test_an_upload_is_gone_on_with_by_the_next_process(tmp_path, host, tunnel):
    stop = Stop()
    studio = Studio(tmp_path, tunnel.url)
    order = studio.order()
    records = studio.start(order, stop)
    host.media.gate = threading.Event()
    stopper = threading.Thread(target=lambda: host.media.began.wait(20) and stop.detach())
    stopper.start()
    with pytest.raises(Cancelled):
        next(records)
    stopper.join()
    host.media.gate.set()
    Studio(tmp_path, tunnel.url).render(order)
    assert host.media.get(NAME) == FACE
    assert host.media.puts[-1] != host.media.puts[0]
    assert "DELETE job1" not in host.asked


def test_progress_is_told_up_to_the_last_byte_of_all_files(studio, host):
    speech = bytes(MIN_RESUMABLE_BYTES)
    studio.render(studio.order(speech=speech))
    total = len(FACE) + len(speech)
    assert {each for _, each in studio.sent} == {total}
    done = [each for each, _ in studio.sent]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, total)
    assert len(set(done)) > 100


def test_what_is_told_of_progress_may_end_the_upload(studio, host):
    def lose(done, total):
        if done:
            raise ZeroDivisionError

    order = studio.order()
    with Fragments(JobMedia(order.face.parent)) as fragments, pytest.raises(ZeroDivisionError):
        list(studio.client.render(order, fragments, Stop(), pytest.fail, lose))
    assert host.rendered == []


def test_an_upload_that_stands_still_is_noticed_and_gone_on_with(tmp_path, host, tunnel):
    studio = Studio(tmp_path, tunnel.url, stall_seconds=1.0)
    tunnel.stall_after = 600_000

    def mend():
        tunnel.cut()
        tunnel.go_on()

    stop = Pausing(mend)
    records = studio.render(stop=stop)
    lost = [each.record for each in records if getattr(each.record, "name", "") == LOST]
    assert [record.value for record in lost] == [GpuTimeout.code]
    assert host.media.get(NAME) == FACE


def test_an_upload_may_stand_still_for_as_long_as_an_answer(host):
    wire, allowed = Wire(7.0), set()

    def look(_):
        allowed.update(each.gettimeout() for each in wire._sockets)

    with line_to(host.url, "", wire) as line:
        for _ in range(2):  # the second over the same connection
            body = Counted(io.BytesIO(FACE), len(FACE), look)
            headers = {"Content-Range": f"bytes 0-{len(FACE) - 1}/{len(FACE)}"}
            line.ask("PUT", f"/media/{NAME}", data=body, headers=headers)
    assert allowed == {7.0}


def test_bytes_that_move_are_life_though_no_answer_comes(tmp_path, host, monkeypatch):
    # Five seconds in all, of which none passes without a byte that leaves.
    monkeypatch.setattr(uploads, "UPLOAD_PATIENCE", 1)
    with tunnel_to(host.url, bytes_per_second=600_000) as tunnel:
        studio = Studio(tmp_path, tunnel.url, stall_seconds=4.0)
        assert num_lost(studio.render()) == 0


def test_a_stop_reaches_who_uploads_into_a_tunnel_that_stands_still(tmp_path, host, tunnel):
    studio = Studio(tmp_path, tunnel.url, stall_seconds=1e6)
    stalled = threading.Event()
    tunnel.stall_after = 600_000
    stop = Stop()
    stand_still = tunnel.stall

    def stall():
        stand_still()
        stalled.set()

    tunnel.stall = stall
    stopper = threading.Thread(target=lambda: stalled.wait(20) and stop.detach())
    stopper.start()
    with pytest.raises(Cancelled):
        studio.render(stop=stop)
    stopper.join()


def test_a_cancel_in_the_middle_of_an_upload_is_told_to_the_host(studio, host):
    stop = Stop()
    host.media.gate = threading.Event()
    stopper = threading.Thread(target=lambda: host.media.began.wait(20) and stop.set())
    stopper.start()
    with pytest.raises(Cancelled):
        studio.render(stop=stop)
    stopper.join()
    host.media.gate.set()
    assert host.asked[-1] == "DELETE job1"
    assert host.rendered == []


def test_patience_ends_where_nothing_more_arrives(tmp_path, host, tunnel, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(rendering.time, "monotonic", lambda: next(seconds))
    studio = Studio(tmp_path, tunnel.url)
    studio.client.health()
    studio.client._patience = studio.client._patience._replace(lost_seconds=9)
    tunnel.cut_after = [1] * 99
    with pytest.raises(GpuUnreachable, match="can't be resumed"):
        studio.render()
    assert host.media.num_received == 0


def test_patience_begins_anew_with_whatever_has_arrived(tmp_path, host, tunnel, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(rendering.time, "monotonic", lambda: next(seconds))
    studio = Studio(tmp_path, tunnel.url)
    studio.client.health()
    studio.client._patience = studio.client._patience._replace(lost_seconds=1.5)
    tunnel.cut_after = [400_000] * 12
    studio.render()
    assert tunnel.cuts[NAME] >= 3


def test_two_jobs_with_one_face_send_it_once(studio, host):
    orders = [studio.order() for _ in range(4)]
    with ThreadPoolExecutor(4) as workers:
        for records in workers.map(studio.render, orders):
            assert num_lost(records) == 0
    assert host.media.num_received == len(FACE)
    assert len(host.media.puts) == 1
    assert len(host.rendered) == 4


def test_who_waits_for_another_upload_hears_how_far_it_is_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(uploads, "LOOK_SECONDS", 0.01)
    transfers, stop, heard = Transfers(), Stop(), []

    def hear(num_bytes):
        heard.append(num_bytes)
        stop.set()

    with transfers.sending(NAME, Stop(), pytest.fail):
        transfers.moved(NAME, 7)
        with pytest.raises(Cancelled), transfers.sending(NAME, stop, hear):
            pytest.fail("two at once")
    assert heard == [7]
    with transfers.sending(NAME, Stop(), pytest.fail):
        pass


def test_who_waited_for_another_upload_is_patient_anew(tmp_path):
    face, transfers, signs = tmp_path / "face", Transfers(), []
    face.write_bytes(FACE)
    transfers.note(NAME)  # the other one has ended
    mine = uploads.Uploads(None, transfers, Stop(), 1.0, lambda: signs.append("alive"))
    mine.send(face, NAME, lambda _: None)
    assert signs == ["alive"]


def test_another_backend_that_sends_the_same_file_is_no_fault(studio, host, tunnel):
    host.media.gate = threading.Event()

    def take_over():
        host.media.began.wait(20)
        host.media.take_over(NAME)
        host.media.gate.set()

    other = threading.Thread(target=take_over)
    other.start()
    records = studio.render()
    other.join()
    assert num_lost(records) == 1
    assert host.media.get(NAME) == FACE


def test_a_host_that_has_forgotten_a_file_is_sent_it_again(studio, host):
    studio.render()
    host.restart()
    studio.render()
    assert host.media.num_received == 2 * len(FACE)
    assert [ask for ask in host.asked if ask.startswith("POST")] == [
        "POST job1",
        "POST job2",
        "POST job2",
    ]


def test_a_host_that_keeps_nothing_gets_the_file_with_the_render(studio, host):
    host.media.forgets = 99
    studio.render()
    assert len(host.forms[-1]["face"]) == len(FACE)


def test_a_file_that_arrives_damaged_is_sent_again(studio, host):
    host.media.damages = 1
    studio.render()
    assert host.media.num_received == 2 * len(FACE)
    assert len(host.rendered) == 1


def test_a_file_that_always_arrives_damaged_goes_with_the_render(studio, host):
    host.media.damages = 99
    studio.render()
    assert len(host.forms[-1]["face"]) == len(FACE)


def test_a_file_that_is_too_large_for_the_host_fails_the_render(studio, host, monkeypatch):
    monkeypatch.setattr("tests.fakes.host_media.MAX_UPLOAD_BYTES", 1000)
    with pytest.raises(MediaTooLarge):
        studio.render()


def test_a_wrong_token_is_found_before_anything_is_sent(studio, host):
    host.token = "another"
    with pytest.raises(GpuRefused):
        studio.render()
    assert host.media.puts == []


def test_a_request_that_breaks_has_its_small_files_sent_ahead(studio, host, tunnel):
    studio.client.health()
    tunnel.cut_after = [30_000]
    face, speech = bytes(50_000), b"a voice"
    records = studio.render(studio.order(face, speech))
    assert num_lost(records) == 1
    names = [hashlib.sha256(each).hexdigest() for each in (face, speech)]
    assert tunnel.requests[-3:] == [f"PUT /media/{names[0]}", f"PUT /media/{names[1]}", ANY]
    form = host.forms[-1]
    assert [form[f"{role}_sha256"].decode() for role in ("face", "speech")] == names
    assert len(host.rendered) == 1


def test_a_small_file_whose_upload_breaks_is_asked_for(studio, host, tunnel):
    studio.client.health()
    tunnel.cut_after = [30_000, 40_000]
    studio.render(studio.order(bytes(range(256)) * 400))
    assert [request.split("/")[0] for request in tunnel.requests if "media" in request] == [
        "PUT ",
        "GET ",
        "PUT ",
        "PUT ",
    ]


def test_a_page_of_the_tunnel_in_place_of_the_host_is_no_answer(studio, host, tunnel):
    studio.client.health()
    tunnel.pages = [ngrok_page("ERR_NGROK_3200", "404 Not Found")]
    with pytest.raises(GpuUnreachable):
        studio.render()
    assert host.rendered == []
    studio.render()


def test_no_request_is_shown_the_page_for_browsers(studio, tunnel):
    studio.render()
    assert tunnel.skipped == 0


def test_names_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_KNOWN", 2)
    transfers = Transfers()
    for name in "abc":
        transfers.note(name)
    assert [name for name in "abc" if transfers.knows(name)] == ["b", "c"]


def test_a_body_tells_what_was_taken_of_it(tmp_path):
    file = tmp_path / "body"
    file.write_bytes(b"0123456789")
    told = []
    with file.open("rb") as body:
        counted = Counted(body, 8, told.append)
        assert len(counted) == 8
        assert [counted.read(3), counted.read(3), counted.read(), counted.read(3)] == [
            b"012", b"345", b"67", b"",
        ]  # fmt: skip
    assert told == [0, 3, 6, 8]
