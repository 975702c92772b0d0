"""The studio's page: what it offers, and errors where their cause is."""

import re

import pytest
from flask.testing import FlaskClient

from contracts.errors import (
    GpuUnreachable,
    LipSyncError,
    NoFaceFound,
    OptionRejected,
    QueueFull,
    TextRejected,
    UnsupportedMedia,
)
from frontend.pages.studio import SAMPLE_TEXT
from tests.fakes.backend import FACEWARP, FakeBackend
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


def test_the_chip_says_why_nothing_can_be_made(fake: FakeBackend, client: FlaskClient) -> None:
    fake.no_gpu_host = True
    chip = client.get("/workplace").text
    assert "The GPU host does not answer" in chip
    assert "Start the GPU host" in chip


def test_the_chip_names_engines_that_lack_something(fake: FakeBackend, client: FlaskClient) -> None:
    fake.engines = [FACEWARP.model_copy(update={"ready": False, "reason": "mediapipe is missing"})]
    chip = client.get("/workplace").text
    assert "No engine is ready" in chip
    assert "Mediapipe is missing." in chip


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (TextRejected("there is no word in it"), "voice"),
        (NoFaceFound("no face was found"), "face"),
        (UnsupportedMedia("the file is no picture", field="image"), "face"),
        (OptionRejected("fps=7: too small", field="fps"), "make"),
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
