"""Faces and speech like those that the network will meet, to measure and to quantise it with."""

from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from contracts.errors import InvalidInput
from contracts.lipsync import LipSyncOptions
from gpu_service.audio.mel import NUM_MELS, WINDOW_COLUMNS, Mel, wav2lip_mel
from gpu_service.data import Box, Image, Samples, no_progress
from gpu_service.engines.wav2lip.boxes import face_boxes
from gpu_service.engines.wav2lip.preprocess import FACE_SIDE, Floats, crop_face, network_faces
from gpu_service.faces.track import track_faces
from gpu_service.media.decode import decode_face, decode_sound, speech_chunks

SPEEDS: Final = (0.75, 1.0, 1.3)
"""One recording played slower and faster gives deeper and higher voices."""
GAINS: Final = (1.0, 0.3, 0.05)
"""How loud the voices are at their loudest; the network hears how loud a recording is."""


class NetworkInputs(NamedTuple):
    """A batch of what the network takes."""

    mel: Floats
    """(B, 1, 80, 16)"""
    faces: Floats
    """(B, 6, 96, 96)"""


def lifelike_inputs(face: bytes, speech: bytes, count: int, seed: int) -> NetworkInputs:
    """Inputs made from one photo and one recording, varied; the same ones for the same seed.

    Faces are shifted, cropped, mirrored, and lit otherwise; the speech is that of deeper and
    higher voices, louder and softer, of several at once, and silence.

    Raises:
        InvalidInput: The speech is shorter than what the network hears at once.
        NoFaceFound: The picture shows no face.
    """
    random = np.random.default_rng(seed)
    frame, box = _face(face)
    crops = np.stack([_varied_crop(frame, box, random) for _ in range(count)])
    columns = np.concatenate([wav2lip_mel(voice) for voice in _voices(_samples(speech))], axis=1)
    return NetworkInputs(_windows(columns, count, random), network_faces(crops))


def random_inputs(count: int) -> NetworkInputs:
    """Inputs that no face and no speech ever gives, over the whole range; always the same ones."""
    random = np.random.default_rng(0)
    mel = random.uniform(-4, 4, (count, 1, NUM_MELS, WINDOW_COLUMNS)).astype(np.float32)
    crops = random.integers(0, 256, (count, FACE_SIDE, FACE_SIDE, 3), np.uint8)
    return NetworkInputs(mel, network_faces(crops))


def _face(data: bytes) -> tuple[Image, Box]:
    options = LipSyncOptions()
    source = decode_face(data, options.max_height)
    track = track_faces(source, Fraction(25), options, no_progress, 1)
    (box,) = face_boxes(track, options)
    if box is None:
        raise AssertionError("a face that was found has a box")
    return next(source.frames()), box


def _varied_crop(frame: Image, box: Box, random: np.random.Generator) -> Image:
    height, width = frame.shape[:2]
    right, down = random.uniform(-0.06, 0.06, 2) * box.width
    grown = random.uniform(-0.1, 0.1) * box.width
    x1, y1 = max(0, round(box.x1 + right - grown)), max(0, round(box.y1 + down - grown))
    x2, y2 = min(width, round(box.x2 + right + grown)), min(height, round(box.y2 + down + grown))
    light = random.uniform(0.4, 1.3) * random.uniform(0.85, 1.15, 3)
    crop = crop_face(frame, Box(x1, y1, x2, y2)) * light
    crop = crop[:, ::-1] if random.random() < 0.5 else crop
    return np.clip(crop, 0, 255).astype(np.uint8)


def _samples(data: bytes) -> Samples:
    return np.concatenate([chunk.samples for chunk in speech_chunks(decode_sound(data))])


def _voices(samples: Samples) -> list[Samples]:
    samples = samples / max(float(np.abs(samples).max()), 1e-6)
    voices = [_played(samples, speed) for speed in SPEEDS]
    shortest = min(len(voice) for voice in voices)
    together: Samples = np.stack([voice[:shortest] for voice in voices]).mean(axis=0)
    loud = [voice * np.float32(gain) for voice in voices for gain in GAINS]
    return [*loud, together, np.zeros(len(samples) // 4, np.float32)]


def _played(samples: Samples, speed: float) -> Samples:
    moments = np.arange(0, len(samples) - 1, speed)
    return np.asarray(np.interp(moments, np.arange(len(samples)), samples), np.float32)


def _windows(columns: Mel, count: int, random: np.random.Generator) -> Floats:
    last = columns.shape[1] - WINDOW_COLUMNS
    if last < 0:
        raise InvalidInput(
            "the speech is too short to measure with", hint="Take a second of speech, or more."
        )
    # Evenly spread, so that each voice comes into it, and never at the same place of a sound.
    starts = np.linspace(0, last, count) + random.uniform(-3, 3, count)
    starts = np.clip(starts.astype(int), 0, last)
    return np.stack([columns[np.newaxis, :, start : start + WINDOW_COLUMNS] for start in starts])
