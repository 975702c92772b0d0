"""Chooses the voices for a text, and speaks it with the first that can."""

import logging
import re
import threading
from collections.abc import Sequence

from backend.speech.base import Speech, Spoken, TtsProvider
from backend.speech.join import join
from backend.speech.text import Sentence, clean, sentences
from contracts.errors import Cancelled, SpeechFailed, SpeechTooLong, VoiceNotFound
from contracts.jobs import Voice
from contracts.limits import MAX_SPEECH_SECONDS

log = logging.getLogger(__name__)

DEFAULT_LANGUAGE = "en"
_TAG = re.compile(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*")
_PREFERRED = {"en": "en-us", "fr": "fr-fr", "zh": "cmn", "zh-cn": "cmn", "zh-tw": "cmn", "no": "nb"}
"""Where a language has several voices or another tag, the one that most people expect."""


class Speaker:
    """Speaks whole texts with an ordered list of providers; the last works offline."""

    def __init__(self, providers: Sequence[TtsProvider]) -> None:
        self._provider_of = {
            voice.id: provider for provider in providers for voice in provider.voices
        }
        self._voices_of = [tuple(provider.voices) for provider in providers]

    @property
    def voices(self) -> list[Voice]:
        """Every voice that may be asked for."""
        return [voice for voices in self._voices_of for voice in voices]

    def choose(self, voice_id: str | None, language: str | None) -> list[Voice]:
        """The voices to try, in order: the named one, then the offline one most like it.

        Raises:
            VoiceNotFound: No voice has this name, or none speaks this language.
        """
        if voice_id:
            voice = next((voice for voice in self.voices if voice.id == voice_id), None)
            if voice is None:
                raise VoiceNotFound(f"there is no voice {voice_id[:64]!r}")
            if not voice.online:
                return [voice]
            others = self._speaking(voice.language, voice.gender)
            return [voice, *(other for other in others if not other.online)]
        language = language or DEFAULT_LANGUAGE
        found = self._speaking(language) if _TAG.fullmatch(language) else []
        if not found:
            raise VoiceNotFound(
                f"no voice speaks the language {language[:64]!r}",
                hint="The voices and their languages are listed under /voices.",
            )
        return found

    def _speaking(self, language: str, gender: str | None = None) -> list[Voice]:
        """Each provider's best voice for a language, of that gender or else of the first's."""
        found: list[Voice] = []
        for voices in self._voices_of:
            if best := _best(voices, language.lower().replace("_", "-"), gender):
                found.append(best)
                gender = gender or best.gender
        return found

    def speak(
        self, text: str, voices: Sequence[Voice], stop: threading.Event | None = None
    ) -> Speech:
        """Speak a text with the first of `voices` that can; no text is spoken by two voices.

        Args:
            text: What to say.
            voices: Whom to try, in order.
            stop: Ends speaking at the next sentence.

        Raises:
            TextRejected: There is nothing to speak.
            SpeechFailed: None of them can.
            SpeechTooLong: It takes longer than is allowed.
            Cancelled: `stop` was set.
        """
        stop = stop or threading.Event()
        pieces = sentences(clean(text))
        for voice in voices:
            try:
                return Speech(self._speak_with(voice, pieces, stop), voice)
            except SpeechFailed as error:
                log.warning("voice %s failed: %s", voice.id, error.detail)
        raise SpeechFailed("no voice could speak the text")

    def _speak_with(
        self, voice: Voice, pieces: Sequence[Sentence], stop: threading.Event
    ) -> Spoken:
        provider = self._provider_of[voice.id]
        too_long = SpeechTooLong("speaking this text takes longer than 10 minutes")
        spoken: list[Spoken] = []
        seconds = 0.0
        for piece in pieces:
            if stop.is_set():
                raise Cancelled("stopped while the text was being spoken")
            spoken.append(provider.speak(piece.text, voice))
            seconds += spoken[-1].seconds
            if seconds > MAX_SPEECH_SECONDS:
                raise too_long
        whole = join(spoken, [piece.pause_seconds for piece in pieces])
        if whole.seconds > MAX_SPEECH_SECONDS:
            raise too_long
        return whole


def _best(voices: Sequence[Voice], language: str, gender: str | None) -> Voice | None:
    alike = _nearest(voices, language)
    return next((voice for voice in alike if voice.gender == gender), next(iter(alike), None))


def _nearest(voices: Sequence[Voice], language: str) -> list[Voice]:
    # From the most to the least exact: en-gb, what people expect of en, en, any of en-*.
    primary = language.partition("-")[0]
    wanted = (language, _PREFERRED.get(language), primary, _PREFERRED.get(primary))
    for tag in wanted:
        if found := [voice for voice in voices if voice.language.lower() == tag]:
            return found
    return [voice for voice in voices if voice.language.lower().startswith(f"{primary}-")]
