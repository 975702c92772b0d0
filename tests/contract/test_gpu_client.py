"""The backend's client and the real GPU host, with a line between them that breaks."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from backend.gpu.client import GpuClient
from backend.gpu.rendering import RenderOrder
from backend.gpu.stop import Stop
from backend.gpu.transport import Line
from backend.staging.fragments import Fragments, FragmentsReader
from backend.staging.store import JobMedia
from contracts.errors import Cancelled, GpuHostDied, GpuRefused, NoFaceFound
from contracts.lipsync import LipSyncOptions
from contracts.marks import PhonemeMark
from contracts.records import (
    EndRecord,
    EventRecord,
    InitRecord,
    MediaRecord,
    ProgressRecord,
    Record,
)
from gpu_service.app import create_app
from gpu_service.settings import Settings
from tests.fakes.gated_engine import HeldEngine
from tests.fakes.proxy import Proxy, proxy_before
from tests.fakes.serving import serving
from tests.host_calls import FAKES, PORTRAIT, health, num_pictures
from tests.media import picture, saved, tone, wav
from tests.processes import wait_until

SPEECH = wav(tone(6.0, 16_000), 16_000)
NUM_FRAMES = 150


@pytest.fixture
def host() -> Iterator[str]:
    with serving(create_app(Settings(engine_order="counting"), FAKES)) as url:
        yield url


@pytest.fixture
def proxy(host: str) -> Iterator[Proxy]:
    with proxy_before(host) as proxy:
        yield proxy


def staged(folder: Path, face: bytes = PORTRAIT) -> JobMedia:
    media = JobMedia(folder)
    media.folder.mkdir(exist_ok=True)
    media.face.write_bytes(face)
    media.speech.write_bytes(SPEECH)
    return media


@pytest.fixture
def media(tmp_path: Path) -> JobMedia:
    return staged(tmp_path / "job1")


@pytest.fixture
def fragments(media: JobMedia) -> Iterator[Fragments]:
    with Fragments(media) as fragments:
        yield fragments


def order(media: JobMedia, engine: str = "held") -> RenderOrder:
    options = LipSyncOptions(engine=engine, max_height=384)
    return RenderOrder(media.folder.name, media.face, media.speech, options)


def unexpected(died: GpuHostDied) -> None:
    raise AssertionError(died)


def client(url: str, **patience: float) -> GpuClient:
    return GpuClient(url, "", pause_seconds=0.01, **patience)


def undisturbed(url: str, folder: Path, key: str) -> bytes:
    """What the host has kept under a key, as a backend gets it that never asked before."""
    media = staged(folder / key)
    with Fragments(media) as fragments:
        for _ in client(url).render(order(media), fragments, Stop(), unexpected):
            pass
        return fragments.path.read_bytes()


def media_seqs(records: list[Record]) -> list[int]:
    return [each.seq for each in records if isinstance(each, InitRecord | MediaRecord)]


def test_what_the_client_gets_is_a_video(
    host: str, media: JobMedia, fragments: Fragments, tmp_path: Path
) -> None:
    marked = replace(order(media), marks=[PhonemeMark(start=0.0, end=0.1, phoneme="a")])
    records = [each.record for each in client(host).render(marked, fragments, Stop(), unexpected)]
    assert records[0] == EventRecord(name="engine", value="held")
    assert isinstance(records[-1], EndRecord)
    assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES
    assert FragmentsReader(media).codecs().startswith("avc1.")
    media.face.write_bytes(saved(picture(300, 300), "PNG"))
    other = JobMedia(tmp_path / "other")
    other.folder.mkdir()
    with Fragments(other) as others, pytest.raises(NoFaceFound):
        # With the same key: what the host still keeps under it is of no more use.
        list(client(host).render(order(media), others, Stop(), unexpected))


def test_the_host_tells_how_it_does(host: str) -> None:
    told = client(host).health()
    assert (told.device, told.renders_max, told.renders_waiting) == ("cpu", 1, 0)
    assert set(told.engines_ready) == set(FAKES)
    assert {status.info.name for status in client(host).engines()} == set(FAKES)


def test_a_wrong_token_is_told_as_such() -> None:
    settings = Settings(token="canary-7f3a")
    with serving(create_app(settings, FAKES)) as url, pytest.raises(GpuRefused):
        client(url).engines()


def test_a_line_that_breaks_again_and_again_changes_nothing_of_the_video(
    host: str, proxy: Proxy, media: JobMedia, fragments: Fragments, tmp_path: Path
) -> None:
    records: list[Record] = []
    for framed in client(proxy.url).render(order(media), fragments, Stop(), unexpected):
        records.append(framed.record)
        if isinstance(framed.record, MediaRecord) and framed.record.seq % 3 == 1:
            proxy.cut()
    assert isinstance(records[-1], EndRecord)
    assert media_seqs(records) == list(range(fragments.next_seq))
    assert proxy.num_connections >= 2
    assert HeldEngine.latest.num_renders == 1
    assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES
    (tmp_path / "again").mkdir()
    assert undisturbed(host, tmp_path / "again", "job1") == fragments.path.read_bytes()


def test_progress_keeps_a_line_alive_and_silence_does_not(
    held: HeldEngine,
    proxy: Proxy,
    media: JobMedia,
    fragments: Fragments,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpu_service.routes.rendering.HEARTBEAT_SECONDS", 0.05)

    class Mended(Stop):
        """Meanwhile the line works again."""

        def wait(self, timeout: float | None = None) -> bool:
            held.gate.set()
            proxy.go_on()
            return super().wait(timeout)

    lines = client(proxy.url, stall_seconds=2.0)
    records = lines.render(order(media), fragments, Mended(), unexpected)
    seen = []
    while not held.reached.is_set():
        seen.append(next(records).record)
    alive = itertools.takewhile(lambda _: proxy.num_connections == 1, records)
    seen += [framed.record for framed in itertools.islice(alive, 30)]
    assert isinstance(seen[-1], ProgressRecord)
    assert proxy.num_connections == 1
    proxy.stall()

    seen += [framed.record for framed in records]
    assert media_seqs(seen) == list(range(fragments.next_seq))
    assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES
    assert held.num_renders == 1


def test_a_host_that_is_another_after_a_restart_renders_anew(
    held: HeldEngine, proxy: Proxy, media: JobMedia, fragments: Fragments
) -> None:
    deaths: list[GpuHostDied] = []
    records = client(proxy.url).render(order(media), fragments, Stop(), deaths.append)
    next(framed for framed in records if isinstance(framed.record, MediaRecord))
    with serving(create_app(Settings(engine_order="counting"), FAKES)) as restarted:
        proxy.target = ("127.0.0.1", int(restarted.rpartition(":")[2]))
        proxy.cut()
        assert isinstance(list(records)[-1].record, EndRecord)
    assert len(deaths) == 1
    assert fragments.stream == 2
    assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES


def test_a_backend_that_was_restarted_goes_on_where_it_was(
    host: str, held: HeldEngine, media: JobMedia
) -> None:
    stop = Stop()
    with Fragments(media) as fragments:
        records = client(host).render(order(media), fragments, stop, unexpected)
        seen = [next(framed for framed in records if isinstance(framed.record, MediaRecord)).record]
        stop.detach()
        with pytest.raises(Cancelled):
            next(records)
        num_bytes = fragments.path.stat().st_size
    assert health(host)["renders_running"] == 1
    held.gate.set()
    with Fragments(media) as fragments:
        rest = list(client(host).render(order(media), fragments, Stop(), unexpected))
        assert sum(len(framed.payload) for framed in rest) + num_bytes == (
            fragments.path.stat().st_size
        )
        assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES
    assert seen[0] not in [framed.record for framed in rest]
    assert held.num_renders == 1


def test_a_stop_ends_the_hosts_work_too(
    host: str, held: HeldEngine, media: JobMedia, fragments: Fragments
) -> None:
    stop = Stop()
    records = client(host).render(order(media), fragments, stop, unexpected)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(list, records)
        assert held.reached.wait(30)
        stop.set()
        assert isinstance(following.exception(30), Cancelled)
    assert client(host).cancel("job1") is False
    held.gate.set()
    wait_until(lambda: health(host)["renders_running"] == 0)


def test_who_waits_for_a_turn_hears_so_and_gets_it(
    host: str, held: HeldEngine, media: JobMedia, fragments: Fragments, tmp_path: Path
) -> None:
    other = staged(tmp_path / "job2")
    first = client(host).render(order(media), fragments, Stop(), unexpected)
    next(framed for framed in first if isinstance(framed.record, MediaRecord))
    with Fragments(other) as others:
        second = client(host).render(order(other, "counting"), others, Stop(), unexpected)
        assert next(second).record == ProgressRecord(stage="queue", done=0, total=1)
        assert client(host).health().renders_waiting == 1
        held.gate.set()
        with ThreadPoolExecutor() as pool:
            rest = pool.submit(list, second)
            assert isinstance(list(first)[-1].record, EndRecord)
            assert isinstance(rest.result()[-1].record, EndRecord)
        assert num_pictures(others.path.read_bytes()) == NUM_FRAMES


def test_a_large_face_is_uploaded_once(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What follows a JPEG's end is of no concern to decoders.
    face = PORTRAIT + bytes(400_000)
    uploads: list[int] = []
    ask = Line.ask

    def counted(self: Line, method: str, path: str, **request: Any) -> requests.Response:
        if method == "POST":
            uploads.append(request["data"].len)
        return ask(self, method, path, **request)

    monkeypatch.setattr(Line, "ask", counted)
    for key in ("job1", "job2"):
        media = staged(tmp_path / key, face)
        with Fragments(media) as fragments:
            records = client(host).render(order(media), fragments, Stop(), unexpected)
            assert isinstance(list(records)[-1].record, EndRecord)
            assert num_pictures(fragments.path.read_bytes()) == NUM_FRAMES
    assert [num_bytes > len(face) for num_bytes in uploads] == [False, True, False]
