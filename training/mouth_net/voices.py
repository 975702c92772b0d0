"""Speech with phoneme marks, from espeak-ng, and from flite and festival where installed."""

import io
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from backend.speech.espeak_voice import espeak
from contracts.marks import PhonemeMark
from gpu_service.data import SPEECH_RATE, Samples
from training.mouth_net.phones import PHONES
from training.mouth_net.texts import SENTENCES, Writer

_LIPS_MEET: Final = 0.7


@dataclass(frozen=True)
class Clip:
    """One sentence of one voice."""

    voice: str
    samples: Samples
    marks: tuple[PhonemeMark, ...]


ESPEAK_VARIANTS: Final = (
    "", "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt",
    "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "Annie", "Denis", "Hugo", "Lee", "Michael",
    "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed",
    "grandma", "grandpa", "ian", "john", "linda", "max", "michel", "pablo", "paul", "quincy",
    "rob", "sandro", "steph", "travis", "victor", "zac", "whisper",
)  # fmt: skip
ESPEAK_HELD_OUT_VARIANTS: Final = ("Andy", "Alicia", "shelby", "marcelo")
HELD_OUT_LANGUAGES: Final = ("ru", "ja", "tr", "ca")

FLITE: Final = ("slt", "rms", "kal16", "awb")
FLITE_HELD_OUT: Final = "awb"
FESTIVAL: Final = {
    "cmu_us_slt_arctic_hts": ("en", "utf-8"),
    "ked_diphone": ("en", "utf-8"),
    "czech_dita": ("cs", "iso-8859-2"),
    "czech_krb": ("cs", "iso-8859-2"),
    "czech_machac": ("cs", "iso-8859-2"),
    "czech_ph": ("cs", "iso-8859-2"),
    "lp_diphone": ("it", "latin-1"),
    "pc_diphone": ("it", "latin-1"),
    "hy_fi_mv_diphone": ("fi", "latin-1"),
    "suo_fi_lj_diphone": ("fi", "latin-1"),
    "upc_ca_ona_hts": ("ca", "latin-1"),
    "msu_ru_nsh_clunits": ("ru", "utf-8"),
}
"""Language and encoding of each voice."""
APT_LINE: Final = (
    "apt-get install -y --no-install-recommends flite festival festvox-us-slt-hts "
    "festvox-kdlpc16k festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-czech-ph "
    "festvox-italp16k festvox-itapc16k festvox-suopuhe-mv festvox-suopuhe-lj "
    "festvox-ca-ona-hts festvox-ru"
)


def espeak_clips(language: str, variants: Sequence[str], seconds: float, seed: int) -> list[Clip]:
    """Sentences of this length in all, each by another variant, at another rate and pitch."""
    random, writer = np.random.default_rng(seed), Writer(language, seed)
    library = espeak()
    identifier = library.languages()["en-us" if language == "en" else language].identifier
    clips: list[Clip] = []
    spoken = 0.0
    while spoken < seconds:
        variant = str(random.choice(variants))
        sound, phonemes = library.speak(
            writer.sentence(),
            f"{identifier}+{variant}" if variant else identifier,
            words_per_minute=int(random.integers(120, 240)),
            pitch=int(random.integers(25, 80)),
        )
        samples = _speech_rate(np.frombuffer(sound, np.int16), library.sample_rate)
        begins = [begin / library.sample_rate for begin, _ in phonemes]
        ends = [*begins[1:], len(samples) / SPEECH_RATE]
        marks = _marks(zip(begins, ends, (name for _, name in phonemes), strict=True))
        if len(samples) > SPEECH_RATE // 4 and marks:
            clips.append(Clip(f"espeak:{language}", samples, marks))
        spoken += max(len(samples) / SPEECH_RATE, 0.1)
    return clips


def flite_clips(voice: str, num_sentences: int, seed: int) -> list[Clip]:
    """Sentences by one voice of flite; none where flite is not installed."""
    flite, writer = shutil.which("flite"), Writer("en", seed)
    random, clips = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        for _ in range(num_sentences if flite else 0):
            command = [
                str(flite), "-voice", voice, "-psdur", "-t", writer.sentence(), "-o", str(path),
                "--setf", f"duration_stretch={random.uniform(0.75, 1.2):.2f}",
            ]  # fmt: skip
            told = subprocess.run(command, capture_output=True, text=True, check=True)
            ends = [pair.rsplit(":", 1) for pair in told.stdout.split()]
            clips.append(_natural(f"flite:{voice}", "en", path.read_bytes(), ends))
    return clips


def festival_clips(voice: str, num_sentences: int, seed: int) -> list[Clip]:
    """Sentences by one voice of festival; none where it is not installed."""
    festival = shutil.which("festival")
    if not festival or not any(Path("/usr/share/festival/voices").glob(f"*/{voice}")):
        return []
    language, encoding = FESTIVAL[voice]
    writer, random = Writer(language, seed), np.random.default_rng(seed)
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})"]
        for index in range(num_sentences):
            text = re.sub(r'["\\]', "", writer.sentence())
            lines += [
                f"(Parameter.set 'Duration_Stretch {random.uniform(0.75, 1.2):.2f})",
                f'(set! spoken (utt.synth (Utterance Text "{text}")))',
                f'(utt.save.wave spoken "{folder}/{index}.wav" \'riff)',
                f'(utt.save.segs spoken "{folder}/{index}.segs")',
            ]
        script = Path(folder) / "speak.scm"
        script.write_text("\n".join(lines), encoding=encoding, errors="ignore")
        subprocess.run([festival, "-b", str(script)], capture_output=True, check=False, timeout=900)
        for index in range(num_sentences):
            sound, segments = (Path(folder) / f"{index}.{kind}" for kind in ("wav", "segs"))
            if sound.exists() and segments.exists():
                rows = segments.read_text(encoding="latin-1").split("#\n", 1)[-1].splitlines()
                ends = [[row.split()[2], row.split()[0]] for row in rows if len(row.split()) > 2]
                clips.append(_natural(f"festival:{voice}", language, sound.read_bytes(), ends))
    return clips


def training_clips(minutes: float, seed: int) -> Iterator[Clip]:
    """Speech to learn from: about half of it by voices that were cut from recordings."""
    languages = [name for name in SENTENCES if name not in HELD_OUT_LANGUAGES]
    for index, language in enumerate(languages):
        seconds = 60 * minutes / 2 / len(languages)
        yield from espeak_clips(language, ESPEAK_VARIANTS, seconds, seed + index)
    natural = [
        *(("flite", voice, 2.0) for voice in FLITE if voice != FLITE_HELD_OUT),
        *(
            ("festival", voice, 1.0)
            for voice, (language, _) in FESTIVAL.items()
            if language not in HELD_OUT_LANGUAGES
        ),
    ]
    total = sum(weight for *_, weight in natural)
    for index, (program, voice, weight) in enumerate(natural):
        num_sentences = round(60 * minutes / 2 / 2.8 * weight / total)
        speak = flite_clips if program == "flite" else festival_clips
        yield from speak(voice, num_sentences, seed + 1000 + index)


def held_out_clips(minutes: float, seed: int) -> Iterator[Clip]:
    """Speech to choose by: voices and languages that nothing was learnt from."""
    for index, language in enumerate(HELD_OUT_LANGUAGES):
        yield from espeak_clips(language, ESPEAK_HELD_OUT_VARIANTS, 60 * minutes / 8, seed + index)
    num_sentences = round(60 * minutes / 2 / 3 / 2.8)
    yield from flite_clips(FLITE_HELD_OUT, num_sentences, seed + 10)
    yield from festival_clips("msu_ru_nsh_clunits", num_sentences, seed + 11)
    yield from festival_clips("upc_ca_ona_hts", num_sentences, seed + 12)


def _natural(voice: str, language: str, sound: bytes, ends: Sequence[Sequence[str]]) -> Clip:
    with wave.open(io.BytesIO(sound)) as file:
        recorded = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        samples = _speech_rate(recorded, file.getframerate())
    names = PHONES[language]
    times = [float(end) for _, end in ends]
    begins = [0.0, *times[:-1]]
    phonemes = [names.get(name, "") for name, _ in ends]
    # Their p and b end with what is heard after the lips have parted.
    times = [
        begin + _LIPS_MEET * (end - begin) if phoneme in ("p", "b", "pʲ", "bʲ") else end
        for begin, end, phoneme in zip(begins, times, phonemes, strict=True)
    ]
    return Clip(voice, samples, _marks(zip(begins, times, phonemes, strict=True)))


def _marks(spans: Iterable[tuple[float, float, str]]) -> tuple[PhonemeMark, ...]:
    return tuple(
        PhonemeMark(start=start, end=max(start, end), phoneme=name[:16])
        for start, end, name in spans
    )


def _speech_rate(samples: NDArray[np.int16], rate: int) -> Samples:
    divisor = int(np.gcd(rate, SPEECH_RATE))
    sound = resample_poly(samples / 32768.0, SPEECH_RATE // divisor, rate // divisor)
    return np.asarray(sound, np.float32)
