"""The phone names of flite's and festival's voices as letters of the phonetic alphabet."""

# IPA letters look like others on purpose.
# ruff: noqa: RUF001

from typing import Final

_ENGLISH: Final = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ",
    "b": "b", "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m",
    "en": "n", "er": "ɝ", "ey": "eɪ", "f": "f", "g": "g", "hh": "h", "hv": "h", "ih": "ɪ",
    "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n", "nx": "n", "ng": "ŋ",
    "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ",
    "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_CZECH: Final = {
    "a": "a", "a:": "aː", "b": "b", "c": "ts", "c~": "tʃ", "ch": "x", "d": "d", "d~": "ɟ",
    "dz": "dz", "dz~": "dʒ", "e": "ɛ", "e:": "ɛː", "f": "f", "g": "g", "h": "ɦ", "i": "ɪ",
    "i:": "iː", "j": "j", "k": "k", "l": "l", "m": "m", "n": "n", "n*": "ŋ", "n~": "ɲ", "o": "o",
    "o:": "oː", "p": "p", "r": "r", "r~": "r", "r~*": "r", "s": "s", "s~": "ʃ", "t": "t",
    "t~": "c", "u": "u", "u:": "uː", "v": "v", "z": "z", "z~": "ʒ",
}  # fmt: skip
_ITALIAN: Final = {
    "i": "i", "e": "e", "E": "ɛ", "a": "a", "o": "o", "O": "ɔ", "u": "u", "i1": "ˈi", "e1": "ˈe",
    "E1": "ˈɛ", "a1": "ˈa", "o1": "ˈo", "O1": "ˈɔ", "u1": "ˈu", "j": "j", "w": "w", "p": "p",
    "t": "t", "k": "k", "b": "b", "d": "d", "g": "g", "f": "f", "s": "s", "S": "ʃ", "v": "v",
    "z": "z", "Z": "ʒ", "ts": "ts", "tS": "tʃ", "dz": "dz", "dZ": "dʒ", "m": "m", "n": "n",
    "J": "ɲ", "ng": "ŋ", "nf": "ɱ", "l": "l", "L": "ʎ", "r": "r",
}  # fmt: skip
_CATALAN: Final = _ITALIAN | {"ax": "ə", "y": "j", "rr": "r"}
_FINNISH: Final = {
    "a": "ɑ", "e": "e", "i": "i", "o": "o", "u": "u", "y": "y", "@": "æ", "7": "ø", "&": "ø",
    "p": "p", "t": "t", "k": "k", "b": "b", "d": "d", "g": "g", "f": "f", "T": "θ", "D": "ð",
    "s": "s", "S": "ʃ", "z": "z", "Z": "ʒ", "h": "h", "v": "ʋ", "m": "m", "n": "n", "N": "ŋ",
    "l": "l", "L": "ʎ", "r": "r", "j": "j", "w": "w",
}  # fmt: skip
_RUSSIAN_VOWELS: Final = {
    "ii": "ˈi", "yy": "ˈɨ", "uu": "ˈu", "ee": "ˈe", "oo": "ˈo", "aa": "ˈa", "a": "ʌ", "e": "ɪ",
    "i": "ɪ", "y": "ɨ", "u": "u", "ae": "ə", "ay": "ɪ", "ur": "ə",
}  # fmt: skip
_RUSSIAN_CONSONANTS: Final = {
    "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g", "c": "ts", "ch": "tɕ", "f": "f",
    "v": "v", "s": "s", "z": "z", "sh": "ʂ", "sch": "ɕ", "zh": "ʐ", "h": "x", "m": "m", "n": "n",
    "l": "l", "r": "r", "j": "j",
}  # fmt: skip
_RUSSIAN: Final = (
    _RUSSIAN_VOWELS
    | _RUSSIAN_CONSONANTS
    | {name + name: f"{ipa}ʲ" for name, ipa in _RUSSIAN_CONSONANTS.items() if len(name) == 1}
)

PHONES: Final = {
    "en": _ENGLISH,
    "cs": _CZECH,
    "it": _ITALIAN,
    "ca": _CATALAN,
    "fi": _FINNISH | {f"{name}:": f"{ipa}ː" for name, ipa in _FINNISH.items()},
    "ru": _RUSSIAN,
}
"""By language; a name that is not there is a pause."""
