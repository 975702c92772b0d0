"""Both forms in a real browser, before the three real services."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tools.environment import ROOT
from tools.services import Stack

PORTRAIT = ROOT / "samples" / "portrait.jpg"
SPEECH = ROOT / "samples" / "speech.flac"

STARTED_BY_ITSELF = """(video) => new Promise((resolve) => {
    const look = () => (video.played.length ? resolve() : requestAnimationFrame(look));
    look();
})"""


def assert_plays(page: Page) -> None:
    video = page.locator("video#result")
    video.wait_for()
    played = video.evaluate(
        """async (video) => {
            video.muted = true;
            await video.play();
            return new Promise((resolve) => {
                video.ontimeupdate = () => video.currentTime > 0.5 && resolve(video.currentTime);
            });
        }"""
    )
    assert played > 0.5
    assert video.evaluate("video => video.videoWidth") == 512


def test_a_typed_text_becomes_a_video_that_plays(stack: Stack, page: Page) -> None:
    page.goto(stack.url)
    page.set_input_files("#text-image", PORTRAIT)
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    page.fill("#text-text", "This is a first sentence.")
    expect(page.locator("#text-count")).to_contain_text("25 of 5,000")
    page.check("#text-consent")
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    page.locator("video#result").evaluate(STARTED_BY_ITSELF)
    assert_plays(page)
    expect(page.get_by_text("spoken by English")).to_be_visible()
    page.get_by_text("Details").click()
    expect(page.get_by_role("definition").first).to_contain_text("facewarp")
    expect(page.locator("#said")).to_have_text("Your video")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".mp4")
    assert b"ftyp" in Path(download.value.path()).read_bytes()[:16]


def test_a_recording_becomes_a_video_that_plays(stack: Stack, page: Page) -> None:
    page.goto(stack.url)
    page.set_input_files("#text-image", PORTRAIT)
    page.get_by_role("link", name="Upload").first.click()
    page.set_input_files("#audio-audio", SPEECH)
    expect(page.get_by_text("speech.flac · 5.6 s")).to_be_visible()
    page.locator("#make-audio").get_by_label("I may use this face").check()
    page.click("#make-audio .make-button")
    page.wait_for_url("**/jobs/*")
    assert_plays(page)
    assert abs(page.locator("#result").evaluate("video => video.duration") - 5.585) < 0.05
    page.get_by_role("link", name="Make another with this face").click()
    expect(page.get_by_text("portrait.jpg · 512 × 512")).to_be_visible()
    expect(page.get_by_text("speech.flac · 5.6 s")).to_be_visible()


def test_a_long_video_is_watched_while_it_is_made_then_left_then_stopped(
    stack: Stack, page: Page
) -> None:
    page.goto(stack.url)
    page.set_input_files("#text-image", PORTRAIT)
    page.fill("#text-text", "This takes minutes to say, and so it takes a while to make. " * 60)
    page.check("#text-consent")
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    address = page.url
    page.locator("video#result").evaluate(STARTED_BY_ITSELF)
    bar = page.get_by_role("progressbar", name="Progress")
    before = bar.get_attribute("value") or ""
    expect(bar).not_to_have_attribute("value", before)
    expect(page.locator("[data-left]")).to_contain_text("left")
    page.reload()
    page.locator("video#result").evaluate(STARTED_BY_ITSELF)
    page.get_by_role("link", name="Jobs").click()
    row = page.locator("[data-row]").first
    expect(row).to_contain_text("Moving the mouth")
    expect(row.locator("img")).to_have_js_property("complete", True)
    assert row.locator("img").evaluate("image => image.naturalWidth") > 0
    page.get_by_role("link", name="GPU hosts").click()
    expect(page.locator("[data-hosts]")).to_contain_text("renders 1 of at most")
    page.goto(address)
    page.locator("video#result").evaluate(STARTED_BY_ITSELF)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/jobs")
    expect(page.locator(f"[data-row='{address.rsplit('/', 1)[1]}']")).to_have_count(0)


def test_gpu_hosts_come_and_go_without_a_restart(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/hosts")
    expect(page.locator("[data-hosts]")).to_contain_text("facewarp")
    page.get_by_label("Connection string").fill("lipsync://secret@127.0.0.1:9")
    page.get_by_label("Name").fill("Nobody")
    page.get_by_role("button", name="Add").click()
    host = page.locator(".host", has_text="Nobody")
    expect(host).to_contain_text("does not answer", timeout=60_000)
    assert "secret" not in page.content()
    page.get_by_role("link", name="Remove Nobody").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(host).to_have_count(0)


@pytest.mark.parametrize("way", ["text", "audio"])
def test_everything_works_without_a_script(stack: Stack, browser: Browser, way: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(stack.url)
        if way == "text":
            page.fill("#text-text", "No script was needed for this.")
        else:
            page.locator("#make-text").get_by_role("link", name="Upload").click()
            page.set_input_files("#audio-audio", SPEECH)
        page.set_input_files(f"#{way}-image", PORTRAIT)
        page.check(f"#{way}-consent")
        page.click(f"#make-{way} .make-button")
        page.wait_for_url("**/jobs/*")
        page.locator("video#result").wait_for()
        address = page.get_by_role("link", name="Download").get_attribute("href")
        answer = context.request.get(f"{stack.url}{address}", headers={"Range": "bytes=0-99"})
        assert answer.status == 206
        assert answer.headers["content-type"] == "video/mp4"


def test_the_sample_works_without_a_script(stack: Stack, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(stack.url)
        page.locator("#make-text").get_by_role("button", name="Try the sample").click()
        page.wait_for_url("**/jobs/*")
        page.locator("video#result").wait_for()


def test_a_picture_without_a_face_is_explained(stack: Stack, page: Page, tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), (150, 140, 130)).save(wall)
    page.goto(stack.url)
    page.set_input_files("#text-image", wall)
    page.fill("#text-text", "Is anybody there?")
    page.check("#text-consent")
    page.click("#make-text .make-button")
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_role("alert")).to_contain_text("both eyes and the mouth visible")
    page.get_by_role("link", name="Change it and try again").click()
    expect(page.get_by_text("wall.png · 400 × 300")).to_be_visible()
    expect(page.locator("#text-text")).to_have_value("Is anybody there?")


def test_a_text_that_can_not_be_spoken_is_refused_beside_it(stack: Stack, page: Page) -> None:
    page.goto(stack.url)
    page.set_input_files("#text-image", PORTRAIT)
    page.fill("#text-text", "\N{GRINNING FACE}\N{PARTY POPPER}")
    page.check("#text-consent")
    page.click("#make-text .make-button")
    expect(page.locator("#text-voice-error")).to_contain_text("Type at least one word")
    expect(page.locator("#text-text")).to_have_value("\N{GRINNING FACE}\N{PARTY POPPER}")
