"""How well the mouth of any video follows its sound."""

import math
from fractions import Fraction
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from contracts.errors import (
    InvalidInput,
    NoFaceFound,
    SoundMissing,
    UndecodableMedia,
    UnsupportedMedia,
)
from contracts.limits import MAX_SPEECH_SECONDS
from gpu_service.audio.mel import wav2lip_mel
from gpu_service.audio.sound_rules import heard_mouth
from gpu_service.correlation import Fit, Track, best_fit
from gpu_service.data import (
    SPEECH_RATE,
    Face,
    FaceSource,
    Frame,
    Progress,
    Samples,
    no_progress,
    num_frames,
)
from gpu_service.engines.wav2lip.boxes import face_box
from gpu_service.engines.wav2lip.preprocess import crop_face
from gpu_service.engines.wav2lip.syncnet import SYNCNET_FPS, SyncNetMeter, SyncNetScore, Towers
from gpu_service.faces.follow import Follower
from gpu_service.faces.opening import mouth_opening
from gpu_service.media.decode import (
    decode_face,
    decode_sound,
    face_kind,
    sound_delay,
    speech_chunks,
)

SHORTEST_SECONDS: Final = 1
"""Of picture with sound, and of frames with a face."""
LOWEST_FPS: Final = 10
"""Below it a video does not show what lips do."""
TALLEST_PX: Final = 1080
"""Larger pictures are scaled down to this height."""
SHUT_SHARE: Final = 0.2
"""A mouth counts as shut below this share of its own range, from its 5th to its 95th percentile."""
CLOSURE_SECONDS: Final = Fraction(2, 25)
"""So much earlier or later the lips may meet than they are heard to."""
SILENCE_SECONDS: Final = Fraction(1, 2)
"""Shorter pauses don't count: mouths stay open in them."""
SILENCE_EDGE_SECONDS: Final = Fraction(3, 25)
"""What a mouth is given to shut after speech, and to open before it."""
STILL_RANGE: Final = 0.03
"""Openings that range over less, in eye distances, don't speak: a silent face was measured at
0.017, people who talk from 0.12 to 0.29."""
CHANCE_FOLLOWS: Final = 0.01
CHANCE_PERHAPS: Final = 0.1
"""Up to these chances the mouth follows, or perhaps does."""
CLOSE_R: Final = 0.65
"""People who talk were measured at r from 0.31 to 0.64; who gets more was made from the sound."""
IN_TIME_MS: Final = 120.0
"""Recordings of people were measured at lags from -80 to 120 ms, so less can't be told apart."""

_HEARD_CLOSURE: Final = 0.5
_HEARD_OPENING: Final = 0.05
_HEARD_SILENCE: Final = 0.03


class SyncScore(BaseModel):
    """How well a mouth follows a sound, by several measures."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    verdict: str
    """What the figures say, in words."""
    seconds: float
    """How much of the video was looked at: as long as there is picture and sound."""
    fps: float
    num_frames: int
    frames_without_face: int
    opening_range: float
    """From the 5th to the 95th percentile of the gap between the inner lips, in distances between
    the outer corners of the eyes."""
    r: float | None
    """Correlation, at the best lag, of the measured opening with the opening that the sound calls
    for; None where mouth or sound don't move."""
    r_low: float | None
    """The lower end of the interval that holds r in 95 of 100 such clips, chosen lag aside."""
    r_high: float | None
    """Its upper end."""
    lag_ms: float | None
    """The best lag, within 0.6 s: positive when the mouth is late, negative when it is early."""
    r_at_zero: float | None
    """The correlation with the sound where it is."""
    r_above_rest: float | None
    """How far r stands above the median over all lags."""
    chance: float | None
    """How probable so large an r is, at any of the lags, for a mouth that knows nothing of the
    sound."""
    num_closures: int
    """How often lips were heard to meet."""
    closures_hit: float | None
    """The share of these at which the mouth is seen to be shut, within 80 ms."""
    closures_by_chance: float | None
    """That share for moments of the speech picked blindly."""
    silence_seconds: float
    """Of silences longer than 0.5 s."""
    silence_shut: float | None
    """The share of that time in which the mouth is shut."""
    syncnet: SyncNetScore | None = None
    """What Wav2Lip's SyncNet says, where it is installed."""


def score_video(
    video: bytes,
    speech: bytes | None = None,
    towers: Towers | None = None,
    progress: Progress = no_progress,
) -> SyncScore:
    """Compare the mouth in a video with a sound.

    Frames are decoded, looked at and let go one by one.

    Args:
        video: The file.
        speech: Another sound that begins with the first picture; None takes the video's own.
        towers: SyncNet, where its weights are installed.
        progress: Told of each frame, in seconds of the video.

    Raises:
        LipSyncError: The video or its sound can't be scored; the hint says what to do.
    """
    source = _open_video(video)
    fps = source.fps or SYNCNET_FPS
    if fps < LOWEST_FPS:
        raise InvalidInput(
            f"the video has {float(fps):.3g} frames a second: too few to see lips move",
            hint=f"Score a video of {LOWEST_FPS} frames a second or more, better 25.",
        )
    samples = _samples(video, speech)
    heard = heard_mouth(samples, fps)
    meter = SyncNetMeter(towers, wav2lip_mel(samples)) if towers else None
    seen = _watch(source, fps, len(heard.open), meter, progress)
    opening, closure = heard.open[: len(seen)], heard.closure[: len(seen)]
    return _score(opening, closure, seen, fps, meter.finish() if meter else None)


def _open_video(video: bytes) -> FaceSource:
    hint = "Score a video: MP4, MOV, WebM, MKV or AVI, with sound."
    if face_kind(video) == "photo":
        raise UnsupportedMedia("a photo has neither movement nor sound", hint=hint)
    try:
        return decode_face(video, TALLEST_PX)
    except UndecodableMedia:
        raise
    except UnsupportedMedia as error:
        raise UnsupportedMedia("the file is no video", hint=hint) from error


def _samples(video: bytes, speech: bytes | None) -> Samples:
    """The speech from the first picture on."""
    if speech is not None:
        return _mono(speech)
    try:
        samples = _mono(video)
    except SoundMissing as error:
        raise SoundMissing(
            "the video has no sound track", hint="Give its speech beside it: --speech FILE."
        ) from error
    delay = min(max(sound_delay(video), -MAX_SPEECH_SECONDS), MAX_SPEECH_SECONDS)
    late = round(delay * SPEECH_RATE)
    return np.pad(samples, (late, 0)) if late > 0 else samples[-late:]


def _mono(data: bytes) -> Samples:
    return np.concatenate([chunk.samples for chunk in speech_chunks(decode_sound(data))])


def _watch(
    source: FaceSource,
    fps: Fraction,
    num_heard: int,
    meter: SyncNetMeter | None,
    progress: Progress,
) -> Track:
    """The opening of the mouth in each frame, as far as there is sound.

    Raises:
        InvalidInput: There are too few frames.
        NoFaceFound: No frame shows a face, or hardly any.
    """
    follower = Follower("largest", fps)
    openings: list[float] = []
    for index, frame in enumerate(islice(source.frames(), num_heard)):
        face = follower.find(frame)
        openings.append(math.nan if face is None else mouth_opening(face.landmarks))
        if meter:
            # A rate other than 25 repeats or leaves out frames.
            ticks = (round(edge * SYNCNET_FPS / fps) for edge in (index, index + 1))
            for _ in range(*ticks):
                meter.see(_crop(frame, face))
        progress("score", float((index + 1) / fps), float(num_heard / fps))
    least = num_frames(round(SHORTEST_SECONDS * SPEECH_RATE), fps)
    if len(openings) < least:
        raise InvalidInput(
            f"there is picture with sound for {float(len(openings) / fps):.2f} s only",
            hint=f"Score {SHORTEST_SECONDS:g} s at least; 10 s or more tell much more.",
        )
    seen = np.array(openings)
    num_found = int(np.isfinite(seen).sum())
    if not num_found:
        raise follower.failure
    if num_found < least:
        raise NoFaceFound(
            f"only {num_found} of {len(seen)} frames show a face",
            hint=f"Score a video that shows the speaker for {SHORTEST_SECONDS:g} s or more.",
        )
    return seen


def _crop(frame: Frame, face: Face | None) -> NDArray[np.uint8] | None:
    if face is None:
        return None
    # Without the pads of inference: SyncNet was trained on the detector's plain boxes.
    height, width = frame.shape[:2]
    return crop_face(frame, face_box(face.landmarks, (0, 0, 0, 0), width, height))


def _score(
    opening: Track, closure: Track, seen: Track, fps: Fraction, syncnet: SyncNetScore | None
) -> SyncScore:
    """All measures of tracks as long as one another."""
    found = np.isfinite(seen)
    low, high = np.percentile(seen[found], (5, 95))
    shut = np.where(found, seen < low + SHUT_SHARE * (high - low), False)
    speaks = bool(opening.max() > _HEARD_OPENING)
    moves = bool(high - low >= STILL_RANGE)
    fit = best_fit(opening, seen, fps) if speaks and moves else None
    num_closures, hit, by_chance = _closures(closure, opening, shut, found, fps)
    silence, silence_shut = _silences(opening, shut, found, fps)
    return SyncScore(
        verdict=_verdict(fit, moves=moves, speaks=speaks, fps=fps, found=found),
        seconds=float(len(seen) / fps),
        fps=float(fps),
        num_frames=len(seen),
        frames_without_face=int((~found).sum()),
        opening_range=float(high - low),
        r=fit.r if fit else None,
        r_low=fit.low if fit else None,
        r_high=fit.high if fit else None,
        lag_ms=float(1000 * fit.lag / fps) if fit else None,
        r_at_zero=fit.r_at_zero if fit else None,
        r_above_rest=fit.r_above_rest if fit else None,
        chance=fit.chance if fit else None,
        num_closures=num_closures,
        closures_hit=hit if moves else None,
        closures_by_chance=by_chance if moves else None,
        silence_seconds=silence,
        silence_shut=silence_shut if moves else None,
        syncnet=syncnet,
    )


def _closures(
    closure: Track, opening: Track, shut: NDArray[np.bool_], found: NDArray[np.bool_], fps: Fraction
) -> tuple[int, float | None, float | None]:
    """How often lips are heard to meet, how many of these are seen, and how many would be blindly.

    Silences don't count: nothing is pressed together there.
    """
    reach = round(CLOSURE_SECONDS * fps)
    near = np.array([shut[max(0, i - reach) : i + reach + 1].any() for i in range(len(shut))])
    known = np.array([found[max(0, i - reach) : i + reach + 1].any() for i in range(len(shut))])
    moments = [(start + end - 1) // 2 for start, end in _runs(closure >= _HEARD_CLOSURE)]
    moments = [moment for moment in moments if known[moment]]
    spoken = known & ((opening > _HEARD_OPENING) | (closure >= _HEARD_CLOSURE))
    if not moments:
        return 0, None, None
    return len(moments), float(near[moments].mean()), float(near[spoken].mean())


def _silences(
    opening: Track, shut: NDArray[np.bool_], found: NDArray[np.bool_], fps: Fraction
) -> tuple[float, float | None]:
    """Seconds of long silences, and the share of their inner frames in which the mouth is shut."""
    edge = round(SILENCE_EDGE_SECONDS * fps)
    count, inner = 0, np.zeros(len(shut), bool)
    for start, end in _runs(opening < _HEARD_SILENCE):
        if end - start > SILENCE_SECONDS * fps:
            count += end - start
            inner[start + edge : end - edge] = True
    inner &= found
    return float(count / fps), float(shut[inner].mean()) if inner.any() else None


def _runs(wanted: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and past-the-last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False]))))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _verdict(
    fit: Fit | None, *, moves: bool, speaks: bool, fps: Fraction, found: NDArray[np.bool_]
) -> str:
    if not speaks:
        return "No speech was heard, so there is nothing for the mouth to follow."
    if not moves:
        return "The mouth does not move, though somebody speaks."
    if fit is None or fit.chance > CHANCE_PERHAPS:
        short = len(found) < 10 * fps
        more = " The clip is short: 10 s or more tell more." if short else ""
        return f"Nothing shows that the mouth follows the sound.{more}"
    late_ms = float(1000 * fit.lag / fps)
    when = "in time"
    if abs(late_ms) > IN_TIME_MS:
        when = f"{abs(late_ms):.0f} ms too {'late' if late_ms > 0 else 'early'}"
    if fit.chance > CHANCE_FOLLOWS:
        return f"Perhaps the mouth follows the sound, {when}: the clip does not prove it."
    how = "closely" if fit.r >= CLOSE_R else "as people's mouths do"
    return f"The mouth follows the sound {how}, {when}."
