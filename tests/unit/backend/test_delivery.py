"""What goes within the request for a render, what ahead of it, and what is only named."""

import hashlib
from contextlib import ExitStack

import pytest
from requests_toolbelt import MultipartEncoder

from backend.gpu.delivery import (
    MAX_FAULTS,
    MIN_HASHED_FACE_BYTES,
    Enclosed,
    SentAhead,
)
from backend.gpu.uploads import MIN_TOLD_BYTES, Transfers
from contracts.errors import FaceNeeded, MediaCorrupt, SpeechNeeded
from contracts.media import MIN_RESUMABLE_BYTES

SMALL, MEDIUM, LARGE = 100, MIN_HASHED_FACE_BYTES, MIN_RESUMABLE_BYTES


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FakeUploads:
    """Sends to nobody."""

    def __init__(self, transfers):
        self._transfers = transfers
        self.sent = []
        self.damages = 0

    def send(self, path, name, told):
        assert name == sha256(path)
        self.sent.append(path.name)
        if self.damages:
            self.damages -= 1
            raise MediaCorrupt("damaged")
        for num_bytes in (0, path.stat().st_size):
            told(num_bytes)
        self._transfers.note(name)


class Desk:
    """Two files, and how they are delivered."""

    def __init__(self, folder, face_bytes, speech_bytes, *, takes_media=True):
        self.face, self.speech = folder / "face", folder / "speech"
        self.face.write_bytes(b"f" * face_bytes)
        self.speech.write_bytes(b"s" * speech_bytes)
        self.transfers = Transfers()
        self.uploads = FakeUploads(self.transfers)
        self.told = []
        self.takes_media = takes_media
        self.renew()

    def renew(self):
        """As for the next job with the same files."""
        uploads = self.uploads if self.takes_media else None
        self.delivery = SentAhead(
            self.face, self.speech, uploads, self.transfers, lambda *told: self.told.append(told)
        )

    def fields(self):
        """Names of the request's fields; those of hashes hold what they should."""
        with ExitStack() as files:
            fields = self.delivery.fields(files)
        for role in (self.face, self.speech):
            assert fields.get(f"{role.name}_sha256") in (None, sha256(role))
        return sorted(fields)


@pytest.mark.parametrize(
    ("face_bytes", "speech_bytes", "ahead", "fields"),
    [
        (SMALL, SMALL, [], ["face", "speech"]),
        (LARGE - 1, LARGE - 1, [], ["face", "speech"]),
        (LARGE, SMALL, ["face"], ["face_sha256", "speech"]),
        (SMALL, LARGE, ["speech"], ["face", "speech_sha256"]),
        (LARGE, LARGE, ["face", "speech"], ["face_sha256", "speech_sha256"]),
    ],
)
def test_large_files_go_ahead(tmp_path, face_bytes, speech_bytes, ahead, fields):
    desk = Desk(tmp_path, face_bytes, speech_bytes)
    assert desk.fields() == fields
    assert desk.uploads.sent == ahead
    desk.renew()
    assert desk.fields() == fields
    assert desk.uploads.sent == ahead


def test_all_that_goes_ahead_is_one_progress(tmp_path):
    desk = Desk(tmp_path, LARGE, LARGE + 1)
    desk.fields()
    total = 2 * LARGE + 1
    assert desk.told == [(0, total), (LARGE, total), (LARGE, total), (total, total)]


def test_a_face_that_came_with_a_request_is_named_from_then_on(tmp_path):
    desk = Desk(tmp_path, MEDIUM, SMALL)
    assert desk.fields() == ["face", "speech"]
    desk.renew()
    assert desk.fields() == ["face", "speech"]  # nobody said that the host had taken it
    desk.delivery.taken()
    desk.renew()
    assert desk.fields() == ["face_sha256", "speech"]
    desk.delivery.needed(FaceNeeded("gone"))
    assert desk.fields() == ["face", "speech"]


def test_a_host_that_takes_no_files_ahead_may_still_have_a_face(tmp_path):
    desk = Desk(tmp_path, LARGE, LARGE, takes_media=False)
    assert desk.fields() == ["face", "speech"]
    desk.delivery.taken()
    desk.renew()
    assert desk.fields() == ["face_sha256", "speech"]


def test_after_a_request_that_broke_small_files_go_ahead_too(tmp_path):
    desk = Desk(tmp_path, SMALL, SMALL)
    desk.fields()
    desk.delivery.broken()
    assert desk.fields() == ["face_sha256", "speech_sha256"]
    assert desk.uploads.sent == ["face", "speech"]


@pytest.mark.parametrize(("error", "role"), [(FaceNeeded, "face"), (SpeechNeeded, "speech")])
def test_what_a_host_has_forgotten_is_sent_again_and_at_last_with_the_request(
    tmp_path, error, role
):
    desk = Desk(tmp_path, LARGE, LARGE)
    for _ in range(MAX_FAULTS + 1):
        assert desk.fields() == ["face_sha256", "speech_sha256"]
        desk.delivery.needed(error("gone"))
    assert desk.uploads.sent.count(role) == MAX_FAULTS + 1
    assert desk.fields() == ["face", "speech"]
    with pytest.raises(error):
        desk.delivery.needed(error("it was sent"))


@pytest.mark.parametrize(
    ("damages", "fields"), [(MAX_FAULTS, "face_sha256"), (MAX_FAULTS + 1, "face")]
)
def test_damage_on_the_way_is_mended_or_gone_around(tmp_path, damages, fields):
    desk = Desk(tmp_path, LARGE, SMALL)
    desk.uploads.damages = damages
    assert desk.fields() == [fields, "speech"]


def test_a_request_that_takes_a_while_to_leave_is_watched(tmp_path):
    desk = Desk(tmp_path, SMALL, SMALL)
    for num_bytes in (SMALL, MIN_TOLD_BYTES):
        encoded = MultipartEncoder({"face": "f" * num_bytes})
        body = desk.delivery.body(encoded)
        while body.read(10_000):
            pass
    assert desk.told[0] == (0, encoded.len)
    assert desk.told[-1] == (encoded.len, encoded.len)
    assert {total for _, total in desk.told} == {encoded.len}


def test_a_near_host_that_says_it_lacks_a_speech_which_was_sent_is_at_fault(tmp_path):
    desk = Desk(tmp_path, SMALL, SMALL)
    with pytest.raises(SpeechNeeded):
        Enclosed(desk.face, desk.speech).needed(SpeechNeeded("why?"))


def test_a_near_host_that_says_it_lacks_a_face_which_was_sent_is_at_fault(tmp_path):
    desk = Desk(tmp_path, LARGE, SMALL)
    delivery = Enclosed(desk.face, desk.speech)
    with ExitStack() as files:
        assert "face_sha256" in delivery.fields(files)
        delivery.needed(FaceNeeded("gone"))
        assert "face" in delivery.fields(files)
    with pytest.raises(FaceNeeded):
        delivery.needed(FaceNeeded("why?"))
