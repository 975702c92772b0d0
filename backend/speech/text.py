"""From what a person typed to sentences that a voice can speak."""

import re
import unicodedata
from typing import NamedTuple

from contracts.errors import TextRejected, TextTooLong
from contracts.limits import MAX_TEXT_CHARACTERS

SENTENCE_PAUSE_SECONDS = 0.35
PARAGRAPH_PAUSE_SECONDS = 0.7

_JOINERS = "\u200c\u200d"
"""Invisible, but Persian and Hindi are misread without them."""
# Escapes, because several of these marks look like others: ellipsis, closing quotes; ideographic
# stop, fullwidth ! and ?, danda, Arabic ?, Urdu stop, closing corner brackets.
_END = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019\u00bb)\]]*\s+"
    r"|(?<=[\u3002\uff01\uff1f\u0964\u061f\u06d4])[\u201d\u300d\u300f]*\s*"
)
_ABBREVIATION = re.compile(
    r"(^|[\s(])(\w(\.\w)*|mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|no|fig|approx)\.\s*$", re.IGNORECASE
)


class Sentence(NamedTuple):
    """One sentence, and how long the voice rests after it."""

    text: str
    pause_seconds: float


def clean(text: str) -> str:
    """The text without what can't be spoken.

    Raises:
        TextTooLong: It is over the limit.
        TextRejected: Not one letter or digit is left.
    """
    # Browsers send every line break of a form as two characters.
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TextTooLong(
            f"the text has {len(text):,} characters, {MAX_TEXT_CHARACTERS:,} are allowed"
        )
    # Voices misread letters whose accents stand apart, as text from a Mac has them.
    text = unicodedata.normalize("NFC", text)
    text = "".join(_speakable(character) for character in text).strip()
    if not text:
        raise TextRejected("the text is empty")
    if not any(unicodedata.category(character)[0] in "LN" for character in text):
        raise TextRejected("the text has no letter or digit to speak")
    return text


def _speakable(character: str) -> str:
    if character == "\n" or character in _JOINERS:
        return character
    if character == "\t":
        return " "
    return "" if unicodedata.category(character)[0] == "C" else character


def sentences(text: str) -> list[Sentence]:
    """Cut a clean text into sentences, in order."""
    found: list[Sentence] = []
    for paragraph in text.split("\n"):
        pieces = [piece for piece in _pieces(paragraph) if _has_words(piece)]
        found += [Sentence(piece, SENTENCE_PAUSE_SECONDS) for piece in pieces]
        if pieces:
            found[-1] = Sentence(pieces[-1], PARAGRAPH_PAUSE_SECONDS)
    return found


def _has_words(piece: str) -> bool:
    return any(character.isalnum() for character in piece)


def _pieces(paragraph: str) -> list[str]:
    pieces: list[str] = []
    begin = 0
    for match in _END.finditer(paragraph):
        if _ABBREVIATION.search(paragraph[begin : match.start()]):
            continue
        pieces.append(paragraph[begin : match.end()].strip())
        begin = match.end()
    return [*pieces, paragraph[begin:].strip()]
