"""gTTS: Google's online voices. They are sent the text."""

import io
from collections.abc import Sequence

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from gtts import gTTS
from gtts.lang import tts_langs
from gtts.tts import gTTSError
from requests import RequestException

from backend.speech.base import Spoken
from contracts.errors import SpeechFailed
from contracts.jobs import Voice

SAMPLE_RATE = 24_000
"""Hz; what the service sends."""


class GttsVoices:
    """One voice a language, online, without marks."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self.voices: Sequence[Voice] = tuple(
            Voice(
                id=f"gtts:{tag}",
                name=f"{name} (online)",
                language=tag,
                online=True,
                gender="female",
                marks=False,
            )
            for tag, name in tts_langs().items()
        )

    def speak(self, sentence: str, voice: Voice) -> Spoken:
        """Speak one sentence; fails when the service is silent for the timeout."""
        mp3 = io.BytesIO()
        try:
            # Without a timeout it waits for ever.
            gTTS(
                sentence, lang=voice.language, lang_check=False, timeout=self._timeout_seconds
            ).write_to_fp(mp3)
            return Spoken(_decode(mp3), SAMPLE_RATE, None)
        except (gTTSError, RequestException, AssertionError, ValueError) as error:
            raise SpeechFailed("Google's voice does not answer") from error
        except av.error.FFmpegError as error:
            raise SpeechFailed("Google's voice answered with something else than MP3") from error


def _decode(mp3: io.BytesIO) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    mp3.seek(0)
    resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(mp3, "r", options={"format_whitelist": "mp3"}) as container:
        frames = [
            piece.to_ndarray()[0]
            for frame in (*container.decode(audio=0), None)
            for piece in resampler.resample(frame)
        ]
    return np.concatenate(frames)
