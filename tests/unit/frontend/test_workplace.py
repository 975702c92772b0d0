"""Which engine will render, and why, in words."""

import pytest

from contracts.lipsync import EngineStatus
from frontend.workplace import Outlook, Workplace
from tests.fakes.backend import FACEWARP, PHOTOS_ONLY, WAV2LIP, WAV2LIP_LOADING, WAV2LIP_MISSING


def outlook(engines: tuple[EngineStatus, ...], chosen: str, kind: str) -> Outlook:
    found = [
        each
        for each in Workplace(engines).outlooks
        if each.chosen == chosen and each.kind in (kind, "")
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("engines", "kind", "title", "sentence"),
    [
        ((WAV2LIP, PHOTOS_ONLY), "photo", "Engine", "wav2lip."),
        ((WAV2LIP, PHOTOS_ONLY), "video", "Engine", "wav2lip."),
        (
            (WAV2LIP_MISSING, FACEWARP),
            "video",
            "Engine",
            "facewarp (built in). "
            "wav2lip is not ready: the checkpoint wav2lip_gan is not installed.",
        ),
        (
            (WAV2LIP_MISSING, PHOTOS_ONLY),
            "photo",
            "Engine for a photo",
            "photos-only (built in). "
            "wav2lip is not ready: the checkpoint wav2lip_gan is not installed.",
        ),
        (
            (WAV2LIP_MISSING, PHOTOS_ONLY),
            "video",
            "Engine for a video",
            "none here can animate it. "
            "wav2lip is not ready: the checkpoint wav2lip_gan is not installed.",
        ),
        ((PHOTOS_ONLY, WAV2LIP), "photo", "Engine for a photo", "photos-only (built in)."),
        ((PHOTOS_ONLY, WAV2LIP), "video", "Engine for a video", "wav2lip."),
        (
            (WAV2LIP_LOADING, PHOTOS_ONLY),
            "photo",
            "Engine",
            "wav2lip. wav2lip is being loaded, and your video waits for it.",
        ),
        (
            (PHOTOS_ONLY, WAV2LIP.model_copy(update={"auto": False})),
            "video",
            "Engine for a video",
            "none here can animate it.",
        ),
    ],
)
def test_automatic_says_which_engine_it_takes_for_each_kind_of_face(
    engines: tuple[EngineStatus, ...], kind: str, title: str, sentence: str
) -> None:
    said = outlook(engines, "auto", kind)
    assert (said.title, said.sentence) == (title, sentence)
    assert said.ready == (said.engine != "") == ("none here" not in sentence)


def test_an_engine_that_is_named_says_what_stands_against_it() -> None:
    engines = (WAV2LIP_MISSING, PHOTOS_ONLY)
    missing = outlook(engines, "wav2lip", "photo")
    assert not missing.ready
    assert "It is not ready: the checkpoint wav2lip_gan is not installed." in missing.sentence
    assert missing.remedies == ("Run: weights fetch wav2lip_gan.",)
    assert "It animates photos only." in outlook(engines, "photos-only", "video").sentence
    assert outlook((WAV2LIP_LOADING,), "wav2lip", "photo").ready


def test_the_chip_names_the_engine_that_automatic_takes() -> None:
    for engines, name in (
        ((WAV2LIP, FACEWARP), "wav2lip"),
        ((WAV2LIP_MISSING, FACEWARP), "facewarp"),
        ((WAV2LIP_LOADING, FACEWARP), "wav2lip"),
        ((WAV2LIP_MISSING,), None),
        ((), None),
    ):
        engine = Workplace(engines).engine
        assert (engine and engine.info.name) == name


def test_nothing_is_said_where_no_engine_is_known() -> None:
    assert Workplace().outlooks == ()
