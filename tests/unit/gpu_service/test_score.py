"""Scores of videos whose sync is known, and the command that prints them."""

import io
import json
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from contracts.errors import InvalidInput, LipSyncError, NoFaceFound, SoundMissing, UnsupportedMedia
from gpu_service.audio.sound_rules import heard_mouth
from gpu_service.cli import main
from gpu_service.data import SPEECH_RATE, Frame, Samples, SpeechChunk
from gpu_service.engines.facewarp import mouth
from gpu_service.engines.facewarp.shape import MouthShape
from gpu_service.engines.wav2lip.syncnet import BATCH
from gpu_service.media.decode import sound_delay
from gpu_service.score import SyncScore, score_video
from tests.media import (
    SAMPLES,
    Film,
    babble,
    filmed,
    media_file,
    portrait,
    saved_frame,
    scaled,
    silence,
    wav,
)
from tests.parity_weights import seeded_checkpoint

FRAME = SPEECH_RATE // 25
SECONDS = 3.0
EMPTY = np.full((512, 512, 3), 128, np.uint8)


def speech() -> Samples:
    return np.concatenate((babble(SECONDS - 0.9, seed=3), silence(0.9)))


def recording(samples: Samples) -> bytes:
    return wav(samples[np.newaxis], SPEECH_RATE)


class AsTheScoreHears:
    """Moves facewarp's mouth as the score expects of it, instead of by its own ear."""

    def __init__(self, fps: Fraction) -> None:
        self._fps, self._heard = fps, heard_mouth(speech(), fps)

    def take(self, chunk: SpeechChunk) -> None:
        pass

    def finish(self) -> None:
        pass

    def shape(self, seconds: float) -> MouthShape:
        frame = round(seconds * self._fps)
        closure = float(self._heard.closure[frame])
        return MouthShape(float(self._heard.open[frame]), 0.0, 0.0, closure, 0.0)


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video whose mouth follows its sound: the portrait speaks, then rests."""
    folder = tmp_path_factory.mktemp("talking")
    (folder / "speech.wav").write_bytes(recording(speech()))
    face, output = str(SAMPLES / "portrait.jpg"), str(folder / "out.mp4")
    command = ["render", face, str(folder / "speech.wav"), "-o", output, "--engine", "facewarp"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mouth, "NetShapes", AsTheScoreHears)
        assert main(command) == 0
    return Path(output).read_bytes()


@pytest.fixture(scope="module")
def score(talking: bytes) -> SyncScore:
    return score_video(talking)


def test_a_mouth_made_from_the_sound_follows_it_closely_and_in_time(score: SyncScore) -> None:
    assert score.r is not None
    assert score.r > 0.9
    assert score.lag_ms == 0
    assert score.r == score.r_at_zero
    assert score.chance is not None
    assert score.chance < 1e-4
    assert score.verdict == "The mouth follows the sound closely, in time."
    assert (score.num_frames, score.seconds, score.fps) == (75, 3.0, 25.0)
    assert score.frames_without_face == 0


def test_closures_that_are_heard_are_seen_and_silence_shuts_the_mouth(score: SyncScore) -> None:
    assert score.num_closures >= 3
    assert score.closures_hit == 1.0
    assert score.closures_by_chance is not None
    assert score.closures_by_chance < score.closures_hit
    assert score.silence_seconds > 0.5
    assert score.silence_shut == 1.0


@pytest.mark.parametrize("late_frames", [4, -4])
def test_sound_that_was_shifted_gives_the_lag_of_the_mouth(
    talking: bytes, late_frames: int
) -> None:
    samples = speech()
    if late_frames > 0:  # the sound begins early, so the mouth is late
        shifted = samples[late_frames * FRAME :]
    else:
        shifted = np.pad(samples, (-late_frames * FRAME, 0))
    score = score_video(talking, recording(shifted))
    assert score.lag_ms == 40 * late_frames
    assert f"160 ms too {'late' if late_frames > 0 else 'early'}" in score.verdict
    assert score.r_at_zero is not None
    assert score.r is not None
    assert score.r_at_zero < score.r - 0.2


@pytest.mark.parametrize("late_frames", [6, -6])
def test_a_file_that_plays_its_sound_late_or_early_is_scored_as_it_plays(
    talking: bytes, late_frames: int
) -> None:
    score = score_video(with_sound_moved(talking, late_frames))
    assert score.lag_ms == -40 * late_frames
    assert score.r is not None
    assert score.r > 0.9


@pytest.mark.parametrize("late_frames", [200, 6, 0, -6, -200])
def test_how_late_the_sound_begins_is_known_also_where_it_is_seconds(late_frames: int) -> None:
    video = media_file("mp4", sound="aac", video="libx264", seconds=6.0)
    delay = sound_delay(with_sound_moved(video, late_frames))
    assert delay == pytest.approx(late_frames / 25, abs=0.03)


def test_sound_that_ends_before_the_picture_begins_leaves_nothing_to_score(talking: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"0\.\d\d s only"):
        score_video(with_sound_moved(talking, -200))


def with_sound_moved(video: bytes, frames: int) -> bytes:
    """The same video, in a file that plays its sound so many frames later."""
    file = io.BytesIO()
    with av.open(io.BytesIO(video)) as given, av.open(file, "w", format="matroska") as output:
        tracks = {each.index: output.add_stream_from_template(each) for each in given.streams}
        for packet in given.demux():
            if packet.dts is None or packet.pts is None:
                continue
            late = frames if packet.stream.type == "audio" else 0
            # No time may be below zero.
            ticks = round(Fraction(max(-frames, 0) + late, 25) / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = tracks[packet.stream.index]
            output.mux(packet)
    return file.getvalue()


def test_a_mouth_does_not_follow_other_speech(talking: bytes) -> None:
    score = score_video(talking, recording(babble(SECONDS, seed=11)))
    assert score.r_at_zero is not None
    assert score.r_at_zero < 0.4
    assert score.chance is not None
    assert score.chance > 0.1
    assert score.verdict.startswith("Nothing shows that the mouth follows the sound.")


def test_a_still_video_has_no_opening_to_follow_anything() -> None:
    score = score_video(filmed([portrait()] * 30), recording(babble(1.2)))
    assert score.opening_range < 0.005
    assert (score.r, score.lag_ms, score.chance, score.closures_hit) == (None,) * 4
    assert score.verdict == "The mouth does not move, though somebody speaks."


def test_where_nobody_speaks_there_is_nothing_to_follow(talking: bytes) -> None:
    score = score_video(talking, recording(silence(1.2)))
    assert score.r is None
    assert score.verdict.startswith("No speech was heard")
    assert score.silence_seconds == pytest.approx(1.2)
    assert score.silence_shut is not None
    assert score.silence_shut < 0.9


def test_frames_without_a_face_are_counted_and_left_out() -> None:
    score = score_video(filmed([portrait()] * 28 + [EMPTY] * 7), recording(babble(1.4)))
    assert (score.num_frames, score.frames_without_face) == (35, 7)


class Forgetful(Film):
    """A film that counts how many of its frames somebody keeps."""

    most_kept = 0

    def frames(self) -> Iterator[Frame]:
        given: list[weakref.ref[Frame]] = []
        for frame in super().frames():
            copy = frame.copy()
            given.append(weakref.ref(copy))
            yield copy
            self.most_kept = max(self.most_kept, sum(each() is not None for each in given))


def test_frames_are_let_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    film = Forgetful(*[portrait()] * 30)
    monkeypatch.setattr("gpu_service.score.decode_face", lambda *_: film)
    unit = np.ones((BATCH, 512), np.float32)
    scored = score_video(
        b"", recording(babble(1.2)), towers=lambda mels, _: (unit[: len(mels)], unit[: len(mels)])
    )
    assert scored.syncnet is not None
    assert 0 < film.most_kept <= 3


def test_only_what_has_picture_and_sound_is_scored(talking: bytes) -> None:
    assert score_video(talking, recording(speech()[: 30 * FRAME])).num_frames == 30


@pytest.mark.parametrize(
    ("video", "sound", "error", "sentence"),
    [
        (lambda: filmed([portrait()] * 30), None, SoundMissing, "no sound track"),
        (lambda: saved_frame(portrait()), None, UnsupportedMedia, "a photo"),
        (lambda: recording(babble(2.0)), None, UnsupportedMedia, "no video"),
        (lambda: b"no video at all", None, UnsupportedMedia, "no video"),
        (lambda: filmed([portrait()] * 30), 0.6, InvalidInput, "0.60 s only"),
        (lambda: filmed([portrait()] * 10), 2.0, InvalidInput, "0.40 s only"),
        (lambda: filmed([EMPTY] * 30), 2.0, NoFaceFound, "no frame"),
        (lambda: filmed([portrait()] * 5 + [EMPTY] * 25), 2.0, NoFaceFound, "5 of 30 frames"),
        (lambda: filmed([scaled(portrait(), 0.25)] * 30), 2.0, NoFaceFound, "pixels wide"),
        (lambda: filmed([portrait()] * 8, rate=5), 2.0, InvalidInput, "5 frames a second"),
    ],
)
def test_what_can_t_be_scored_is_an_error_with_a_hint(
    video: Callable[[], bytes], sound: float | None, error: type[LipSyncError], sentence: str
) -> None:
    heard = None if sound is None else recording(babble(sound))
    with pytest.raises(error) as refused:
        score_video(video(), heard)
    assert sentence in refused.value.detail
    assert refused.value.hint


def test_the_command_prints_the_verdict_first_and_every_figure_as_json(
    talking: bytes, score: SyncScore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "video.mp4").write_bytes(talking)
    assert main(["score", str(tmp_path / "video.mp4")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(score.verdict)
    for word in ("opening", "lag", "chance", "closures", "silence", "lipsync_expert"):
        assert word in said
    assert main(["score", str(tmp_path / "video.mp4"), "--json"]) == 0
    assert SyncScore.model_validate(json.loads(capsys.readouterr().out)) == score


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.mp4"], "nowhere.mp4"),
        ([str(SAMPLES / "portrait.jpg")], "a photo"),
        ([str(SAMPLES / "speech.flac")], "no video"),
    ],
)
def test_the_command_says_in_words_why_there_is_no_score(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *arguments]) == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert not said.out


def test_with_syncnet_installed_its_cosine_is_told_and_the_same_each_time(
    talking: bytes,
    torch: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GPU_WEIGHTS_DIR", str(tmp_path / "weights"))
    file = seeded_checkpoint(tmp_path / "lipsync_expert.pth", net="syncnet")
    assert main(["weights", "add", str(file), "--accept-licence"]) == 0
    (tmp_path / "video.mp4").write_bytes(talking)
    (tmp_path / "speech.wav").write_bytes(recording(speech()[: 30 * FRAME]))
    capsys.readouterr()
    said = []
    command = ["score", str(tmp_path / "video.mp4"), "--speech", str(tmp_path / "speech.wav")]
    for _ in range(2):
        assert main([*command, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out)["syncnet"])
    assert said[0] == said[1]
    # 30 frames hold 26 windows of five, and these hear as far as they see.
    assert said[0]["num_windows"] == 26
    assert 0 < said[0]["cosine"] <= said[0]["best_cosine"] <= 1
