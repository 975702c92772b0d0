import pytest

from backend.speech.text import PARAGRAPH_PAUSE_SECONDS, clean, sentences
from contracts.errors import TextRejected, TextTooLong


@pytest.mark.parametrize(
    "text", ["", "   ", "\n\t", "\x00\x07", "\u200b", "...", "?! --", "😀👍🏽❤️", "🇩🇪"]
)
def test_text_without_a_word_is_rejected(text):
    with pytest.raises(TextRejected):
        clean(text)


@pytest.mark.parametrize("text", ["a", "7", "नमस्ते", "你好", "مرحبا", "ok 😀", "é"])
def test_text_with_a_letter_or_digit_is_taken(text):
    assert clean(text) == text


def test_the_limit_counts_characters_as_people_do():
    assert len(clean("ä" * 5000)) == 5000
    assert clean("a\r\n" * 2500)
    with pytest.raises(TextTooLong, match="5,001"):
        clean("ä" * 5001)


def test_control_characters_go_and_joiners_stay():
    assert clean("a\x00b\x1b[31mc\u202ed\tef") == "ab[31mcd ef"
    assert clean("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"


def test_accents_that_stand_apart_join_their_letters():
    assert clean("e\u0301te\u0301") == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It costs 3.14 euros. Fine.", ["It costs 3.14 euros.", "Fine."]),
        ("Dr. Smith met Mr. J. Doe. They spoke.", ["Dr. Smith met Mr. J. Doe.", "They spoke."]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("The U.S. army, i.e. them. Yes.", ["The U.S. army, i.e. them.", "Yes."]),
        ("\u06c1\u06d2\u06d4 \u062f\u0648", ["\u06c1\u06d2\u06d4", "\u062f\u0648"]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ("A line\nanother line", ["A line", "another line"]),
        ("Hm. !!! Yes.", ["Hm.", "Yes."]),
    ],
)
def test_text_is_cut_into_sentences(text, pieces):
    assert [sentence.text for sentence in sentences(text)] == pieces


def test_the_voice_rests_longer_after_a_paragraph():
    first, second, third = sentences("One. Two.\n\nThree.")
    assert first.pause_seconds < second.pause_seconds
    assert third.pause_seconds == PARAGRAPH_PAUSE_SECONDS


def test_no_word_is_lost_or_added():
    text = "One, two; e.g. three. (Four!) five\n\nsix 7.5 — eight? «Neuf.» ten"
    assert " ".join(piece.text for piece in sentences(text)).split() == text.split()
