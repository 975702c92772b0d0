"""What players need of a result: form, colours, time, label."""

import io
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from gpu_service.data import Frame, Sound
from gpu_service.media.encode import Encoder, Fragment
from tests.media import picture, portrait, recorded, tone

LABEL = "AI-generated video; face animated by counting 1"


def frames(count: int, width: int = 64, height: int = 48) -> list[Frame]:
    still = np.asarray(picture(width, height))[..., ::-1]
    return [np.ascontiguousarray(np.roll(still, 2 * index, axis=1)) for index in range(count)]


def encode(
    pictures: Iterable[Frame], sound: Sound, file: Path | None, fps: Fraction = Fraction(25)
) -> list[Fragment]:
    encoder = Encoder(file, width=64, height=48, fps=fps, sound=sound, label=LABEL)
    fragments: list[Fragment] = []
    for frame in pictures:
        fragments += encoder.write(frame)
    return fragments + encoder.finish()


@pytest.fixture(scope="module", params=["file", "fragments"])
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    sound = recorded(tone(2.02, 44_100, channels=2), 44_100)
    if request.param == "fragments":
        return b"".join(part.data for part in encode(frames(51), sound, None))
    file = tmp_path_factory.mktemp("encoded") / "video.mp4"
    assert encode(frames(51), sound, file) == []
    return file.read_bytes()


def test_a_result_is_h264_yuv420p_and_aac_at_48_khz(encoded: bytes) -> None:
    with av.open(io.BytesIO(encoded)) as video:
        pictures, sound = video.streams.video[0], video.streams.audio[0]
        assert (pictures.codec_context.name, pictures.pix_fmt) == ("h264", "yuv420p")
        assert (pictures.width, pictures.height) == (64, 48)
        assert pictures.average_rate == 25
        assert (sound.codec_context.name, sound.rate, sound.channels) == ("aac", 48_000, 2)


def test_its_index_comes_before_its_pictures(encoded: bytes) -> None:
    assert 0 < encoded.find(b"moov") < encoded.find(b"mdat")


def test_every_frame_is_there_and_picture_and_sound_begin_together(encoded: bytes) -> None:
    with av.open(io.BytesIO(encoded)) as video:
        times = [frame.time for frame in video.decode(video=0)]
    with av.open(io.BytesIO(encoded)) as video:
        blocks = [(block.time, block.samples) for block in video.decode(audio=0)]
    assert times == pytest.approx([index / 25 for index in range(51)])
    assert blocks[0][0] == 0
    assert sum(samples for _, samples in blocks) / 48_000 == pytest.approx(2.02, abs=0.03)


def test_the_sound_is_the_sound_that_was_given(encoded: bytes) -> None:
    with av.open(io.BytesIO(encoded)) as video:
        samples = np.concatenate([block.to_ndarray() for block in video.decode(audio=0)], axis=1)
    given = tone(2.02, 48_000, channels=2)
    length = min(samples.shape[1], given.shape[1])
    # Out of step by a hundredth of the tone's wave, the two would differ by more than this.
    assert np.abs(samples[:, 4800 : length - 4800] - given[:, 4800 : length - 4800]).max() < 0.02


def test_colours_come_back_as_they_went_in(encoded: bytes) -> None:
    with av.open(io.BytesIO(encoded)) as video:
        frame = next(video.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (1, 1)
    assert (frame.color_primaries, frame.color_trc) == (1, 1)
    pixels = frame.to_ndarray(format="bgr24").astype(int)
    assert np.abs((pixels - frames(1)[0]).mean(axis=(0, 1))).max() < 2.5


@pytest.mark.parametrize("colour", [(0, 0, 255), (0, 255, 0), (255, 0, 0), (128, 128, 128)])
def test_a_plain_colour_is_kept_within_two_levels(colour: tuple[int, int, int]) -> None:
    plain = np.full((48, 64, 3), colour, np.uint8)
    parts = encode([plain] * 3, recorded(tone(0.12), 48_000), None)
    with av.open(io.BytesIO(b"".join(part.data for part in parts))) as video:
        pixels = next(video.decode(video=0)).to_ndarray(format="bgr24")
    assert np.abs(pixels[8:-8, 8:-8].astype(int) - colour).max() <= 2


def test_a_still_background_stays_close_and_changes_at_keyframes_only() -> None:
    face, mouths = portrait(), np.random.default_rng(0)
    pictures = []
    for _ in range(60):
        shown = face.copy()
        shown[150:180, 200:250] = mouths.integers(0, 256, 3)
        pictures.append(shown)
    encoder = Encoder(
        None, width=512, height=512, fps=Fraction(25), sound=recorded(tone(2.4), 48_000), label=""
    )
    data = b"".join(part.data for shown in pictures for part in encoder.write(shown))
    data += b"".join(part.data for part in encoder.finish())
    with av.open(io.BytesIO(data)) as video:
        decoded = [frame.to_ndarray(format="bgr24")[:, 300:] for frame in video.decode(video=0)]
    error = np.square(np.float32(decoded[40]) - face[:, 300:]).mean()
    assert 10 * np.log10(255**2 / error) > 40
    steps = [np.abs(np.float32(after) - before).mean() for before, after in pairwise(decoded[:50])]
    assert np.mean(steps) < 0.04
    assert np.abs(np.float32(decoded[50]) - decoded[49]).mean() < 1.2


def test_the_label_says_what_made_it(encoded: bytes) -> None:
    with av.open(io.BytesIO(encoded)) as video:
        assert video.metadata["comment"] == LABEL
        assert video.metadata["description"] == LABEL


def test_fragments_say_which_part_of_the_video_they_hold() -> None:
    init, *media = encode(frames(51), recorded(tone(2.04), 48_000), None)
    assert (init.start, init.seconds) == (0, 0)
    assert init.data[4:8] == b"ftyp"
    assert b"moof" not in init.data
    expected = 0.0
    for fragment in media:
        assert fragment.data[4:8] == b"moof"
        assert fragment.start == pytest.approx(expected)
        assert 0 < fragment.seconds <= 0.24 + 1e-9
        with av.open(io.BytesIO(init.data + fragment.data)) as part:
            packets = [p for p in part.demux(video=0) if p.dts is not None]
        assert len(packets) == round(fragment.seconds * 25)
        assert float(packets[0].pts * packets[0].time_base) == pytest.approx(fragment.start)
        expected += fragment.seconds
    assert expected == pytest.approx(51 / 25)


def test_a_fragment_comes_as_soon_as_its_frames_are_written() -> None:
    encoder = Encoder(
        None, width=64, height=48, fps=Fraction(25), sound=recorded(tone(2.0), 48_000), label=LABEL
    )
    written = []
    for index, frame in enumerate(frames(50)):
        for fragment in encoder.write(frame):
            if fragment.seconds:
                written.append((index + 1) / 25 - fragment.start - fragment.seconds)
    encoder.close()
    assert len(written) >= 8
    assert max(written) <= 0.12


def test_there_is_a_keyframe_every_two_seconds() -> None:
    parts = encode(frames(1) * 101, recorded(tone(4.04), 48_000), None)
    with av.open(io.BytesIO(b"".join(part.data for part in parts))) as video:
        keys = [p.pts * p.time_base for p in video.demux(video=0) if p.is_keyframe and p.size]
    assert [float(key) for key in keys] == [0, 2, 4]


@pytest.mark.parametrize("fps", [Fraction(10), Fraction(30000, 1001), Fraction(60)])
def test_other_frame_rates_keep_their_time(fps: Fraction, tmp_path: Path) -> None:
    count = round(fps)
    encode(frames(count), recorded(tone(float(count / fps)), 48_000), tmp_path / "video.mp4", fps)
    with av.open(tmp_path / "video.mp4") as video:
        assert video.streams.video[0].average_rate == pytest.approx(fps)
        times = [frame.time for frame in video.decode(video=0)]
    assert times == pytest.approx([float(index / fps) for index in range(count)], abs=1e-4)


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 48_000])
def test_the_shortest_clip_has_one_frame_and_its_sound(sample_rate: int) -> None:
    parts = encode(frames(1), recorded(tone(0.05, sample_rate), sample_rate), None)
    data = b"".join(part.data for part in parts)
    with av.open(io.BytesIO(data)) as video:
        assert len(list(video.decode(video=0))) == 1
    with av.open(io.BytesIO(data)) as video:
        assert sum(block.samples for block in video.decode(audio=0)) >= 0.05 * 48_000


def test_an_encoder_that_is_left_early_lets_go_of_its_file(tmp_path: Path) -> None:
    sound = recorded(tone(1.0), 48_000)
    for count in (0, 3):
        for file in (tmp_path / "video.mp4", None):
            encoder = Encoder(file, width=64, height=48, fps=Fraction(25), sound=sound, label=LABEL)
            for frame in frames(count):
                encoder.write(frame)
            encoder.close()
            encoder.close()
