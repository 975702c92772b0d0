"""espeak-ng: speaks offline, at once, in more than 100 languages, and tells its phonemes."""

import atexit
import ctypes
import shutil
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import espeakng_loader
import numpy as np

from backend.speech.base import Spoken
from contracts.errors import SpeechFailed
from contracts.jobs import Voice
from contracts.marks import PhonemeMark

WORDS_PER_MINUTE = 160
FEMALE_VARIANT = "f3"
FEMALE_SUFFIX = "+female"

# Constants of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2  # with RETRIEVAL (1), another thread calls back after Synth returned
_PHONEME_EVENTS, _PHONEMES_AS_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_CHARS_UTF8 = 1
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH = 1, 3
_OK = 0

_MUTE = frozenset({"fo", "kaa", "xex"})
"""Languages that the packaged library lists and has no dictionary for."""
_MAX_DATA_PATH = 120
"""espeak-ng 1.52 overruns a buffer, and ends the process, from about 160 characters on."""
_PITCH_OF_VOICE = 50
"""The voice's own, in the middle of 0 to 100."""
_LOCK = threading.Lock()
"""The library has one voice and one callback for the whole process."""


class _EventId(ctypes.Union):
    _fields_: ClassVar = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _Voice(ctypes.Structure):
    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Take:
    """What the library calls back with while it speaks one sentence."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.phonemes: list[tuple[int, str]] = []

    def __call__(
        self,
        samples: "ctypes._Pointer[ctypes.c_short]",
        count: int,
        events: "ctypes._Pointer[_Event]",
    ) -> int:
        if samples and count > 0:
            self.pieces.append(ctypes.string_at(samples, count * 2))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_PHONEME:
                # Eight bytes at most, and then without a final zero.
                phoneme = bytes(events[i].id.string).decode("utf-8", "ignore")
                self.phonemes.append((events[i].sample, phoneme))
            i += 1
        return 0


class _Language(NamedTuple):
    name: str
    """For people."""
    identifier: str
    """For the library, which does not find every voice by its tag."""


class Library:
    """espeak-ng itself; one thread at a time."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        # Without _DONT_EXIT the library ends the whole process when its data are not there.
        options = _PHONEME_EVENTS | _PHONEMES_AS_IPA | _DONT_EXIT
        data = _data_path(Path(espeakng_loader.get_data_path()))
        self.sample_rate: int = self._lib.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 100, str(data).encode(), options
        )
        if self.sample_rate <= 0:
            raise SpeechFailed("espeak-ng could not be started: its data are missing")

    def languages(self) -> dict[str, _Language]:
        """What can be spoken, by language tag."""
        voices = self._lib.espeak_ListVoices(None)
        languages: dict[str, _Language] = {}
        i = 0
        while voices[i]:
            voice = voices[i].contents
            # One byte of priority stands before the tag.
            tag = ctypes.string_at(voice.languages + 1).decode()
            found = _Language(voice.name.decode().strip(), voice.identifier.decode())
            if tag not in _MUTE:
                languages.setdefault(tag, found)
            i += 1
        return languages

    def speak(
        self,
        sentence: str,
        voice_name: str,
        words_per_minute: int = WORDS_PER_MINUTE,
        pitch: int = _PITCH_OF_VOICE,
    ) -> tuple[bytes, list[tuple[int, str]]]:
        """Samples, and phonemes with the sample at which each begins."""
        take = _Take()
        callback = _Callback(take)
        text = sentence.encode()
        if self._lib.espeak_SetVoiceByName(voice_name.encode()) != _OK:
            raise SpeechFailed(f"espeak-ng has no voice {voice_name}")
        self._lib.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._lib.espeak_SetParameter(_PITCH, pitch, 0)
        self._lib.espeak_SetSynthCallback(callback)
        # Without the SSML and phoneme flags, <tags> and [[phonemes]] are text like any other.
        status = self._lib.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        if status != _OK:
            raise SpeechFailed(f"espeak-ng failed with status {status}")
        return b"".join(take.pieces), take.phonemes


@cache
def espeak() -> Library:
    """The process's own."""
    return Library()


def _data_path(data: Path) -> Path:
    if len(str(data)) <= _MAX_DATA_PATH:
        return data
    folder = Path(tempfile.mkdtemp(prefix="espeak-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(data, folder / data.name)
    return folder / data.name


class EspeakVoices:
    """Two voices a language, offline."""

    def __init__(self) -> None:
        with _LOCK:
            self._languages = espeak().languages()
        self.voices: Sequence[Voice] = tuple(
            Voice(
                id=f"espeak:{tag}{suffix}",
                name=f"{language.name}{', female' if suffix else ''} (offline)",
                language=tag,
                online=False,
                gender="female" if suffix else "male",
                marks=True,
            )
            for tag, language in self._languages.items()
            for suffix in ("", FEMALE_SUFFIX)
        )

    def speak(self, sentence: str, voice: Voice) -> Spoken:
        """Speak one sentence, with a mark for each phoneme."""
        name = self._languages[voice.language].identifier
        if voice.id.endswith(FEMALE_SUFFIX):
            name += f"+{FEMALE_VARIANT}"
        with _LOCK:
            library = espeak()
            sound, phonemes = library.speak(sentence, name)
            rate = library.sample_rate
        samples = np.frombuffer(sound, np.int16)
        ends = [*(begin for begin, _ in phonemes[1:]), len(samples)]
        marks = tuple(
            PhonemeMark(start=begin / rate, end=max(begin, end) / rate, phoneme=phoneme)
            for (begin, phoneme), end in zip(phonemes, ends, strict=True)
        )
        return Spoken(samples, rate, marks)
