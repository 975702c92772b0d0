# IPA letters look like others on purpose.
# ruff: noqa: RUF001

import pytest

from gpu_service.audio.visemes import gestures


def lips_of(phoneme: str) -> list[str]:
    return [gesture.articulation.lips for gesture in gestures(phoneme)]


@pytest.mark.parametrize("phoneme", ["p", "b", "m", "pʰ", "bʲ", "m̩", "p͈", "ɓ", "mː", "ph"])
def test_lips_meet_for_every_kind_of_p_b_and_m(phoneme: str) -> None:
    assert lips_of(phoneme)[0] == "closed"


@pytest.mark.parametrize("phoneme", ["f", "v", "vʲ", "ɱ", "fː"])
def test_the_lip_meets_the_teeth_for_every_kind_of_f_and_v(phoneme: str) -> None:
    assert lips_of(phoneme) == ["teeth"]


@pytest.mark.parametrize(
    ("phoneme", "count"),
    [("ˈaɪ", 2), ("t͡ɕʰ", 2), ("ɔːɹ", 2), ("pf", 2), ("ˌo̞", 1), ("ɯᵝ", 1), ("ɑ̃", 1), ("ɑu", 2)],
)
def test_diphthongs_and_affricates_are_several_gestures(phoneme: str, count: int) -> None:
    found = gestures(phoneme)
    assert len(found) == count
    assert sum(gesture.share for gesture in found) == pytest.approx(1)


def test_a_length_mark_gives_its_vowel_more_of_the_time() -> None:
    long, short = gestures("ɔːɹ")
    assert long.share == pytest.approx(2 * short.share)


@pytest.mark.parametrize("phoneme", ["", "˥˩", "5", "ʲ", "_:", "?"])
def test_what_lips_do_not_show_is_no_gesture(phoneme: str) -> None:
    assert gestures(phoneme) == ()


def test_a_stressed_vowel_opens_wider() -> None:
    (stressed,), (plain,) = gestures("ˈa"), gestures("a")
    assert stressed.articulation.open > plain.articulation.open


def test_composed_letters_are_the_same_as_letter_and_accent() -> None:
    assert gestures("ã") == gestures("a\N{COMBINING TILDE}") != ()
    assert gestures("ç") == gestures("c\N{COMBINING CEDILLA}") != ()


def test_every_consonant_row_of_the_chart_is_known() -> None:
    chart = "pbtdʈɖcɟkɡqɢʔmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟwʍɥɕʑɧɫ"
    assert [symbol for symbol in chart if not gestures(symbol)] == []


def test_every_vowel_of_the_chart_is_known() -> None:
    chart = "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝᵻ"
    assert [symbol for symbol in chart if not gestures(symbol)] == []
