"""Speech that is packed is smaller, and no sample of it another one."""

import numpy as np
import pytest

from backend.staging.packing import pack_speech
from backend.staging.probe import probe_speech
from contracts.errors import Cancelled
from gpu_service.media.decode import decode_sound
from tests.media import babble, media_file, tone, wav

FLAC = b"fLaC"
MP4 = b"ftyp"
MATROSKA = b"\x1aE\xdf\xa3"


def nothing():
    """No reason to stop."""


@pytest.fixture
def pack(tmp_path):
    """Packs a file, and gives what is sent of it."""

    def pack(data, pause=nothing):
        speech = tmp_path / "speech"
        speech.write_bytes(data)
        sent = pack_speech(speech, tmp_path / "speech.packed", pause)
        assert {path.name for path in tmp_path.iterdir()} == {"speech", sent.name}
        assert probe_speech(sent) == pytest.approx(probe_speech(speech))
        return sent.read_bytes()

    return pack


def assert_same_sound(before, after):
    heard, heard_after = decode_sound(before), decode_sound(after)
    assert heard_after.sample_rate == heard.sample_rate
    assert np.array_equal(heard_after.samples, heard.samples)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("wav", "pcm_s24le"),
        ("aiff", "pcm_s16be"),
        ("aiff", "pcm_s24be"),
        ("w64", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_whole_numbers_become_flac_bit_by_bit(pack, container, codec, layout):
    before = media_file(container, sound=codec, seconds=2.0, layout=layout, sample_rate=44_100)
    after = pack(before)
    assert after.startswith(FLAC)
    assert len(after) < 0.7 * len(before)
    assert_same_sound(before, after)


def test_surround_sound_keeps_its_channels(pack):
    before = media_file("wav", sound="pcm_s16le", layout="5.1")
    after = pack(before)
    assert after.startswith(FLAC)
    assert_same_sound(before, after)


def test_the_least_bits_of_24_are_kept(pack, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.001, 0.001, 24_000)
    samples = np.rint(noise * 2**23).astype("<i4")
    header = wav(np.zeros((1, 36_000), np.float32), 48_000)[:44]
    header = header[:32] + (3).to_bytes(2, "little") + (24).to_bytes(2, "little") + header[36:]
    before = header + samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    after = pack(before)
    assert after.startswith(FLAC)
    assert_same_sound(before, after)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_f32le"),
        ("wav", "pcm_s32le"),
        ("wav", "pcm_u8"),
        ("mp3", "libmp3lame"),
        ("flac", "flac"),
        ("ogg", "libopus"),
    ],
)
def test_what_is_packed_or_can_not_be_without_loss_stays_as_it_is(pack, container, codec):
    before = media_file(container, sound=codec)
    assert pack(before) == before


@pytest.mark.parametrize(
    ("container", "sound", "video", "magic"),
    [
        ("mp4", "aac", "libx264", MP4),
        ("mov", "alac", "libx264", MP4),
        ("matroska", "aac", "libx264", MP4),
        ("mpegts", "aac", "libx264", MP4),
        ("flv", "aac", "libx264", MP4),
        ("webm", "libopus", "libvpx", MATROSKA),
        ("mp4", "libopus", "libx264", MATROSKA),
        ("mpegts", "mp2", "mpeg2video", MATROSKA),
        ("avi", "libmp3lame", "mpeg4", MATROSKA),
        ("mov", "pcm_s16le", "libx264", FLAC),
        ("avi", "pcm_s16le", "mpeg4", FLAC),
    ],
)
def test_of_a_video_only_its_sound_is_sent(pack, monkeypatch, container, sound, video, magic):
    monkeypatch.setattr("backend.staging.packing._WORTH", 1.0)  # these pictures are tiny
    before = media_file(container, sound=sound, video=video, seconds=4.0, layout="stereo")
    after = pack(before)
    assert len(after) < len(before)
    assert magic in after[:8]
    assert_same_sound(before, after)


def test_where_hardly_anything_is_gained_the_file_stays(pack):
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 48_000)).astype(np.float32)
    before = wav(noise, 48_000)
    assert pack(before) == before


def test_a_copy_that_sounds_different_is_not_sent(pack, monkeypatch):
    monkeypatch.setattr("backend.staging.packing._IN_MP4", ())
    before = media_file("mp4", sound="aac", video="libx264", seconds=4.0)
    assert pack(before) == before  # Matroska would keep the silence that AAC begins with


def test_a_recording_that_was_cut_off_is_sent_as_far_as_it_goes(pack):
    before = wav(tone(2.0), 48_000)[:100_001]
    assert_same_sound(before, pack(before))


def test_what_can_not_be_read_is_sent_as_it_is(tmp_path):
    speech = tmp_path / "speech"
    speech.write_bytes(b"RIFF, and nothing else of a recording")
    assert pack_speech(speech, tmp_path / "packed", nothing) == speech
    assert not (tmp_path / "packed").exists()


def test_it_is_done_once(tmp_path):
    speech, packed = tmp_path / "speech", tmp_path / "packed"
    speech.write_bytes(wav(babble(2.0)[None], 16_000))
    assert pack_speech(speech, packed, nothing) == packed
    speech.unlink()
    assert pack_speech(speech, packed, nothing) == packed


def test_it_can_be_stopped_and_leaves_nothing(tmp_path):
    def stop():
        raise Cancelled("enough")

    speech = tmp_path / "speech"
    speech.write_bytes(wav(babble(2.0)[None], 16_000))
    with pytest.raises(Cancelled):
        pack_speech(speech, tmp_path / "packed", stop)
    assert list(tmp_path.iterdir()) == [speech]
