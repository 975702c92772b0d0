import shutil
import time

import pytest

from backend.staging.store import MediaStore


@pytest.fixture
def media(tmp_path):
    return MediaStore(tmp_path / "jobs")


def test_who_still_writes_finds_no_folder_while_it_is_deleted(media, monkeypatch):
    job_id, files = media.create()
    files.face.write_bytes(b"face")
    there = []
    remove = shutil.rmtree

    def removing(folder, **kwargs):
        there.append(files.folder.exists())
        remove(folder, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", removing)
    media.remove(job_id)
    assert there == [False]
    assert list(files.folder.parent.iterdir()) == []
    media.remove(job_id)


def test_where_a_folder_can_not_be_renamed_it_is_deleted_in_its_place(media, monkeypatch):
    job_id, files = media.create()
    files.face.write_bytes(b"face")

    def refused(*_):
        raise PermissionError("a file in it is open")

    monkeypatch.setattr("pathlib.Path.rename", refused)
    media.remove(job_id)
    assert not files.folder.exists()


def test_room_is_that_of_all_files_and_none_where_nothing_is(media):
    job_id, files = media.create()
    files.face.write_bytes(bytes(30))
    files.video.write_bytes(bytes(12))
    assert media.num_bytes(job_id) == 42
    assert media.num_bytes("nobody") == 0


def test_without_any_job_there_is_nothing_to_look_at(media):
    assert list(media.untouched_since(time.time())) == []
