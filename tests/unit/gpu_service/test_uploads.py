"""Files that arrive in parts, and how long they stay."""

import hashlib
import shutil
import uuid
from pathlib import Path

import pytest

from contracts.errors import (
    Busy,
    Conflict,
    InvalidInput,
    MediaCorrupt,
    MediaGap,
    MediaNotFound,
    MediaTooLarge,
)
from contracts.media import MediaView
from gpu_service.uploads import Part, Uploads

KEEP_SECONDS = 100.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uploads(tmp_path: Path, clock: Clock) -> Uploads:
    return Uploads(tmp_path / "media", 100, 60, KEEP_SECONDS, clock)


def content(seed: int, size: int = 40) -> bytes:
    return bytes((seed * 31 + place * 7) % 256 for place in range(size))


def name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin(uploads: Uploads, data: bytes, first: int = 0, last: int | None = None) -> Part:
    last = len(data) - 1 if last is None else last
    part = uploads.begin(name(data), first, last, len(data))
    assert part is not None
    return part


def send(uploads: Uploads, data: bytes, first: int = 0, last: int | None = None) -> MediaView:
    part = begin(uploads, data, first, last)
    part.write(data[first : len(data) if last is None else last + 1])
    return part.end()


def here(uploads: Uploads, data: bytes) -> bool:
    try:
        uploads.view(name(data))
    except MediaNotFound:
        return False
    return True


def files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and each.suffix != ".lock"]


def test_a_file_in_one_part_is_whole_and_can_be_read(uploads: Uploads) -> None:
    data = content(1)
    view = send(uploads, data)
    assert view == MediaView(sha256=name(data), received=40, size=40, complete=True)
    assert uploads.view(name(data)) == view
    assert uploads.read(name(data)) == data
    assert uploads.begin(name(data), 0, 39, 40) is None


def test_what_came_before_a_break_stays_and_the_rest_is_sent(uploads: Uploads) -> None:
    data = content(1)
    part = begin(uploads, data)
    part.write(data[:7])
    part.write(data[7:15])
    assert part.end() == MediaView(sha256=name(data), received=15, size=40, complete=False)
    assert uploads.read(name(data)) is None
    assert send(uploads, data, first=15).complete
    assert uploads.read(name(data)) == data


@pytest.mark.parametrize("first", [0, 3, 15])
def test_bytes_that_are_there_are_passed_over(uploads: Uploads, first: int) -> None:
    data = content(1)
    send(uploads, data, last=14)
    part = begin(uploads, data, first)
    for start in range(first, 40, 4):
        part.write(data[start : start + 4])
    assert part.end().complete
    assert uploads.read(name(data)) == data


def test_a_part_beyond_what_is_there_is_refused_and_nothing_is_lost(uploads: Uploads) -> None:
    data = content(1)
    with pytest.raises(MediaGap):
        begin(uploads, data, 1)
    assert not here(uploads, data)
    send(uploads, data, last=9)
    with pytest.raises(MediaGap, match="10 have arrived"):
        begin(uploads, data, 11)
    assert uploads.view(name(data)).received == 10


def test_a_part_that_is_longer_than_announced_is_refused(uploads: Uploads) -> None:
    data = content(1)
    part = begin(uploads, data, last=9)
    part.write(data[:10])
    with pytest.raises(InvalidInput, match="more bytes"):
        part.write(data[10:11])
    assert uploads.view(name(data)).received == 10


def test_nothing_is_kept_of_what_is_not_what_its_hash_says(
    uploads: Uploads, tmp_path: Path
) -> None:
    data = content(1)
    part = begin(uploads, data)
    part.write(content(2))
    with pytest.raises(MediaCorrupt):
        part.end()
    assert not here(uploads, data)
    assert files(tmp_path) == []
    assert send(uploads, data).complete


def test_of_two_who_send_a_file_the_newer_goes_on_and_the_older_is_told(uploads: Uploads) -> None:
    data = content(1)
    older = begin(uploads, data)
    older.write(data[:10])
    newer = begin(uploads, data, 10)
    with pytest.raises(Conflict):
        older.write(data[10:20])
    with pytest.raises(Conflict):
        older.end()
    newer.write(data[10:])
    assert newer.end().complete
    assert uploads.read(name(data)) == data


def test_a_file_that_comes_with_another_size_begins_anew(uploads: Uploads) -> None:
    data = content(1)
    part = uploads.begin(name(data), 0, 9, 50)
    assert part
    part.write(data[:10])
    with pytest.raises(MediaGap, match="0 have arrived"):
        begin(uploads, data, 10)
    assert send(uploads, data).complete
    with pytest.raises(Conflict):
        part.end()


def test_a_file_over_the_limit_is_refused_before_a_byte_of_it(uploads: Uploads) -> None:
    with pytest.raises(MediaTooLarge):
        begin(uploads, content(1, 61), last=0)
    assert not here(uploads, content(1, 61))


def test_a_file_goes_when_it_was_not_used_for_long(
    uploads: Uploads, clock: Clock, tmp_path: Path
) -> None:
    whole, half = content(1), content(2)
    send(uploads, whole)
    send(uploads, half, last=9)
    clock.now += KEEP_SECONDS - 1
    uploads.sweep()
    assert uploads.view(name(whole)).complete
    clock.now += 2
    uploads.sweep()
    assert here(uploads, whole)
    assert not here(uploads, half)
    clock.now += KEEP_SECONDS
    uploads.sweep()
    assert not here(uploads, whole)
    assert files(tmp_path) == []


@pytest.mark.parametrize("use", ["view", "read", "send"])
def test_each_use_of_a_file_keeps_it_longer(uploads: Uploads, clock: Clock, use: str) -> None:
    data = content(1)
    send(uploads, data)
    clock.now += KEEP_SECONDS - 1
    if use == "view":
        uploads.view(name(data))
    elif use == "read":
        uploads.read(name(data))
    else:
        uploads.begin(name(data), 0, 39, 40)
    clock.now += KEEP_SECONDS - 1
    uploads.sweep()
    assert here(uploads, data)


def test_who_was_silent_for_so_long_that_the_file_went_is_told(
    uploads: Uploads, clock: Clock
) -> None:
    data = content(1)
    part = begin(uploads, data)
    part.write(data[:10])
    clock.now += KEEP_SECONDS
    uploads.sweep()
    with pytest.raises(Conflict):
        part.write(data[10:])


def test_those_used_longest_ago_make_room_for_another(uploads: Uploads, clock: Clock) -> None:
    oldest, older, new = content(1), content(2), content(3)
    for data in (oldest, older):
        send(uploads, data)
        clock.now += 1
    uploads.read(name(oldest))
    clock.now += 1
    send(uploads, new)
    assert [here(uploads, data) for data in (oldest, older, new)] == [True, False, True]


def test_neither_what_a_render_reads_nor_what_is_being_sent_makes_room(
    uploads: Uploads, clock: Clock
) -> None:
    read, sent, another = content(1), content(2), content(3)
    send(uploads, read)
    part = begin(uploads, sent)
    clock.now += KEEP_SECONDS - 1
    with uploads.reading(name(read)) as path:
        assert path
        with pytest.raises(Busy) as refused:
            begin(uploads, another)
        assert refused.value.retry_after_seconds
        clock.now += 2 * KEEP_SECONDS
        part.write(sent[:9])
        uploads.sweep()
        assert path.read_bytes() == read
    part.write(sent[9:])
    assert part.end().complete
    clock.now += KEEP_SECONDS
    uploads.sweep()
    assert not here(uploads, read)
    assert send(uploads, another).complete


def test_a_file_whose_sending_failed_makes_room(uploads: Uploads) -> None:
    failed, whole, another = content(1), content(2), content(3)
    part = begin(uploads, failed, last=9)
    with pytest.raises(InvalidInput):
        part.write(failed)
    send(uploads, whole)
    assert send(uploads, another).complete
    assert not here(uploads, failed)


def test_files_that_are_announced_together_stay_within_the_budget(
    uploads: Uploads, tmp_path: Path
) -> None:
    parts = [begin(uploads, content(seed)) for seed in (1, 2)]
    with pytest.raises(Busy):
        begin(uploads, content(3))
    for part, seed in zip(parts, (1, 2), strict=True):
        part.write(content(seed))
        part.end()
    for seed in range(3, 9):
        send(uploads, content(seed))
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 100


def test_a_folder_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    uploads = Uploads(tmp_path / "file" / "media", 100, 60, KEEP_SECONDS)
    with pytest.raises(Busy, match="can't keep the file") as refused:
        begin(uploads, content(1))
    assert "GPU_DATA_DIR" in refused.value.hint


def test_a_folder_that_cannot_be_made_leaves_no_lock_behind(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_service.uploads.uuid.uuid4", lambda: uuid.UUID(int=0))
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / uuid.UUID(int=0).hex).write_bytes(b"")
    with pytest.raises(Busy, match="can't keep the file"):
        begin(uploads, content(1))
    assert list(tmp_path.rglob("*.lock")) == []


def test_the_end_of_the_host_takes_all_with_it(uploads: Uploads, tmp_path: Path) -> None:
    send(uploads, content(1))
    uploads.close()
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
    assert not here(uploads, content(1))


def test_what_a_host_of_another_user_left_stays_and_keeps_nobody_from_serving(
    uploads: Uploads, tmp_path: Path
) -> None:
    (tmp_path / "media" / "0123").mkdir(parents=True)
    (tmp_path / "media" / "0123.lock").mkdir()  # can't be opened, as a file of root's can't
    uploads.remove_leftovers()
    assert send(uploads, content(1)).complete
    uploads.close()


def test_what_a_killed_host_left_goes_and_what_another_one_has_stays(
    uploads: Uploads, tmp_path: Path
) -> None:
    data = content(1)
    send(uploads, data)
    killed = tmp_path / "media" / "0123456789abcdef"
    shutil.copytree(next(each for each in (tmp_path / "media").iterdir() if each.is_dir()), killed)
    another = Uploads(tmp_path / "media", 100, 60, KEEP_SECONDS)
    another.remove_leftovers()
    assert not killed.exists()
    assert uploads.read(name(data)) == data
    assert send(another, content(2)).complete
    another.close()
    uploads.close()
