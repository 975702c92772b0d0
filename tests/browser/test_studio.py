"""The pages in a real browser, before a backend that answers as it is told."""

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from contracts.errors import GpuUnreachable, NoFaceFound, OptionRejected, UndecodableMedia
from contracts.jobs import JobStage, JobState
from frontend import words
from tests.fakes.backend import (
    FACEWARP,
    PHOTOS_ONLY,
    WAV2LIP,
    WAV2LIP_LOADING,
    WAV2LIP_MISSING,
    FakeBackend,
    host_view,
    job_view,
)
from tests.media import filmed, portrait
from tools.environment import ROOT

PORTRAIT = ROOT / "samples" / "portrait.jpg"
SPEECH = ROOT / "samples" / "speech.flac"
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 3


def fill(page: Page, text: str = "Hello") -> None:
    page.set_input_files("#text-image", PORTRAIT)
    page.fill("#text-text", text)
    page.check("#text-consent")


def test_the_button_says_what_is_missing_and_leads_there(page: Page, pages: str) -> None:
    page.goto(pages)
    form = page.locator("#make-text")
    expect(form).to_contain_text("Still missing: a face, a text and your agreement")
    form.get_by_role("button", name="Make the video").click()
    expect(page.locator("#text-image")).to_be_focused()
    page.set_input_files("#text-image", PORTRAIT)
    form.get_by_role("button", name="Make the video").click()
    expect(page.locator("#text-text")).to_be_focused()
    page.fill("#text-text", "Hello")
    expect(form).to_contain_text("Still missing: your agreement")
    page.check("#text-consent")
    expect(form).not_to_contain_text("Still missing")


def test_the_form_can_be_sent_with_the_keyboard_alone(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.goto(pages)
    page.set_input_files("#text-image", PORTRAIT)
    page.focus("#text-image")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.id || document.activeElement.textContent")
        reached.append(focused.strip())
        if focused == "text-text":
            page.keyboard.type("Typed")
        elif focused == "text-consent":
            page.keyboard.press("Space")
        elif focused == "Make the video":
            page.keyboard.press("Enter")
            break
    page.wait_for_url("**/jobs/*")
    assert "Upload" in reached
    assert fake.forms[0]["text"] == "Typed"


def test_the_face_can_be_dropped_onto_its_place(page: Page, pages: str) -> None:
    page.goto(pages)
    box = page.locator(".drop-face").first.bounding_box()
    assert box
    devtools = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(PORTRAIT)], "dragOperationsMask": 1}
        where = {"x": box["x"] + 60, "y": box["y"] + 60}
        devtools.send("Input.dispatchDragEvent", {"type": step, "data": data, **where})
        if step == "dragOver":
            expect(page.locator(".drop-face").first).to_have_class(re.compile("is-over"))
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    expect(page.get_by_alt_text("The face you chose")).to_be_visible()


def test_the_face_and_the_consent_stay_when_the_voice_changes_its_way(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.goto(pages)
    fill(page)
    page.locator("#make-text").get_by_role("link", name="Upload").click()
    form = page.locator("#make-audio")
    expect(form.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    expect(form.get_by_label("I may use this face")).to_be_checked()
    expect(form).to_contain_text("Still missing: a recording")
    page.set_input_files("#audio-audio", SPEECH)
    form.get_by_role("button", name="Make the video").click()
    page.wait_for_url("**/jobs/*")
    assert fake.forms[0]["kind"] == "audio"
    assert fake.forms[0]["image"] == PORTRAIT.read_bytes()
    assert fake.forms[0]["audio"] == SPEECH.read_bytes()


def test_the_sample_fills_the_form(page: Page, pages: str) -> None:
    page.goto(pages)
    page.locator("#make-text").get_by_role("button", name="Try the sample").click()
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    expect(page.locator("#text-text")).to_have_value(re.compile("photograph"))
    expect(page.locator("#make-text")).to_contain_text("Still missing: your agreement")


def test_too_many_pixels_are_said_before_anything_is_sent(
    page: Page, pages: str, fake: FakeBackend, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    Image.new("1", (6000, 5000)).save(large)
    page.goto(pages)
    fill(page)
    page.set_input_files("#text-image", large)
    expect(page.locator("#text-face-error")).to_contain_text("Scale it down to 25 megapixels")
    expect(page.locator("#text-face")).not_to_have_class(re.compile("is-wrong"))
    expect(page.locator("#text-face")).not_to_be_visible()
    page.locator("#make-text").get_by_role("button", name="Make the video").click()
    assert fake.headers == []


def test_a_text_over_the_limit_is_said_while_it_is_typed(page: Page, pages: str) -> None:
    page.goto(pages)
    page.fill("#text-text", "a" * 5003)
    expect(page.locator("#text-voice-error")).to_contain_text("3 characters too long")


def test_only_voices_of_the_language_are_offered(page: Page, pages: str) -> None:
    page.goto(pages)
    page.select_option("#text-language", label="German")
    offered = page.locator("#text-voice option").all_text_contents()
    assert offered == ["Automatic", "German (online)", "German (offline)"]


def sent(page: Page, pages: str, fake: FakeBackend, stage: JobStage = JobStage.RENDERING) -> str:
    """Send the form; the id of its job, which runs."""
    fake.next_job = job_view(JobState.RUNNING, stage)
    page.goto(pages)
    fill(page)
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("[data-words]")).to_have_text(words.STAGES[stage])
    return fake.next_job.id


def test_a_failure_is_shown_where_it_can_be_mended(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    job_id = sent(page, pages, fake, JobStage.PREPARING)
    error = NoFaceFound("no face was found in the picture").body(job_id)
    fake.jobs[job_id] = job_view(JobState.FAILED, JobStage.DONE, error=error)
    expect(page.get_by_role("alert")).to_contain_text("both eyes and the mouth visible")
    page.get_by_role("link", name="Change it and try again").click()
    expect(page.locator("#text-face-error")).to_contain_text("both eyes and the mouth visible")
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    page.set_input_files("#text-image", PORTRAIT)
    expect(page.locator("#text-face-error")).to_be_empty()


def test_only_ones_own_job_shows_the_kept_face(page: Page, pages: str, fake: FakeBackend) -> None:
    sent(page, pages, fake)
    expect(page.get_by_alt_text("The face you chose")).to_be_visible()
    for state in (JobState.RUNNING, JobState.SUCCEEDED):
        fake.jobs["another"] = job_view(state, JobStage.RENDERING, id="another")
        page.goto(f"{pages}/jobs/another")
        page.locator("a[data-chip]").wait_for()
        expect(page.get_by_alt_text("The face you chose")).to_have_count(0)
        expect(page.get_by_text("with this face")).to_have_count(0)


def test_going_back_finds_the_form_as_it_was_sent(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    sent(page, pages, fake)
    page.go_back()
    expect(page.get_by_alt_text("The face you chose")).to_be_visible()
    expect(page.locator("#text-count")).to_contain_text("5 of 5,000")
    expect(page.locator("#make-text")).not_to_contain_text("Still missing")


def test_a_form_that_outlived_its_visit_is_sent_all_the_same(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.goto(pages)
    fill(page)
    page.context.clear_cookies()
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    assert [form["text"] for form in fake.forms] == ["Hello"]


def test_an_error_stands_beside_the_field_that_it_names(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.refuse = UndecodableMedia("the recording is damaged", field="audio")
    page.goto(f"{pages}/?voice=upload")
    page.set_input_files("#audio-image", PORTRAIT)
    page.set_input_files("#audio-audio", SPEECH)
    page.check("#audio-consent")
    page.click("#make-audio .make-button")
    expect(page.locator("#audio-voice-error")).to_contain_text("The recording is damaged.")


def test_an_empty_file_is_said_before_anything_is_sent(
    page: Page, pages: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").touch()
    page.goto(pages)
    page.set_input_files("#text-image", tmp_path / "empty.jpg")
    expect(page.locator("#text-face-error")).to_contain_text("This file is empty")


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(page: Page, pages: str) -> None:
    page.goto(pages)
    fill(page)
    page.route("**/make/text", lambda route: route.abort())
    page.click("#make-text .make-button")
    expect(page.locator("#text-make-error")).to_contain_text("does not answer")
    expect(page.locator("#text-text")).to_have_value("Hello")


@pytest.mark.parametrize("width", [390, 1024, 1600])
def test_no_page_scrolls_sideways(
    browser: Browser, pages: str, fake: FakeBackend, width: int
) -> None:
    fake.engines = [
        WAV2LIP_MISSING.model_copy(update={"reason": f"{LONG_WORD}. Run: {LONG_WORD}"}),
        FACEWARP,
    ]
    error = NoFaceFound(f"no face was found in {LONG_WORD}.jpg").body("f" * 32)
    fake.jobs["done"] = job_view(JobState.SUCCEEDED, JobStage.DONE, id="done", voice=LONG_WORD)
    fake.jobs["running"] = job_view(
        JobState.RUNNING, JobStage.RENDERING, id="running", reason=LONG_WORD
    )
    fake.jobs["failed"] = job_view(JobState.FAILED, JobStage.PREPARING, id="failed", error=error)
    fake.hosts = [host_view(name=LONG_WORD, url=f"https://{LONG_WORD}", error=error)]
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        for path in (
            "/",
            "/?voice=upload",
            "/jobs",
            *("/jobs/done", "/jobs/running", "/jobs/failed", "/jobs/done/delete"),
            "/hosts",
            "/no",
        ):
            page.goto(pages + path)
            page.evaluate(
                "for (const fold of document.querySelectorAll('details')) fold.open = true"
            )
            if path == "/":
                page.fill("#text-text", LONG_WORD)
            too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not too_wide, path


def test_a_gpu_host_that_is_down_is_said_at_the_top_and_by_the_button(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.no_gpu_host = True
    fake.refuse = GpuUnreachable("no GPU host answers at http://127.0.0.1:9000")
    page.goto(pages)
    expect(page.locator("[data-chip]")).to_have_text("The GPU host does not answer")
    expect(page.locator("#make-text .outlook:visible")).to_contain_text("Start the GPU host")
    fill(page)
    page.click("#make-text .make-button")
    expect(page.locator("#text-make-error")).to_contain_text("Start the GPU host")


def test_choosing_an_engine_shows_its_options_alone(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    page.goto(pages)
    form = page.locator("#make-text")
    expect(form.locator(".outlook:visible")).to_have_text("Engine: wav2lip.")
    expect(page.locator("#text-pads")).not_to_be_visible()
    form.get_by_text("More options").click()
    expect(page.locator("#text-pads")).to_be_visible()
    page.select_option("#text-engine", "facewarp")
    expect(form.locator(".outlook:visible")).to_contain_text("facewarp (built in)")
    for name in ("checkpoint", "pads", "paste", "detector"):
        expect(page.locator(f"#text-{name}")).not_to_be_visible()
    expect(page.locator("#text-face")).to_be_visible()
    page.select_option("#text-engine", "wav2lip")
    for name in ("checkpoint", "pads", "paste", "detector"):
        expect(page.locator(f"#text-{name}")).to_be_visible()
    expect(page.locator("#text-checkpoint option[value=wav2lip_gan]")).to_be_disabled()
    page.select_option("#text-checkpoint", "wav2lip")
    page.fill("#text-pads", "0,20,0,0")
    fill(page)
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    assert fake.forms[0]["engine"] == "wav2lip"
    assert fake.forms[0]["checkpoint"] == "wav2lip"
    assert fake.forms[0]["pads"] == "0,20,0,0"
    assert "smoothing" not in fake.forms[0], "a photo needs none, so it is not shown"


def test_the_page_says_which_engine_renders_and_why_for_the_face_that_is_given(
    page: Page, pages: str, fake: FakeBackend, tmp_path: Path
) -> None:
    fake.engines = [WAV2LIP_MISSING, PHOTOS_ONLY]
    (tmp_path / "film.mp4").write_bytes(filmed([portrait()]))
    page.goto(pages)
    said = page.locator("#make-text .outlook:visible")
    expect(said).to_contain_text(
        "Engine for a photo: photos-only (built in). wav2lip is not ready: the checkpoint"
    )
    said.get_by_text("How to get it ready").click()
    expect(said).to_contain_text("Run: weights fetch wav2lip_gan.")
    page.set_input_files("#text-image", tmp_path / "film.mp4")
    expect(said).to_contain_text("Engine for a video: none here can animate it.")
    expect(page.locator("#text-fps")).to_be_disabled()


def test_a_page_that_stays_open_notices_when_an_engine_is_no_more(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    page.clock.install()
    page.goto(pages)
    page.locator("#make-text [data-more] > summary").click()
    said = page.locator("#make-text .outlook:visible")
    expect(said).to_have_text("Engine: wav2lip.")
    fake.engines = [WAV2LIP_MISSING, FACEWARP]
    page.clock.run_for(11_000)
    expect(said).to_contain_text("wav2lip is not ready")
    expect(page.locator("#text-engine option[value=wav2lip]")).to_be_disabled()
    expect(page.locator("#text-pads")).not_to_be_visible()


def test_a_page_that_stays_open_offers_what_is_installed_meanwhile(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP_MISSING, FACEWARP]
    page.clock.install()
    page.goto(pages)
    page.locator("#make-text [data-more] > summary").click()
    page.select_option("#text-engine", "facewarp")
    wav2lip = page.locator("#text-engine option[value=wav2lip]")
    network = page.locator("#text-checkpoint option[value=wav2lip]")
    expect(wav2lip).to_have_text("wav2lip (not ready)")
    expect(network).to_be_disabled()
    fake.refuse = NoFaceFound("no face was found")
    fill(page)
    page.click("#make-text .make-button")
    expect(page.locator("#text-face-error")).to_contain_text("No face was found")
    fake.engines = [WAV2LIP_LOADING, FACEWARP]
    page.clock.run_for(11_000)
    expect(wav2lip).to_have_text("wav2lip (loading)")
    expect(wav2lip).to_be_enabled()
    fake.engines = [WAV2LIP, FACEWARP]
    page.clock.run_for(11_000)
    expect(wav2lip).to_have_text("wav2lip")
    expect(network).to_be_enabled()
    expect(page.locator("#text-engine")).to_have_value("facewarp")
    expect(page.locator("#text-face-error")).to_contain_text("No face was found")


def test_spaces_in_an_option_are_nobodys_fault_and_other_spellings_of_numbers_are_said(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP]
    page.goto(pages)
    fill(page)
    page.locator("#make-text [data-more] > summary").click()
    page.fill("#text-pads", " 0, 20, -5, 0 ")
    page.fill("#text-fps", " 29.97 ")
    page.fill("#text-max_height", "3e2")
    page.click("#make-text .make-button")
    expect(page.locator("#text-option-max_height-error")).to_contain_text("Write a whole number")
    assert fake.headers == []
    page.fill("#text-max_height", "300")
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    sent = fake.forms[0]
    assert (sent["pads"], sent["fps"], sent["max_height"]) == ("0,20,-5,0", "29.97", "300")


def test_a_wrong_option_is_said_beside_it_and_nothing_is_lost(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    page.goto(pages)
    fill(page)
    more = page.locator("#make-text [data-more]")
    more.locator("> summary").click()
    page.fill("#text-pads", "1,2")
    page.fill("#text-fps", "7")
    more.locator("> summary").click()
    page.click("#make-text .make-button")
    expect(page.locator("#text-option-pads-error")).to_contain_text("such as 0,10,0,0")
    expect(page.locator("#text-option-fps-error")).to_contain_text("from 10 to 60")
    expect(page.locator("#text-pads")).to_have_attribute("aria-invalid", "true")
    assert fake.headers == []
    page.fill("#text-pads", "0,20,0,0")
    page.fill("#text-fps", "30")
    fake.refuse = OptionRejected("pads=x: It should look like 0,10,0,0", field="pads")
    page.click("#make-text .make-button")
    expect(page.locator("#text-option-pads-error")).to_contain_text("It should look like")
    expect(page.locator("#text-fps")).to_have_value("30")
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()


def test_options_come_back_when_the_job_failed_because_of_one(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    fake.next_job = job_view(JobState.RUNNING, JobStage.PREPARING)
    page.goto(pages)
    fill(page)
    page.locator("#make-text [data-more] > summary").click()
    page.select_option("#text-engine", "wav2lip")
    page.select_option("#text-paste", "box")
    page.select_option("#text-language", label="German")
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    job_id = fake.next_job.id
    error = OptionRejected("wav2lip has no checkpoint of this name", field="checkpoint")
    fake.jobs[job_id] = job_view(JobState.FAILED, JobStage.DONE, error=error.body(job_id))
    page.get_by_role("link", name="Change it and try again").click()
    expect(page.locator("#text-option-checkpoint-error")).to_contain_text("has no checkpoint")
    expect(page.locator("#text-engine")).to_have_value("wav2lip")
    expect(page.locator("#text-paste")).to_have_value("box")
    expect(page.locator("#text-language")).to_have_value("de")


def test_without_a_script_a_wrong_option_that_is_folded_away_is_said_too(
    browser: Browser, pages: str, fake: FakeBackend
) -> None:
    fake.engines = [WAV2LIP, FACEWARP]
    fake.refuse = OptionRejected("pads=1,2: It should look like 0,10,0,0", field="pads")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(pages)
        expect(page.locator("#make-text .outlook:visible")).to_have_text("Engine: wav2lip.")
        summary = page.locator("#make-text [data-more] > summary")
        summary.click()
        expect(page.locator("#text-pads-help")).to_contain_text("Used by wav2lip only.")
        page.fill("#text-pads", "1,2")
        summary.click()
        fill(page)
        page.click("#make-text .make-button")
        expect(page.locator("#text-option-pads-error")).to_contain_text("It should look like")
        expect(page.locator("#text-pads")).to_have_value("1,2")


def test_the_result_names_the_engine_that_made_it(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.jobs["done"] = job_view(JobState.SUCCEEDED, JobStage.DONE, id="done", engine="wav2lip")
    page.goto(f"{pages}/jobs/done")
    expect(page.locator("#job")).to_contain_text(re.compile(r"made in [\d.]+ s by wav2lip"))
