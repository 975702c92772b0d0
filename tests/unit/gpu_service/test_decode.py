"""Sound and videos from bytes, whatever they say of themselves."""

import io
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from contracts.errors import (
    ImageTooLarge,
    InvalidInput,
    SoundMissing,
    SpeechEmpty,
    SpeechTooLong,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.marks import PhonemeMark
from gpu_service.data import FULL_SCALE, SPEECH_RATE, Samples, Sound
from gpu_service.media.container import frames_of
from gpu_service.media.decode import decode_face, decode_sound, speech_chunks
from gpu_service.media.video import EXACT, upright
from tests.media import (
    filmed,
    media_file,
    number_of,
    numbered,
    picture,
    recorded,
    saved,
    tone,
    wav,
)

PLAYLISTS = {
    "ffconcat": b"ffconcat version 1.0\nfile other.mp4\n",
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5 RTP/AVP 0\n",
    "text": b"just some words in a file\n" * 40,
    "empty": b"",
    "random": np.random.default_rng(3).integers(0, 256, 20_000, np.uint8).tobytes(),
}


def heard(sound: Sound) -> Samples:
    return np.concatenate([chunk.samples for chunk in speech_chunks(sound)])


def pitch(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SPEECH_RATE / len(samples))


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate", "layout", "channels"),
    [
        ("wav", "pcm_u8", 8_000, "mono", 1),
        ("wav", "pcm_s16le", 48_000, "5.1", 2),
        ("wav", "pcm_f32le", 44_100, "stereo", 2),
        ("wav", "pcm_s24le", 96_000, "stereo", 2),
        ("mp3", "libmp3lame", 44_100, "stereo", 2),
        ("mp4", "aac", 44_100, "stereo", 2),
        ("flac", "flac", 22_050, "mono", 1),
        ("ogg", "libopus", 48_000, "mono", 1),
        ("webm", "libopus", 48_000, "mono", 1),
        ("aiff", "pcm_s16be", 11_025, "mono", 1),
    ],
)
def test_sound_of_any_form_keeps_its_length_and_pitch(
    container: str, codec: str, sample_rate: int, layout: str, channels: int
) -> None:
    data = media_file(container, sound=codec, sample_rate=sample_rate, layout=layout)
    sound = decode_sound(data)
    assert sound.samples.shape[0] == channels
    assert sound.sample_rate == min(sample_rate, 48_000)
    assert sound.seconds == pytest.approx(1.0, abs=0.03)  # codecs fill up their last packet
    assert 0.25 * FULL_SCALE < np.abs(sound.samples).max() < 0.5 * FULL_SCALE
    samples = heard(sound)
    assert samples.dtype == np.float32
    assert len(samples) == round(sound.seconds * SPEECH_RATE)
    assert pitch(samples) == pytest.approx(300, abs=3)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.05, 1.37])
def test_speech_is_exactly_as_long_as_the_sound_and_not_shifted(
    sample_rate: int, seconds: float
) -> None:
    samples = np.zeros((1, round(seconds * sample_rate)), np.float32)
    click = samples.shape[1] // 2
    samples[0, click] = 1.0
    speech = heard(recorded(samples, sample_rate))
    assert len(speech) == round(samples.shape[1] / sample_rate * SPEECH_RATE)
    assert np.argmax(np.abs(speech)) == pytest.approx(click / sample_rate * SPEECH_RATE, abs=1)


def test_speech_at_its_own_rate_passes_unchanged() -> None:
    levels = np.random.default_rng(0).integers(-FULL_SCALE, FULL_SCALE, 12_345, np.int16)
    header = wav(np.zeros((1, len(levels)), np.float32), SPEECH_RATE)[:44]
    sound = decode_sound(header + levels.tobytes())
    assert np.array_equal(sound.samples[0], levels)
    assert np.array_equal(heard(sound), levels / np.float32(FULL_SCALE))


def test_two_equal_channels_are_heard_as_loud_as_one() -> None:
    assert np.abs(heard(recorded(tone(1.0, channels=2), 48_000))).max() == pytest.approx(
        0.3, abs=0.01
    )


@pytest.mark.parametrize("num_bytes", [0, 0xFFFFFFF0])
def test_a_length_in_the_header_that_lies_is_not_believed(num_bytes: int) -> None:
    data = wav(tone(0.5, 16_000), 16_000, num_bytes=num_bytes)
    assert decode_sound(data).seconds == pytest.approx(0.5)


def test_a_clip_of_a_twentieth_of_a_second_works() -> None:
    sound = decode_sound(wav(tone(0.05), 48_000))
    assert len(heard(sound)) == 800


def test_a_long_recording_is_never_in_memory_twice() -> None:
    recording = wav(tone(30.0, 48_000, 2), 48_000)
    tracemalloc.start()
    sound = decode_sound(recording)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sound.samples.shape == (2, 30 * 48_000)
    assert peak < 1.4 * sound.samples.nbytes


def test_a_video_gives_its_sound() -> None:
    data = media_file("mp4", sound="aac", video="libx264")
    assert decode_sound(data).seconds == pytest.approx(1.0, abs=0.03)


def test_numbers_that_are_none_become_silence_or_full_scale() -> None:
    samples = np.tile(np.array([np.nan, np.inf, -np.inf, 1e30], np.float32), 400)
    header = wav(np.zeros((1, 0), np.float32), 16_000, num_bytes=samples.nbytes)
    floats = header[:20] + b"\x03" + header[21:34] + b"\x20" + header[35:]
    sound = decode_sound(floats + samples.tobytes())
    assert set(np.unique(sound.samples)) <= {-FULL_SCALE, 0, FULL_SCALE - 1}


def test_a_video_without_sound_says_so() -> None:
    with pytest.raises(SoundMissing):
        decode_sound(media_file("mp4", video="libx264"))


def test_a_recording_without_samples_is_empty() -> None:
    with pytest.raises(SpeechEmpty):
        decode_sound(wav(np.zeros((1, 0), np.float32), 16_000))


def test_speech_is_too_long_by_what_is_measured() -> None:
    shortest_too_long = np.zeros((1, 601 * 8_000), np.float32)
    with pytest.raises(SpeechTooLong):
        decode_sound(wav(shortest_too_long, 8_000, num_bytes=0))
    assert decode_sound(wav(shortest_too_long[:, : 600 * 8_000], 8_000)).seconds == 600


@pytest.mark.parametrize("name", PLAYLISTS)
def test_what_is_no_media_is_refused_as_face_and_as_speech(name: str) -> None:
    with pytest.raises(UnsupportedMedia):
        decode_sound(PLAYLISTS[name])
    with pytest.raises(UnsupportedMedia):
        decode_face(PLAYLISTS[name], 1080)


@pytest.mark.parametrize("container", ["mp4", "mov", "webm", "wav", "flac", "mp3", "ogg"])
def test_a_recording_cut_short_beyond_use_is_damaged(container: str) -> None:
    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "mov": "aac", "mp4": "aac"}
    data = media_file(container, sound=codec.get(container, "libopus"))
    with pytest.raises(UndecodableMedia):
        decode_sound(data[:60])


def test_what_is_left_of_a_recording_that_broke_off_is_used() -> None:
    data = wav(tone(1.0), 48_000)
    assert decode_sound(data[: len(data) // 2]).seconds == pytest.approx(0.5, abs=0.001)


def test_a_picture_is_no_speech_and_a_song_no_face() -> None:
    with pytest.raises(UnsupportedMedia, match="picture"):
        decode_sound(saved(picture(), "PNG"))
    with pytest.raises(UnsupportedMedia, match="no picture"):
        decode_face(media_file("mp3", sound="libmp3lame"), 1080)


def test_a_heic_photo_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        decode_face(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), 1080)
    assert "JPEG" in refused.value.hint


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"), ("mpegts", "mpeg2video")],
)
def test_a_video_gives_its_frames_each_time_it_is_asked(container: str, codec: str) -> None:
    source = decode_face(media_file(container, video=codec), 1080)
    assert (source.kind, source.width, source.height) == ("video", 64, 48)
    assert source.fps == Fraction(25)
    for _ in range(2):
        brightness = [float(frame.mean()) for frame in source.frames()]
        assert len(brightness) == 25
        assert brightness == pytest.approx([min(8 * i, 255) for i in range(25)], abs=4)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
    ],
)
def test_a_video_stands_upright_however_the_camera_was_held(
    matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    bright_corner = np.zeros((48, 64, 3), np.uint8)
    bright_corner[:24, :32] = 255
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(bright_corner, "bgr24")))
        output.mux(stream.encode(None))
    data = bytearray(file.getvalue())
    a, b, c, d = matrix  # of the track's header, ISO/IEC 14496-12, 8.3.2
    place = data.find(b"tkhd") + 44
    data[place : place + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    source = decode_face(bytes(data), 1080)
    assert (source.width, source.height) == ((64, 48) if a else (48, 64))
    frame = next(source.frames())
    lower, right = corner
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    bright = frame[lower * height :, right * width :][: height - 4, : width - 4]
    assert float(bright.mean()) > 240
    assert float(frame.mean()) < 80


def test_a_video_is_scaled_down_to_the_tallest_output() -> None:
    source = decode_face(media_file("mp4", video="libx264"), 24)
    assert (source.width, source.height) == (32, 24)
    assert next(source.frames()).shape == (24, 32, 3)


def test_a_video_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_service.media.video.MAX_IMAGE_PIXELS", 64 * 48 - 1)
    with pytest.raises(ImageTooLarge):
        decode_face(media_file("mp4", video="libx264"), 1080)


@pytest.mark.parametrize("container", ["wav", "mp3", "mp4", "mpegts", "flac", "PNG", "JPEG", "GIF"])
def test_flipped_bytes_end_in_an_error_of_ours_or_in_media(container: str) -> None:
    codecs = {"wav": "pcm_s16le", "mp3": "libmp3lame", "mp4": "aac", "mpegts": "aac"}
    if container.isupper():
        whole = saved(picture(mode="P" if container == "GIF" else "RGB"), container)
    else:
        whole = media_file(container, sound=codecs.get(container, container), seconds=0.2)
    choose = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        for place in choose.integers(0, min(len(data), 400), 6):
            data[place] = choose.integers(256)
        with suppress(InvalidInput):
            if container.isupper():
                assert decode_face(bytes(data), 1080).width >= 2
            else:
                assert decode_sound(bytes(data)).samples.size


def test_marks_ride_in_the_piece_in_which_they_start() -> None:
    marks = [
        PhonemeMark(start=start, end=start + 0.05, phoneme=str(start))
        for start in (0.25, 0.0, 0.199, 0.2, 0.3)
    ]
    chunks = list(speech_chunks(recorded(tone(0.3, 16_000), 16_000), marks))
    begin = 0.0
    given = []
    for chunk in chunks:
        assert chunk.marks is not None
        end = begin + len(chunk.samples) / SPEECH_RATE
        for mark in chunk.marks:
            assert begin <= mark.start < end or (chunk is chunks[-1] and mark.start >= end)
        given += [mark.start for mark in chunk.marks]
        begin = end
    assert given == [0.0, 0.199, 0.2, 0.25, 0.3]


def test_a_voice_without_marks_gives_none_and_a_silent_one_gives_an_empty_list() -> None:
    sound = recorded(tone(0.3, 16_000), 16_000)
    assert {chunk.marks for chunk in speech_chunks(sound)} == {None}
    assert {chunk.marks for chunk in speech_chunks(sound, [])} == {()}


def test_a_video_of_uneven_rate_keeps_its_time() -> None:
    levels = (0, 40, 80, 120, 160, 200)
    frames = [np.full((64, 64, 3), level, np.uint8) for level in levels]
    # Five pictures in the first fifth of a second, then one that stays to the end.
    ticks = [0, 1, 2, 3, 4, 20]
    video = decode_face(filmed(frames, ticks, rate=25), 1080)
    assert video.fps is not None
    seen = [round(float(frame.mean()) / 40) for frame in video.frames()]
    for index, shown in enumerate(seen):
        second = index / float(video.fps)
        latest = max(number for number, tick in enumerate(ticks) if tick / 25 <= second + 0.06)
        earliest = max(
            number for number, tick in enumerate(ticks) if tick / 25 <= second - 0.06 or tick == 0
        )
        assert earliest <= shown <= latest
    assert seen[-1] == 5
    assert len(seen) == pytest.approx(0.8 * float(video.fps) + 1, abs=1)


def test_pictures_faster_than_the_highest_rate_keep_their_time() -> None:
    frames = [np.full((64, 64, 3), 2 * index, np.uint8) for index in range(120)]
    video = decode_face(filmed(frames, rate=120), 1080)
    assert video.fps == 60
    assert len(list(video.frames())) == pytest.approx(60, abs=1)


UNEVEN = [index + index // 3 + 4 * (index // 40) for index in range(100)]


@pytest.mark.parametrize("ticks", [None, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("matroska", "libx264"),
        ("mpegts", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
    ],
)
def test_frames_are_the_same_from_wherever_decoding_begins(
    container: str, codec: str, ticks: list[int] | None
) -> None:
    pictures = [numbered(index) for index in range(100)]
    film = filmed(pictures, ticks, container=container, codec=codec, keyframe_every=30)
    video = decode_face(film, 1080)
    whole = list(video.frames())
    shown = [number_of(frame) for frame in whole]
    assert shown == (sorted(shown) if ticks else list(range(100)))
    assert max(shown) == 99
    for first in (*range(0, len(whole), 7), len(whole) - 1):
        np.testing.assert_array_equal(list(video.frames(first)), whole[first:])
    assert list(video.frames(len(whole))) == []


def test_frames_of_a_program_stream_are_the_same_from_wherever_decoding_begins() -> None:
    pictures = [numbered(index) for index in range(100)]
    film = filmed(pictures, container="mpeg", codec="mpeg1video", keyframe_every=1)
    video = decode_face(film, 1080)
    shown = [number_of(frame) for frame in video.frames()]
    for first in (31, 52, 79):
        assert [number_of(frame) for frame in video.frames(first)] == shown[first:]


def test_decoding_begins_at_the_keyframe_before(monkeypatch: pytest.MonkeyPatch) -> None:
    film = filmed([numbered(index) for index in range(100)], keyframe_every=30)
    video = decode_face(film, 1080)
    assert len(list(video.frames())) == 100
    decoded = []

    def counted(container: InputContainer, stream: Any) -> Iterator[Any]:
        for frame in frames_of(container, stream):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr("gpu_service.media.video.frames_of", counted)
    assert number_of(next(iter(video.frames(75)))) == 75
    assert len(decoded) <= 30 + 1


@pytest.mark.parametrize("pts", [-1_000_000, 7, 10**12])
def test_a_keyframe_that_is_not_found_again_costs_no_frame(
    pts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = decode_face(filmed([numbered(index) for index in range(20)], keyframe_every=5), 1080)
    assert len(list(video.frames())) == 20
    monkeypatch.setattr(
        "gpu_service.media.video._Keyframe.pts", property(lambda _keyframe: pts), raising=True
    )
    assert [number_of(frame) for frame in video.frames(12)] == list(range(12, 20))


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "rgb24"])
@pytest.mark.parametrize("side", [66, 67])
def test_colours_are_converted_as_exactly_as_can_be(form: str, side: int) -> None:
    noise = np.random.default_rng(0)
    picture = av.VideoFrame(side, side, form)
    for plane in picture.planes:
        plane.update(noise.integers(0, 4, plane.buffer_size, np.uint8).tobytes())
    pixels = upright(picture, VideoReformatter())
    expected = picture.to_ndarray(format="bgr24", interpolation=EXACT)
    # Where a side is odd, its last row shares its colours with one that is not there.
    assert np.abs(pixels.astype(int) - expected).max() <= side % 2
