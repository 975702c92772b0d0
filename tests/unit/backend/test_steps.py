"""What is done for one job, and what is not done again by the next who takes it up."""

import json
import threading
from typing import NamedTuple

import pytest

from backend.gpu.rendering import LOST
from backend.gpu.stop import Stop
from backend.jobs import steps as steps_module
from backend.jobs.changes import Changes
from backend.jobs.job import Job
from backend.jobs.steps import Steps, Task
from backend.jobs.store import JobStore, LeaseLost
from backend.speech.fallback import Speaker
from backend.staging.store import MediaStore
from contracts.errors import Cancelled, GpuHostDied, GpuUnreachable, RenderFailed
from contracts.jobs import JobStage
from contracts.lipsync import LipSyncOptions
from contracts.records import EventRecord, Framed, InitRecord, ProgressRecord
from tests.fakes.gpu_host import REPORT, tiny_records
from tests.fakes.voice import FakeVoices

RECORDS = tiny_records()
_TOLD = ProgressRecord | EventRecord


class Sent(NamedTuple):
    """So many bytes have left, of so many in all."""

    done: int
    total: int


class FakeGpu:
    """Sends records into the fragments as a client does; where it finds an exception, it raises."""

    far = False

    def __init__(self, *scripts):
        self.scripts = list(scripts) or [RECORDS]
        self.orders, self.cancelled, self.closed = [], [], 0

    def render(self, order, fragments, stop, died, sent):
        self.orders.append(order)
        script = self.scripts.pop(0)
        if not fragments.stream:
            fragments.start_over("r1", "http://a")
        try:
            for framed in script:
                if isinstance(framed, GpuHostDied):
                    died(framed)
                    fragments.start_over("r2", "http://a")
                elif isinstance(framed, Sent):
                    sent(*framed)
                elif isinstance(framed, Exception):
                    raise framed
                elif isinstance(framed.record, _TOLD) or fragments.append(*framed):
                    yield framed
        finally:
            self.closed += 1

    def cancel(self, key):
        self.cancelled.append(key)
        return True


class Bench:
    """One job, and those who make it."""

    def __init__(self, database, tmp_path, **fields):
        self.jobs = JobStore(database, max_queue=9)
        self.changes = Changes(self.jobs)
        self.store = MediaStore(tmp_path / "jobs")
        self.job_id, self.media = self.store.create()
        self.media.face.write_bytes(b"a face")
        self.voices = FakeVoices()
        options = LipSyncOptions(**fields.pop("options", {})).model_dump(mode="json")
        self.jobs.add(Job(id=self.job_id, options=options, **fields))
        self.heard, self.deaths = [], []
        self.jobs.on_change.append(lambda _: self.heard.append(self.view()))

    def view(self):
        return self.jobs.get(self.job_id).view()

    def make(self, gpu=None):
        """Take the job up and make it, as the worker does."""
        job = self.jobs.claim(self.job_id, "me", 60, "Colab")
        task = Task(
            job=job,
            gpu=gpu or FakeGpu(),
            stop=Stop(),
            update=lambda change: self.jobs.update(self.job_id, change, "me"),
            died=self.deaths.append,
        )
        return Steps(self.store, Speaker([self.voices]), self.changes).make(task)

    def fail_to_make(self, gpu):
        with pytest.raises(GpuUnreachable):
            self.make(gpu)
        self.jobs.update(self.job_id, lambda job: job.requeue())


@pytest.fixture
def text(database, tmp_path):
    return Bench(database, tmp_path, text="Hello there. Bye.")


@pytest.fixture
def recording(database, tmp_path):
    bench = Bench(database, tmp_path, speech_seconds=1.0)
    bench.media.speech.write_bytes(b"a recording")
    return bench


@pytest.fixture(autouse=True)
def _every_progress_is_told(monkeypatch):
    monkeypatch.setattr(steps_module, "PROGRESS_SECONDS", 0)


def gone():
    return GpuUnreachable("gone")


def test_a_text_is_spoken_rendered_and_finished(text):
    gpu = FakeGpu()
    assert text.make(gpu) == REPORT
    view = text.view()
    assert (view.voice, view.engine) == ("fake:en", "counting")
    assert view.speech_seconds == pytest.approx(2.95, abs=0.05)
    assert {"speak", "render", "finish"} <= set(view.stage_seconds)
    stages = list(dict.fromkeys(view.stage for view in text.heard))
    assert stages == [
        JobStage.WAITING,
        JobStage.SPEAKING,
        JobStage.PREPARING,
        JobStage.RENDERING,
        JobStage.FINISHING,
    ]
    assert text.media.video.exists()
    assert text.media.speech.read_bytes()[:4] == b"RIFF"
    assert len(gpu.orders[0].marks) == 4


def test_a_recording_is_not_spoken(recording):
    gpu = FakeGpu()
    recording.make(gpu)
    assert recording.voices.said == []
    assert (gpu.orders[0].marks, gpu.orders[0].speech) == (None, recording.media.speech)


def test_what_was_spoken_once_is_not_spoken_again(text):
    gpu = FakeGpu([gone()], RECORDS)
    text.fail_to_make(gpu)
    text.make(gpu)
    assert len(text.voices.said) == 2
    assert gpu.orders[0].marks == gpu.orders[1].marks
    assert text.view().voice == "fake:en"


def test_speech_that_was_not_written_whole_is_spoken_anew(text):
    text.media.speech.write_bytes(b"RIFF, and then the process was killed")
    text.media.spoken.with_suffix(".part").write_text('{"voice": "fa')
    text.make()
    assert len(text.voices.said) == 2
    assert json.loads(text.media.spoken.read_text())["voice"] == "fake:en"


def test_the_engine_that_a_host_chose_stays(recording):
    gpu = FakeGpu([*RECORDS[:4], gone()], RECORDS[4:])
    recording.fail_to_make(gpu)
    recording.make(gpu)
    assert [order.options.engine for order in gpu.orders] == ["auto", "counting"]


def test_progress_is_what_has_come_of_the_speech(recording):
    recording.make(FakeGpu([record for record in RECORDS if record != RECORDS[3]]))
    told = [view for view in recording.heard if view.media_seconds]
    assert [view.media_seconds for view in told[:5]] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(view.progress == pytest.approx(view.media_seconds) for view in told)


def test_progress_of_a_text_is_known_before_the_host_says_how_long_the_video_gets(text):
    text.make(FakeGpu([record for record in RECORDS if record != RECORDS[3]]))
    told = [view for view in text.heard if view.media_seconds]
    assert told[0].progress == pytest.approx(0.2 / told[0].speech_seconds)


def test_the_first_video_is_told_however_soon_it_comes(recording, monkeypatch):
    monkeypatch.setattr(steps_module, "PROGRESS_SECONDS", 1000)
    recording.make()
    assert 0.2 in [view.media_seconds for view in recording.heard]


def test_where_the_video_is_longer_than_the_speech_the_host_says_how_long(recording):
    records = list(RECORDS)
    records[3] = records[3]._replace(record=ProgressRecord(stage="render", done=0, total=4))
    recording.make(FakeGpu(records))
    assert max(view.progress for view in recording.heard) == 0.25


def test_a_lost_connection_does_not_leave_a_time_that_nobody_counts_down(recording, monkeypatch):
    lost = Framed(EventRecord(name=LOST, value="GPU_TIMEOUT"))
    paces = iter([3.0, 2.0, None])
    monkeypatch.setattr(steps_module.Pace, "see", lambda *_: next(paces))
    recording.fail_to_make(FakeGpu([*RECORDS[:5], lost, gone()]))
    told = [view.seconds_left for view in recording.heard if view.media_seconds]
    assert told[:2] == [2.0, None]


def test_a_running_job_says_that_its_connection_is_lost_until_something_comes_again(recording):
    lost = Framed(EventRecord(name=LOST, value="GPU_TIMEOUT"))
    recording.make(FakeGpu([*RECORDS[:5], lost, *RECORDS[5:]]))
    reasons = [view.reason for view in recording.heard if view.stage is JobStage.RENDERING]
    assert any("connection" in reason for reason in reasons)
    assert recording.heard[-1].reason == ""


def test_preparing_is_no_progress_and_says_nothing_of_the_time_left(recording):
    records = [
        RECORDS[1]._replace(record=ProgressRecord(stage="track", done=i, total=9)) for i in range(9)
    ]
    recording.fail_to_make(FakeGpu([*records, gone()]))
    assert {view.progress for view in recording.heard} == {0}
    assert {view.seconds_left for view in recording.heard} == {None}
    assert len(recording.heard) < 9, "nothing new was told again and again"


def test_progress_reaches_the_database_not_too_often_but_followers_hear_of_each_fragment(
    recording, monkeypatch
):
    monkeypatch.setattr(steps_module, "PROGRESS_SECONDS", 1000)
    rung = []
    monkeypatch.setattr(recording.changes, "ring", lambda job_id: rung.append(recording.view()))
    recording.jobs.on_change.clear()
    recording.make()
    assert len(rung) == 5
    assert len({view.version for view in rung}) == 1


def test_a_stream_that_is_gone_on_with_stays_the_same(recording):
    gpu = FakeGpu([*RECORDS[:6], gone()], RECORDS[6:])
    recording.fail_to_make(gpu)
    assert (recording.view().stream, recording.view().media_seconds) == (1, 0.4)
    recording.make(gpu)
    assert recording.view().stream == 1
    assert recording.media.video.exists()


def test_a_render_that_begins_anew_is_another_stream_and_is_counted(recording):
    recording.make(FakeGpu([*RECORDS[:6], GpuHostDied("it was restarted"), *RECORDS[2:]]))
    assert len(recording.deaths) == 1
    assert recording.view().stream == 2
    seconds = [view.media_seconds for view in recording.heard]
    assert seconds[seconds.index(0.4) + 1 :][:2] == [0, 0]


def test_a_stream_that_began_unseen_is_told_when_the_job_is_taken_up(recording):
    with pytest.raises(ZeroDivisionError):
        recording.make(FakeGpu([ZeroDivisionError()]))
    assert recording.view().stream == 0
    recording.jobs.update(recording.job_id, lambda job: job.requeue())
    recording.make()
    assert recording.view().stream == 1


def test_a_job_that_is_lost_ends_the_render_at_once(recording):
    gpu = FakeGpu()

    def lose(_):
        recording.jobs.on_change.clear()
        recording.jobs.update(recording.job_id, Job.cancel)

    recording.jobs.on_change[:] = [lambda _: lose(_) if recording.view().media_seconds else None]
    with pytest.raises(LeaseLost):
        recording.make(gpu)
    assert gpu.closed == 1
    assert not recording.media.video.exists()


def test_a_voice_stops_when_the_job_is_stopped(text):
    job = text.jobs.claim(text.job_id, "me", 60, "Colab")
    stop = Stop()
    text.voices._on_sentence = stop.set
    task = Task(job, FakeGpu(), stop, lambda change: job, lambda _: None)
    with pytest.raises(Cancelled):
        Steps(text.store, Speaker([text.voices]), text.changes).make(task)
    assert len(text.voices.said) == 1
    assert not text.media.spoken.exists()


def test_a_video_that_is_none_is_not_asked_for_again(recording):
    broken = [record._replace(payload=b"!" * len(record.payload)) for record in RECORDS]
    assert isinstance(broken[2].record, InitRecord)
    gpu = FakeGpu(broken)
    with pytest.raises(RenderFailed):
        recording.make(gpu)
    assert gpu.cancelled == [recording.job_id]
    assert not recording.media.video.exists()


def test_several_jobs_are_made_at_the_same_time(database, tmp_path):
    benches = [Bench(database, tmp_path, text="Hello.") for _ in range(4)]
    threads = [threading.Thread(target=bench.make) for bench in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(bench.media.video.exists() for bench in benches)


def test_while_files_are_sent_the_job_says_so_and_moves(recording, monkeypatch):
    paces = iter([None, 9.0, None])
    monkeypatch.setattr(steps_module.Pace, "see", lambda *_: next(paces, None))
    recording.make(FakeGpu([Sent(0, 200), Sent(50, 200), Sent(200, 200), *RECORDS]))
    sending = [view for view in recording.heard if view.stage is JobStage.UPLOADING]
    assert [(view.progress, view.seconds_left) for view in sending[:3]] == [
        (0.0, None),
        (0.25, 9.0),
        (1.0, None),
    ]
    after = next(view for view in recording.heard if view.version > sending[-1].version)
    assert (after.stage, after.progress) == (JobStage.PREPARING, 0.0)
    assert len(sending) == 4, "one more, which says how long it took"
    assert recording.view().stage_seconds["upload"] >= 0


def test_when_all_is_sent_the_job_goes_on_with_what_it_did(recording):
    # As at a plain host, which says nothing more until the whole video is there.
    recording.fail_to_make(FakeGpu([RECORDS[3], Sent(0, 9), Sent(9, 9), Sent(9, 9), gone()]))
    stages = [view.stage for view in recording.heard]
    assert stages[-2:] == [JobStage.RENDERING, JobStage.WAITING]
    assert JobStage.UPLOADING in stages


def test_what_the_host_has_already_is_no_upload(recording):
    recording.make(FakeGpu([Sent(9, 9), *RECORDS]))
    assert JobStage.UPLOADING not in [view.stage for view in recording.heard]
    assert "upload" not in recording.view().stage_seconds


def test_what_is_sent_reaches_the_database_not_too_often(recording, monkeypatch):
    monkeypatch.setattr(steps_module, "PROGRESS_SECONDS", 1000)
    recording.make(FakeGpu([*(Sent(done, 200) for done in range(200)), *RECORDS]))
    sending = [view for view in recording.heard if view.stage is JobStage.UPLOADING]
    assert len({view.progress for view in sending}) == 1


def test_a_cut_in_the_middle_of_an_upload_is_told_until_it_moves_again(recording):
    lost = Framed(EventRecord(name=LOST, value="GPU_TIMEOUT"))
    recording.make(FakeGpu([RECORDS[0], Sent(50, 200), lost, Sent(40, 200), *RECORDS]))
    sending = [view for view in recording.heard if view.stage is JobStage.UPLOADING]
    told = [(view.progress, bool(view.reason), view.seconds_left) for view in sending[:3]]
    assert told == [(0.25, False, None), (0.25, True, None), (0.2, False, None)]


def test_a_job_that_is_lost_ends_its_upload(recording):
    gpu = FakeGpu([Sent(0, 200), Sent(50, 200), *RECORDS])
    recording.jobs.on_change[:] = [
        lambda _: recording.view().stage is JobStage.UPLOADING and lose(recording)
    ]
    with pytest.raises(LeaseLost):
        recording.make(gpu)
    assert gpu.closed == 1


def lose(bench):
    bench.jobs.on_change.clear()
    bench.jobs.update(bench.job_id, Job.cancel)


@pytest.mark.parametrize(("far", "magic"), [(True, b"fLaC"), (False, b"RIFF")])
def test_speech_is_packed_for_a_host_that_is_far(text, far, magic):
    gpu = FakeGpu()
    gpu.far = far
    text.make(gpu)
    assert gpu.orders[0].speech.read_bytes()[:4] == magic
    assert text.media.speech.read_bytes()[:4] == b"RIFF"


def test_packing_stops_when_the_job_is_stopped(text):
    job = text.jobs.claim(text.job_id, "me", 60, "Colab")
    stop = Stop()
    gpu = FakeGpu()
    gpu.far = True
    said = text.voices.said
    text.voices._on_sentence = lambda: stop.set() if len(said) == 2 else None
    task = Task(job, gpu, stop, lambda change: job, lambda _: None)
    with pytest.raises(Cancelled):
        Steps(text.store, Speaker([text.voices]), text.changes).make(task)
    assert gpu.orders == []
    assert not text.media.speech_packed.exists()
