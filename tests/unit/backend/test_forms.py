"""Files in the forms that every program reads."""

import io
import wave

import pytest
from PIL import Image

from backend.staging.forms import common_face, common_speech
from contracts.errors import UndecodableMedia
from tests.fakes.uploads import photo, tone, video
from tests.media import media_file


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (photo("JPEG"), "face.jpg"),
        (photo("PNG"), "face.png"),
        (video(), "face.mp4"),
        (media_file("matroska", video="libx264"), "face.mp4"),
        (media_file("avi", video="mpeg4"), "face.mp4"),
    ],
    ids=["jpeg", "png", "mp4", "mkv", "avi"],
)
def test_common_faces_are_left_as_they_are(tmp_path, folder, data, name):
    face = tmp_path / "face"
    face.write_bytes(data)
    made = common_face(face, folder)
    assert (made.name, made.path) == (name, face)


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_other_pictures_become_png(tmp_path, folder, form):
    face = tmp_path / "face"
    face.write_bytes(photo(form))
    made = common_face(face, folder)
    assert made.name == "face.png"
    with Image.open(made.path) as picture, Image.open(io.BytesIO(face.read_bytes())) as original:
        assert (picture.format, picture.size) == ("PNG", original.size)


def test_a_damaged_picture_is_said_to_be(tmp_path, folder):
    face = tmp_path / "face"
    face.write_bytes(photo("WEBP")[:40])
    with pytest.raises(UndecodableMedia):
        common_face(face, folder)


def test_a_wav_is_left_as_it_is(tmp_path, folder):
    speech = tmp_path / "speech"
    speech.write_bytes(tone(0.1))
    assert common_speech(speech, folder).path == speech


@pytest.mark.parametrize(
    ("data", "rate"),
    [
        (media_file("flac", sound="flac", sample_rate=44_100, layout="stereo"), 44_100),
        (media_file("flac", sound="flac", sample_rate=96_000), 48_000),
        (media_file("mp4", sound="aac", video="libx264"), 48_000),
    ],
    ids=["stereo", "fast", "video"],
)
def test_other_speech_becomes_16_bit_mono(tmp_path, folder, data, rate):
    speech = tmp_path / "speech"
    speech.write_bytes(data)
    made = common_speech(speech, folder)
    assert made.name == "speech.wav"
    with wave.open(str(made.path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        assert file.getnframes() / rate == pytest.approx(1.0, abs=0.06)


def test_speech_that_was_cut_off_counts_as_far_as_it_goes(tmp_path, folder):
    data = media_file("flac", sound="flac")
    speech = tmp_path / "speech"
    speech.write_bytes(data[: len(data) // 2])
    with wave.open(str(common_speech(speech, folder).path)) as file:
        assert file.getnframes() > 4000
