"""What the lips and the jaw do for each sound of the International Phonetic Alphabet."""

# IPA letters look like others on purpose.
# ruff: noqa: RUF001, RUF002

import unicodedata
from typing import Final, Literal, NamedTuple

Lips = Literal["free", "closed", "teeth"]
"""`closed`: both lips meet (p, b, m); `teeth`: the lower lip meets the upper teeth (f, v)."""


class Articulation(NamedTuple):
    """Where a sound wants the mouth, and how much it insists."""

    open: float
    """Opening in [0, 1]."""
    width: float
    """-1 narrow, 0 rest, 1 spread."""
    round: float
    """Rounding in [0, 1]."""
    jaw_weight: float
    """How strongly the sound holds its opening against its neighbours, in [0, 1]."""
    lip_weight: float
    """How strongly the sound holds its width and rounding against its neighbours, in [0, 1]."""
    lips: Lips = "free"


class Gesture(NamedTuple):
    """One articulation within a phoneme mark."""

    articulation: Articulation
    share: float
    """Part of the mark's time, in (0, 1]; the shares of a mark sum to 1."""


_CLOSED = Articulation(0.0, 0.0, 0.0, 0.5, 0.15, "closed")
_TEETH = Articulation(0.1, 0.05, 0.0, 0.6, 0.3, "teeth")
_TONGUE_TIP = Articulation(0.17, 0.2, 0.0, 0.45, 0.15)
_SIBILANT = Articulation(0.10, 0.35, 0.0, 0.6, 0.4)
_HUSHER = Articulation(0.14, -0.15, 0.55, 0.6, 0.6)
_TONGUE_BACK = Articulation(0.28, 0.0, 0.0, 0.2, 0.08)
_THROAT = Articulation(0.45, 0.0, 0.0, 0.08, 0.05)
_NEAR_CLOSED = Articulation(0.08, 0.0, 0.1, 0.6, 0.3)
_PALATAL = Articulation(0.2, 0.6, 0.0, 0.4, 0.5)
_LABIAL_GLIDE = Articulation(0.14, -0.7, 1.0, 0.6, 0.9)

# Openings follow vowel height, width and rounding follow backness and the rounded column of the
# IPA vowel chart; schwa-like vowels insist less because speakers reduce them most.
_VOWELS: Final[dict[str, Articulation]] = {
    "i": Articulation(0.24, 0.85, 0.0, 0.9, 0.9),
    "ɪ": Articulation(0.36, 0.55, 0.0, 0.85, 0.7),
    "e": Articulation(0.48, 0.6, 0.0, 1.0, 0.8),
    "ɛ": Articulation(0.66, 0.45, 0.0, 1.0, 0.7),
    "æ": Articulation(0.85, 0.4, 0.0, 1.0, 0.7),
    "a": Articulation(0.88, 0.15, 0.0, 1.0, 0.6),
    "ɐ": Articulation(0.7, 0.1, 0.0, 0.9, 0.5),
    "ɑ": Articulation(0.9, 0.0, 0.0, 1.0, 0.6),
    "ɒ": Articulation(0.78, -0.2, 0.35, 1.0, 0.7),
    "ʌ": Articulation(0.7, 0.05, 0.0, 0.95, 0.5),
    "ɔ": Articulation(0.7, -0.3, 0.5, 1.0, 0.8),
    "o": Articulation(0.5, -0.5, 0.75, 1.0, 0.9),
    "ɤ": Articulation(0.5, 0.0, 0.1, 0.9, 0.5),
    "ʊ": Articulation(0.34, -0.4, 0.65, 0.85, 0.8),
    "u": Articulation(0.24, -0.65, 0.95, 0.9, 1.0),
    "ɯ": Articulation(0.27, 0.2, 0.1, 0.85, 0.5),
    "ɨ": Articulation(0.27, 0.4, 0.0, 0.8, 0.5),
    "ᵻ": Articulation(0.3, 0.35, 0.0, 0.7, 0.4),
    "ʉ": Articulation(0.25, -0.4, 0.75, 0.85, 0.9),
    "y": Articulation(0.24, -0.5, 0.9, 0.9, 1.0),
    "ʏ": Articulation(0.32, -0.4, 0.75, 0.85, 0.9),
    "ø": Articulation(0.44, -0.4, 0.7, 1.0, 0.9),
    "œ": Articulation(0.6, -0.3, 0.55, 1.0, 0.8),
    "ɶ": Articulation(0.85, -0.1, 0.3, 1.0, 0.7),
    "ɵ": Articulation(0.42, -0.3, 0.5, 0.8, 0.6),
    "ə": Articulation(0.4, 0.05, 0.0, 0.6, 0.25),
    "ɘ": Articulation(0.4, 0.15, 0.0, 0.6, 0.3),
    "ɜ": Articulation(0.5, 0.0, 0.1, 0.9, 0.5),
    "ɞ": Articulation(0.52, -0.1, 0.3, 0.9, 0.5),
    "ɚ": Articulation(0.38, -0.1, 0.25, 0.7, 0.5),
    "ɝ": Articulation(0.42, -0.1, 0.3, 0.8, 0.6),
}

_CONSONANT_CLASSES: Final[tuple[tuple[str, Articulation], ...]] = (
    ("pbmɓʙʘ", _CLOSED),
    ("fvɱⱱ", _TEETH),
    ("ʋβɸ", _NEAR_CLOSED),
    ("tdnlrɾɗʈɖɳɭɽɺɬɮʎɲɟcʄǀǃǂǁɫ", _TONGUE_TIP),
    ("θð", Articulation(0.2, 0.1, 0.0, 0.5, 0.2)),
    ("szɕʑ", _SIBILANT),
    ("ʃʒʂʐɧ", _HUSHER),
    ("ɹɻ", Articulation(0.2, -0.2, 0.45, 0.5, 0.5)),
    ("jʝ", _PALATAL),
    ("wʍɥ", _LABIAL_GLIDE),
    ("kgɡŋxɣɰqɢɴχʁʀɠʛʟ", _TONGUE_BACK),
    ("hɦħʕʔʜʢʡ", _THROAT),
)

_ARTICULATIONS: Final[dict[str, Articulation]] = _VOWELS | {
    symbol: articulation for symbols, articulation in _CONSONANT_CLASSES for symbol in symbols
}

_LENGTH: Final = {"ː": 1.0, "ˑ": 0.5}
_STRESS: Final = {"ˈ": 1.0, "ˌ": 0.95}
_UNSTRESSED: Final = 0.86
_ROUNDERS: Final = "ʷᵝ"


def gestures(phoneme: str) -> tuple[Gesture, ...]:
    """The articulations of one phoneme as a voice writes it.

    Ties, tones and diacritics that the lips don't show are passed over, so affricates and
    diphthongs give one gesture a symbol. Symbols that are not IPA give nothing.

    Args:
        phoneme: IPA with any stress, length and diacritics, such as `ˈaɪ`, `t͡ɕʰ` or `ɔːɹ`.
    """
    emphasis = _UNSTRESSED
    found: list[Articulation] = []
    lengths: list[float] = []
    for symbol in unicodedata.normalize("NFD", phoneme):
        articulation = _ARTICULATIONS.get(symbol)
        if symbol in _STRESS:
            emphasis = _STRESS[symbol]
        elif articulation is not None:
            if symbol in _VOWELS:
                articulation = articulation._replace(open=articulation.open * emphasis)
            found.append(articulation)
            lengths.append(1.0)
        elif found and symbol in _LENGTH:
            lengths[-1] += _LENGTH[symbol]
        elif found and symbol in _ROUNDERS:
            found[-1] = found[-1]._replace(round=max(found[-1].round, 0.6))
    total = sum(lengths)
    return tuple(
        Gesture(articulation, length / total)
        for articulation, length in zip(found, lengths, strict=True)
    )
