"""The studio's page: what it offers, and errors where their cause is."""

import re

import pytest
from flask.testing import FlaskClient

from contracts.errors import (
    CheckpointMissing,
    GpuUnreachable,
    LipSyncError,
    NoFaceFound,
    OptionRejected,
    QueueFull,
    TextRejected,
    UnsupportedMedia,
)
from frontend.options import NAMES
from frontend.pages.studio import SAMPLE_TEXT
from tests.fakes.backend import (
    FACEWARP,
    PHOTOS_ONLY,
    WAV2LIP,
    WAV2LIP_LOADING,
    WAV2LIP_MISSING,
    FakeBackend,
)
from tests.unit.frontend.test_relay import body, part, post


def form_of(page: str, kind: str) -> str:
    found = re.search(rf'<form class="studio" id="make-{kind}".*?</form>', page, re.DOTALL)
    assert found
    return found[0]


def test_both_ways_of_giving_the_voice_have_a_form(client: FlaskClient) -> None:
    page = client.get("/").text
    typed, uploaded = form_of(page, "text"), form_of(page, "audio")
    assert 'action="/make/text"' in typed
    assert 'action="/make/audio"' in uploaded
    for form, fields in ((typed, ("image", "text")), (uploaded, ("image", "audio"))):
        names = re.findall(r' name="(\w+)"', form)
        assert names[0] == "csrf_token"
        assert {*fields, "consent", "engine", "fps", "max_height"} <= set(names)
    assert "hidden>" in uploaded.split("\n")[0]


def test_the_other_form_shows_without_a_script(client: FlaskClient) -> None:
    page = client.get("/?voice=upload").text
    assert "hidden>" in form_of(page, "text").split("\n")[0]
    assert "hidden>" not in form_of(page, "audio").split("\n")[0]


def test_limits_are_said_before_anything_is_sent(client: FlaskClient) -> None:
    page = client.get("/").text
    for limit in ("25 megapixels", "5,000 characters", "10 minutes", "100 MB"):
        assert limit in page


def test_voices_are_grouped_by_language_and_the_browsers_own_comes_first(
    client: FlaskClient,
) -> None:
    page = client.get("/", headers={"Accept-Language": "de-CH, de;q=0.9, en;q=0.5"}).text
    assert re.search(r'<option value="de" selected>German<', page)
    english = re.search(r'<optgroup label="English".*?</optgroup>', page, re.DOTALL)
    assert english
    assert re.findall(r'value="([^"]+)"', english[0]) == ["gtts:en", "espeak:en-us"]


def test_the_chip_says_where_the_work_is_done(client: FlaskClient) -> None:
    chip = client.get("/workplace").text
    assert "This computer" in chip
    assert "facewarp" in chip
    assert "ready" in chip


def test_it_is_said_at_the_top_and_by_the_button_why_nothing_can_be_made(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.no_gpu_host = True
    chip = client.get("/workplace").text
    assert "The GPU host does not answer" in chip
    assert "Start the GPU host" in chip


def test_engines_that_lack_something_are_named(fake: FakeBackend, client: FlaskClient) -> None:
    fake.engines = [FACEWARP.model_copy(update={"ready": False, "reason": "mediapipe is missing"})]
    chip = client.get("/workplace").text
    assert "No engine is ready" in chip
    assert "facewarp is not ready: mediapipe is missing." in chip


def test_an_engine_that_is_being_loaded_is_counted_on(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.engines = [WAV2LIP_LOADING]
    page = client.get("/").text
    assert re.search(r"This computer<[^>]*> · wav2lip · loading<", page)
    assert "No engine is ready" not in page
    assert "Drop a photo or a video here" in page


def test_the_chip_says_which_engine_renders_and_how_fast(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    chip = client.get("/workplace").text
    assert "This computer<" in chip
    assert "wav2lip · 2.7 × real time" in chip


def test_the_form_says_which_engine_renders_and_why(fake: FakeBackend, client: FlaskClient) -> None:
    fake.engines = [WAV2LIP_MISSING, PHOTOS_ONLY]
    for page in (form_of(client.get("/").text, "text"), client.get("/workplace").text):
        said = re.findall(r'<div class="outlook[^>]*data-kind="photo"[^>]*>.*?</div>', page, re.S)
        assert len(said) == 1
        assert "hidden" not in said[0].split(">")[0]
        assert "photos-only (built in). wav2lip is not ready: the checkpoint wav2lip_gan" in said[0]
        assert "Run: weights fetch wav2lip_gan." in said[0]


def test_options_are_told_by_text_which_engine_uses_them(
    fake: FakeBackend, client: FlaskClient
) -> None:
    assert "Room around the face" not in client.get("/").text, "no engine here uses pads"
    fake.engines = [WAV2LIP, FACEWARP]
    form = form_of(client.get("/").text, "text")
    for name in ("checkpoint", "pads", "paste", "detector"):
        field = re.search(rf'data-option="{name}".*?</p>', form, re.DOTALL)
        assert field
        assert "Used by wav2lip only." in field[0]
    for name in ("motion", "seed"):
        field = re.search(rf'data-option="{name}".*?</p>', form, re.DOTALL)
        assert field
        assert "Used by facewarp only." in field[0]
    assert set(re.findall(r'data-option="(\w+)"', form)) == set(NAMES)
    assert re.search(r'value="wav2lip_gan"\s+disabled>wav2lip_gan: sharper \(not installed\)', form)
    assert re.search(r'name="pads"[^>]* value="0,10,0,0"', form)
    assert re.search(r'name="fps"[^>]* value="25"', form)


OPTIONS = {
    "engine": "wav2lip",
    "checkpoint": "wav2lip",
    "fps": "29.97",
    "max_height": "720",
    "length_mode": "bounce",
    "face": "320,180",
    "motion": "still",
    "seed": "7",
    "paste": "box",
    "pads": "0,20,-5,0",
    "detector": "s3fd",
    "smoothing": "release",
}


@pytest.mark.parametrize("kind", ["text", "audio"])
def test_every_option_reaches_the_backend_and_comes_back_with_an_error(
    fake: FakeBackend, client: FlaskClient, token: str, kind: str
) -> None:
    assert set(OPTIONS) == set(NAMES)
    fake.engines = [WAV2LIP, FACEWARP]
    sent = body(
        part("csrf_token", token.encode()),
        part("image", b"picture", "face.jpg"),
        part("text" if kind == "text" else "audio", b"Hello", "a.wav" if kind == "audio" else None),
        part("consent", b"yes"),
        *(part(name, value.encode()) for name, value in OPTIONS.items()),
    )
    assert post(client, sent, f"/make/{kind}").status_code == 303
    assert {name: fake.forms[0].get(name) for name in NAMES} == OPTIONS
    fake.refuse = OptionRejected("pads=x: It should look like 0,10,0,0", field="pads")
    form = form_of(post(client, sent, f"/make/{kind}").text, kind)
    for name, value in OPTIONS.items():
        found = re.search(rf' name="{name}"[^>]* value="([^"]*)"', form) or re.search(
            rf' name="{name}".*?<option value="([^"]*)"\s+selected', form, re.DOTALL
        )
        assert found, name
        assert found[1] == value
    assert re.search(r"<details[^>]*data-more[^>]*\bopen\b", form), "the error would be folded away"
    assert re.search(r'data-chosen="wav2lip"[^>]*data-ready\s*>', form)
    assert re.search(r'name="consent"[^>]* checked', form)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (TextRejected("there is no word in it"), "voice"),
        (NoFaceFound("no face was found"), "face"),
        (UnsupportedMedia("the file is no picture", field="image"), "face"),
        (OptionRejected("fps=7: too small", field="fps"), "option-fps"),
        (OptionRejected("face=left: It should look like 1", field="face"), "option-face"),
        (CheckpointMissing("the checkpoint wav2lip is not installed"), "option-engine"),
        (QueueFull("50 jobs wait"), "make"),
        (GpuUnreachable("no GPU host answers"), "make"),
    ],
)
def test_an_error_stands_where_its_cause_is_and_keeps_what_was_typed(
    fake: FakeBackend, client: FlaskClient, token: str, error: LipSyncError, place: str
) -> None:
    fake.refuse = error
    answer = post(
        client,
        body(
            part("csrf_token", token.encode()),
            part("image", b"picture", "face.jpg"),
            part("text", b"My words <b>"),
            part("language", b"de"),
            part("consent", b"yes"),
        ),
    )
    assert answer.status_code == error.http_status
    form = form_of(answer.text, "text")
    slot = re.search(rf'data-error="{place}".*?role="alert".*?</dl>', form, re.DOTALL)
    assert slot
    assert error.detail[1:] in slot[0]
    assert error.hint[1:].replace("'", "&#39;") in slot[0]
    assert error.code in slot[0]
    assert len(re.findall('role="alert"', answer.text)) == 1
    assert "My words &lt;b&gt;" in form
    assert '<option value="de" selected>' in form


def test_an_error_for_the_page_script_is_problem_details(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    fake.refuse = NoFaceFound("no face was found")
    data = body(part("csrf_token", token.encode()), part("image", b"x", "a"), part("consent", b"y"))
    answer = post(client, data, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert answer.json["code"] == "NO_FACE_FOUND"


def test_the_sample_needs_one_press_only(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    answer = client.post("/make/sample", data={"csrf_token": token})
    assert answer.status_code == 303
    assert fake.forms[0]["text"] == SAMPLE_TEXT
    with client.get("/samples/portrait.jpg") as portrait:
        assert fake.forms[0]["image"] == portrait.data


def test_the_sample_too_asks_for_the_token(fake: FakeBackend, client: FlaskClient) -> None:
    answer = client.post("/make/sample")
    assert answer.status_code == 400
    assert not fake.forms
