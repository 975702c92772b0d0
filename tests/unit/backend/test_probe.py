import io
import warnings

import pytest
from PIL import Image

from backend.staging.probe import probe_face, probe_speech
from contracts.errors import (
    ImageTooLarge,
    SoundMissing,
    SpeechEmpty,
    SpeechTooLong,
    UndecodableMedia,
    UnsupportedMedia,
)
from tests.fakes.uploads import FFCONCAT, M3U8, huge_png, photo, tone, video


@pytest.fixture
def staged(tmp_path):
    def write(data):
        path = tmp_path / "upload"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("PNG", "1"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
    ],
)
def test_pictures_of_every_common_kind_are_photos(staged, image_format, mode):
    assert probe_face(staged(photo(image_format, mode))) == "photo"


def test_an_animated_picture_is_a_photo(staged):
    frames = [Image.effect_noise((80, 80), 30 + i) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert probe_face(staged(file.getvalue())) == "photo"


def test_a_video_is_a_video(staged):
    assert probe_face(staged(video())) == "video"


def test_the_pixels_are_counted_before_decoding(staged):
    with pytest.raises(ImageTooLarge, match="81 megapixels"):
        probe_face(staged(huge_png()))


def test_a_picture_that_pillow_calls_a_bomb_is_too_large_as_well(staged):
    with pytest.raises(ImageTooLarge):
        probe_face(staged(huge_png(20_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLarge):
            probe_face(staged(huge_png(10_000)))


@pytest.mark.parametrize("playlist", [FFCONCAT, M3U8])
def test_a_playlist_is_refused_whatever_its_name(tmp_path, playlist):
    path = tmp_path / "face.mp4"
    path.write_bytes(playlist)
    with pytest.raises(UnsupportedMedia):
        probe_face(path)
    with pytest.raises(UnsupportedMedia):
        probe_speech(path)


@pytest.mark.parametrize("probe", [probe_face, probe_speech])
def test_random_bytes_and_empty_files_are_told_apart(staged, probe):
    with pytest.raises(UnsupportedMedia):
        probe(staged(bytes(range(7, 250)) * 20))
    with pytest.raises(UndecodableMedia):
        probe(staged(b""))


def test_pictures_in_a_code_that_nobody_knows_are_refused(staged):
    with pytest.raises(UnsupportedMedia):
        probe_face(staged(video().replace(b"avc1", b"zzzz")))


@pytest.mark.parametrize("probe", [probe_face, probe_speech])
def test_a_video_cut_before_its_index_is_damaged(staged, probe):
    with pytest.raises(UndecodableMedia):
        probe(staged(video(sound=True)[:900]))


def test_a_picture_cut_within_its_header_is_damaged(staged):
    with pytest.raises(UndecodableMedia):
        probe_face(staged(photo("PNG")[:20]))


def test_a_picture_that_phones_make_gets_a_hint(staged):
    with pytest.raises(UnsupportedMedia) as refusal:
        probe_face(staged(b"\0\0\0\x18ftypheic" + bytes(100)))
    assert "JPEG" in refusal.value.hint


def test_a_recording_is_no_face_and_a_picture_is_no_speech(staged):
    with pytest.raises(UnsupportedMedia):
        probe_face(staged(tone(0.5)))
    with pytest.raises(UnsupportedMedia):
        probe_speech(staged(photo()))


@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_the_length_of_speech_is_counted(staged, seconds):
    assert probe_speech(staged(tone(seconds))) == pytest.approx(seconds)


def test_a_wav_that_lies_about_its_length_is_counted_all_the_same(staged):
    wav = bytearray(tone(0.5))
    wav[40:44] = (2**31).to_bytes(4, "little")
    assert probe_speech(staged(bytes(wav))) == pytest.approx(0.5)


def test_a_videos_sound_is_speech_and_a_silent_video_is_told(staged):
    assert probe_speech(staged(video(sound=True))) == pytest.approx(0.4, abs=0.05)
    with pytest.raises(SoundMissing):
        probe_speech(staged(video()))


def test_a_recording_without_samples_is_empty(staged):
    with pytest.raises(SpeechEmpty):
        probe_speech(staged(tone(0)))


def test_more_than_ten_minutes_is_too_long(staged):
    assert probe_speech(staged(tone(600, rate=8000))) == pytest.approx(600)
    with pytest.raises(SpeechTooLong):
        probe_speech(staged(tone(600.5, rate=8000)))
