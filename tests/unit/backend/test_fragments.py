import os

import pytest

from backend.staging.codecs import codecs_of
from backend.staging.fragments import Fragments, FragmentsReader
from backend.staging.store import JobMedia
from contracts.errors import Conflict, GpuAnswerBroken
from contracts.records import EndRecord, InitRecord, MediaRecord
from tests.fakes.gpu_host import REPORT
from tests.fakes.tiny_video import tiny_fragments

HOST = "http://127.0.0.1:9000"


@pytest.fixture
def media(tmp_path):
    return JobMedia(tmp_path)


@pytest.fixture
def fragments(media):
    with Fragments(media) as fragments:
        yield fragments


def part(seq):
    return MediaRecord(seq=seq, start=0.2 * (seq - 1), seconds=0.2)


def begun(fragments, *payloads, render_id="first"):
    fragments.start_over(render_id, HOST)
    for seq, payload in enumerate(payloads):
        assert fragments.append(part(seq) if seq else InitRecord(), payload)


def files(media):
    return sorted(path.name for path in media.folder.iterdir())


def test_opening_where_nothing_is_changes_nothing(media):
    with Fragments(media) as fragments:
        assert (fragments.stream, fragments.render_id, fragments.next_seq) == (0, "", 0)
    assert FragmentsReader(media).stream == 0
    assert files(media) == []


def test_what_was_appended_is_read_as_it_comes(media, fragments):
    begun(fragments, b"init", b"one")
    reader = FragmentsReader(media)
    assert (reader.stream, reader.num_bytes, reader.complete) == (1, 7, False)
    assert reader.read(0, 99) == b"initone"
    assert reader.read(7, 99) == b""
    assert fragments.append(part(2), b"two")
    assert reader.read(5, 99) == b"ne"
    reader.refresh()
    assert reader.read(5, 3) == b"net"
    assert reader.media_seconds == fragments.media_seconds == pytest.approx(0.4)
    assert fragments.append(EndRecord(report=REPORT))
    reader.refresh()
    assert reader.complete
    assert not reader.replaced


def test_a_repeat_is_dropped_and_a_gap_is_refused(media, fragments):
    begun(fragments, b"init", b"one")
    assert not fragments.append(InitRecord(), b"init")
    assert not fragments.append(part(1), b"one")
    with pytest.raises(GpuAnswerBroken, match="fragment 3 where 2"):
        fragments.append(part(3), b"three")
    assert fragments.append(part(2), b"two")
    assert fragments.path.read_bytes() == b"initonetwo"


def test_nothing_comes_before_the_stream_has_begun_or_after_its_end(media, fragments):
    with pytest.raises(GpuAnswerBroken):
        fragments.append(InitRecord(), b"init")
    begun(fragments, b"init", b"one")
    assert fragments.append(EndRecord(report=REPORT))
    assert not fragments.append(EndRecord(report=REPORT))
    with pytest.raises(GpuAnswerBroken):
        fragments.append(part(2), b"two")


@pytest.mark.parametrize("lost", [b"", b"half of a fragm"])
@pytest.mark.parametrize("torn", [b"", b'{"seq":2,"off', b'{"seq":2,"offs\n'])
def test_what_a_killed_process_left_is_gone_on_with_from_the_last_whole_fragment(media, lost, torn):
    with Fragments(media) as killed:
        begun(killed, b"init", b"one")
    with killed.path.open("ab") as data, media.fragments_index.open("ab") as index:
        data.write(lost)
        index.write(torn)
    assert FragmentsReader(media).read(0, 99) == b"initone"
    with Fragments(media) as fragments:
        assert (fragments.render_id, fragments.host, fragments.next_seq) == ("first", HOST, 2)
        assert fragments.append(part(2), b"two")
        assert fragments.append(EndRecord(report=REPORT))
        assert fragments.path.read_bytes() == b"initonetwo"
    assert Fragments(media).report == REPORT


def test_bytes_that_never_reached_the_disk_are_asked_for_again(media):
    with Fragments(media) as fragments:
        begun(fragments, b"init", b"one", b"two")
        fragments.append(EndRecord(report=REPORT))
    os.truncate(fragments.path, 8)
    with Fragments(media) as fragments:
        assert (fragments.next_seq, fragments.complete) == (2, False)
        assert fragments.append(part(2), b"two")
        assert fragments.path.read_bytes() == b"initonetwo"


def test_a_stream_that_is_begun_anew_gives_readers_of_the_old_none_of_its_bytes(media, fragments):
    begun(fragments, b"init", b"one", b"two")
    old = FragmentsReader(media)
    assert old.read(0, 5) == b"inito"
    begun(fragments, b"INIT", b"ONE", render_id="second")
    assert old.read(5, 9) in (b"", b"netwo")
    old.refresh()
    assert old.replaced
    assert old.read(5, 9) == b""
    new = FragmentsReader(media)
    assert (new.stream, new.read(0, 99)) == (2, b"INITONE")
    assert files(media) == sorted(["fragments.index", fragments.path.name])


def test_a_folder_that_was_emptied_and_filled_again_gives_no_foreign_bytes(media, fragments):
    begun(fragments, b"init", b"one")
    old = FragmentsReader(media)
    fragments.close()
    for path in media.folder.iterdir():
        path.unlink()
    with Fragments(media) as again:
        begun(again, b"INIT", b"ONE", b"TWO")
    assert old.read(4, 3) == b""
    assert old.replaced


def test_an_old_file_that_could_not_be_deleted_goes_at_the_next_start(media, fragments):
    begun(fragments, b"init")
    stray = media.folder / "fragments-00000000.mp4"
    stray.touch()
    begun(fragments, b"init", render_id="second")
    assert not stray.exists()


def test_a_second_writer_is_noticed(media):
    with Fragments(media) as sleeping:
        begun(sleeping, b"init")
        with Fragments(media) as other:
            assert other.append(part(1), b"one")
        with pytest.raises(Conflict):
            sleeping.append(part(1), b"one")
        assert FragmentsReader(media).read(0, 99) == b"initone"


def test_abandoned_fragments_stay_until_the_next_stream_or_go_on_with_their_own(media, fragments):
    fragments.abandon()  # nothing to abandon
    begun(fragments, b"init")
    fragments.abandon()
    assert Fragments(media).abandoned
    assert FragmentsReader(media).read(0, 99) == b"init"
    assert fragments.append(part(1), b"one")
    assert not fragments.abandoned
    fragments.abandon()
    fragments.start_over("second", HOST)
    assert not Fragments(media).abandoned


def test_after_a_full_disk_the_next_append_goes_on_with_what_is_whole(
    media, fragments, monkeypatch
):
    begun(fragments, b"init")

    def half(file, data):
        file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    with monkeypatch.context() as full:
        full.setattr("backend.staging.fragments._write", half)
        with pytest.raises(OSError, match="no space"):
            fragments.append(part(1), b"one")
    assert fragments.append(part(1), b"one")
    assert FragmentsReader(media).read(0, 99) == b"initone"


def test_the_codecs_stand_in_the_init_segment(media, fragments):
    whole = tiny_fragments()
    init = whole[: whole.index(b"moof") - 4]
    begun(fragments)
    assert FragmentsReader(media).codecs() == ""
    fragments.append(InitRecord(), init)
    video, audio = FragmentsReader(media).codecs().split(", ")
    profile = init[init.index(b"avcC") + 5 :][:3]
    assert (video, audio) == (f"avc1.{profile.hex()}", "mp4a.40.2")


def test_codecs_of_a_damaged_init_segment_are_none():
    whole = tiny_fragments()
    assert {codecs_of(whole[:cut]) for cut in range(700)} == {""}
