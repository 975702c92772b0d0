"""Faces, speech and files made by code."""

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.signal import lfilter

from contracts.marks import PhonemeMark
from gpu_service.data import FULL_SCALE, SPEECH_RATE, Frame, Samples, Sound, SpeechChunk
from gpu_service.media.decode import decode_sound, speech_chunks

SAMPLES = Path(__file__).parent.parent / "samples"

FORMANTS = {"a": (750, 1250), "i": (290, 2300), "u": (310, 850), "e": (500, 1900), "o": (480, 950)}
"""First and second formant of each vowel, in Hz."""


def vowel(name: str, seconds: float, pitch: float = 120.0) -> Samples:
    """A sung vowel with soft edges, about -20 dB."""
    count = round(seconds * SPEECH_RATE)
    pulses = np.zeros(count)
    pulses[np.arange(0, count, SPEECH_RATE / pitch).astype(int)] = 1.0
    sound: NDArray[np.float64] = lfilter([1.0], [1.0, -0.95], pulses)
    for formant, bandwidth in zip((*FORMANTS[name], 2900), (80, 100, 160), strict=True):
        radius = np.exp(-np.pi * bandwidth / SPEECH_RATE)
        angle = 2 * np.pi * formant / SPEECH_RATE
        sound = lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], sound)
    ramp = np.clip(np.minimum(np.arange(count), np.arange(count)[::-1]) / 240, 0, 1)
    return (sound * ramp * 0.1 / max(sound.std(), 1e-9)).astype(np.float32)


def hiss(seconds: float, level: float = 0.02, seed: int = 0) -> Samples:
    """Noise as of the consonant s."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * SPEECH_RATE))
    return (level * np.diff(noise, prepend=0.0)).astype(np.float32)


def silence(seconds: float) -> Samples:
    """No sound at all."""
    return np.zeros(round(seconds * SPEECH_RATE), np.float32)


def babble(seconds: float, seed: int = 0) -> Samples:
    """Syllables of made-up speech, without pauses."""
    choose = np.random.default_rng(seed)
    pieces: list[Samples] = []
    while sum(len(piece) for piece in pieces) < seconds * SPEECH_RATE:
        onset = choose.choice(3)
        if onset == 0:
            pieces.append(hiss(0.09, seed=int(choose.integers(1000))))
        elif onset == 1:
            pieces.append(silence(0.07))
        name = str(choose.choice(list(FORMANTS)))
        pieces.append(vowel(name, choose.uniform(0.09, 0.22), choose.uniform(95, 150)))
    return np.concatenate(pieces)[: round(seconds * SPEECH_RATE)]


def sample_speech() -> Samples:
    """The recording in samples/, as engines hear it."""
    sound = decode_sound((SAMPLES / "speech.flac").read_bytes())
    return np.concatenate([chunk.samples for chunk in speech_chunks(sound)])


def cut(speech: SpeechChunk, lengths: Sequence[int]) -> Iterator[SpeechChunk]:
    """The speech in pieces of these lengths in turn, each with the marks that begin in it."""
    start = turn = 0
    while start < len(speech.samples):
        end = min(start + lengths[turn % len(lengths)], len(speech.samples))
        last = end == len(speech.samples)
        marks = speech.marks and tuple(
            mark
            for mark in speech.marks
            if start <= mark.start * SPEECH_RATE and (last or mark.start * SPEECH_RATE < end)
        )
        yield SpeechChunk(speech.samples[start:end], marks)
        start, turn = end, turn + 1


class Counted:
    """Speech that knows how much of it was taken."""

    def __init__(self, speech: Iterable[SpeechChunk]) -> None:
        self._speech = speech
        self.num_samples = 0

    def __iter__(self) -> Iterator[SpeechChunk]:
        for chunk in self._speech:
            self.num_samples += len(chunk.samples)
            yield chunk


def marks_of(*phonemes: tuple[str, float]) -> tuple[PhonemeMark, ...]:
    """Marks of phonemes and their seconds, one after the other; an empty phoneme is a pause."""
    marks, start = [], 0.0
    for phoneme, seconds in phonemes:
        marks.append(PhonemeMark(start=start, end=start + seconds, phoneme=phoneme))
        start += seconds
    return tuple(mark for mark in marks if mark.phoneme)


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> Pillow.Image:
    """A picture of soft colours, the same each time."""
    spots = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    rgb = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    if mode == "I;16":
        return Pillow.fromarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257)
    return Pillow.fromarray(rgb).convert(mode)


def saved(image: Pillow.Image, form: str, **options: object) -> bytes:
    """The picture as a file of this form."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def wide_gamut_profile() -> bytes:
    """An ICC profile (ICC.1:2001) with the primaries of Display P3 and a gamma of 2.2."""
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
        b"wtpt": (0.95045, 1.0, 1.08905),
    }
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in xyz))
        for name, xyz in primaries.items()
    }
    gamma = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Wide\0" + bytes(83)
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(tag))
        data += tag
    size = struct.pack(">I", 128 + len(table) + len(data))
    header = size + b"\0\0\0\0\2\x40\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    white = struct.pack(">3i", 63190, 65536, 54061)
    return header + white + bytes(128 - len(header) - len(white)) + table + data


def tone(seconds: float, sample_rate: int = 48_000, channels: int = 1) -> NDArray[np.float32]:
    """(channels, num_samples) of a 300 Hz tone."""
    moments = np.arange(round(seconds * sample_rate)) / sample_rate
    wave_form = (0.3 * np.sin(2 * np.pi * 300 * moments)).astype(np.float32)
    return np.repeat(wave_form[np.newaxis], channels, axis=0)


def recorded(samples: NDArray[np.float32], sample_rate: int) -> Sound:
    """(channels, num_samples) in [-1, 1] as viewers hear them."""
    return Sound(np.rint(samples * (FULL_SCALE - 1)).astype(np.int16), sample_rate)


def wav(samples: NDArray[np.float32], sample_rate: int, num_bytes: int | None = None) -> bytes:
    """A 16-bit WAV whose header says what it is told to of the length of its samples."""
    data = (samples.T * 32767).astype("<i2").tobytes()
    claimed = len(data) if num_bytes is None else num_bytes
    channels = len(samples)
    form = struct.pack(
        "<HHIIHH", 1, channels, sample_rate, sample_rate * channels * 2, channels * 2, 16
    )
    return (
        b"RIFF" + struct.pack("<I", (claimed + 36) & 0xFFFFFFFF) + b"WAVEfmt \x10\0\0\0"
        + form + b"data" + struct.pack("<I", claimed) + data
    )  # fmt: skip


def media_file(
    container: str,
    *,
    sound: str | None = None,
    seconds: float = 1.0,
    sample_rate: int = 48_000,
    layout: str = "mono",
    video: str | None = None,
) -> bytes:
    """A 300 Hz tone, a video whose frames grow brighter, or both.

    Args:
        container: FFmpeg's name of the file's form.
        sound: FFmpeg's name of the sound's codec.
        seconds: How long it lasts.
        sample_rate: Of the sound, in Hz.
        layout: Of the sound's channels.
        video: FFmpeg's name of the video's codec; 64 x 48 pixels, 25 frames per second.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        pictures = output.add_stream(video, rate=25) if video else None
        track = output.add_stream(sound, rate=sample_rate, layout=layout) if sound else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for index in range(round(seconds * 25)):
                pixels = np.full((48, 64, 3), min(index * 8, 255), np.uint8)
                output.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, "bgr24")))
            output.mux(pictures.encode(None))
        if track:
            samples = tone(seconds, sample_rate, track.layout.nb_channels)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
            frame.sample_rate, frame.pts = sample_rate, 0
            resampler = av.AudioResampler(track.format, layout, sample_rate)
            for part in (*resampler.resample(frame), *resampler.resample(None), None):
                output.mux(track.encode(part))
    return file.getvalue()


def filmed(
    frames: Sequence[Frame],
    ticks: Sequence[int] | None = None,
    rate: int = 25,
    container: str = "mp4",
    codec: str = "libx264",
    keyframe_every: int = 250,
) -> bytes:
    """A video of these frames; H.264 has frames that refer to later ones.

    Args:
        frames: All of one size.
        ticks: When each is shown, in frames of the rate; one after the other by default.
        rate: Frames per second.
        container: FFmpeg's name of the file's form.
        codec: FFmpeg's name of the codec.
        keyframe_every: So many frames, at most, from one keyframe to the next.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        options = {"crf": "12"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=rate, options=options)
        stream.codec_context.gop_size = keyframe_every
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for tick, pixels in zip(ticks or range(len(frames)), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(pixels, "bgr24")
            picture.pts, picture.time_base = tick, Fraction(1, rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return file.getvalue()


def numbered(number: int, side: int = 64) -> Frame:
    """A frame that says its number, below 256, in eight bars: dark for 0, bright for 1."""
    bars = [40 if number >> bit & 1 == 0 else 216 for bit in range(8)]
    return np.tile(np.repeat(np.array(bars, np.uint8), side // 8)[:, None], (side, 1, 3))


def number_of(frame: Frame) -> int:
    """What a numbered frame says, also after encoding."""
    bars = frame.mean(axis=(0, 2)).reshape(8, -1).mean(axis=1)
    return int(sum(1 << bit for bit in range(8) if bars[bit] > 128))


def portrait() -> Frame:
    """The picture in samples/: one face, smiling with its teeth, 92 pixels from ear to ear."""
    return np.asarray(cv2.imread(str(SAMPLES / "portrait.jpg")), np.uint8)


def saved_frame(frame: Frame) -> bytes:
    """The picture as a PNG file."""
    return bytes(cv2.imencode(".png", frame)[1])


def large_portrait(num_bytes: int) -> bytes:
    """The same, as grainy as a night's photo, in a PNG of about this size and no less."""
    face, grain = portrait(), np.random.default_rng(0)
    scale = 1.0
    while True:
        large = scaled(face, scale).astype(np.int16)
        noisy = large + grain.integers(-12, 13, large.shape, np.int16)
        data = saved_frame(np.clip(noisy, 0, 255).astype(np.uint8))
        if len(data) >= num_bytes:
            return data
        scale *= 1.01 * float(np.sqrt(num_bytes / len(data)))


def scaled(frame: Frame, scale: float) -> Frame:
    """The picture in another size."""
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=smooth), np.uint8)


def turned(frame: Frame, degrees: float) -> Frame:
    """The picture turned about its portrait's face."""
    height, width = frame.shape[:2]
    about = cv2.getRotationMatrix2D((width * 0.44, height * 0.25), degrees, 1.0)
    border = cv2.BORDER_REFLECT
    return np.asarray(cv2.warpAffine(frame, about, (width, height), borderMode=border), np.uint8)


class Photo:
    """A FaceSource of one frame."""

    kind: Literal["photo", "video"] = "photo"
    fps: Fraction | None = None

    def __init__(self, frame: Frame, scale: float = 1.0) -> None:
        self._frame = frame
        self.height, self.width = frame.shape[:2]
        self.scale = scale

    def frames(self, first: int = 0) -> Iterator[Frame]:
        yield from (self._frame,)[first:]


class Film:
    """A FaceSource of given frames."""

    kind: Literal["photo", "video"] = "video"
    fps: Fraction | None = Fraction(25)
    scale = 1.0

    def __init__(self, *frames: Frame) -> None:
        self._frames = frames
        self.height, self.width = frames[0].shape[:2]

    def frames(self, first: int = 0) -> Iterator[Frame]:
        yield from self._frames[first:]
