"""A video is watched while it is made: in a real browser, before a backend that drips it."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from contracts.jobs import JobStage, JobState
from tests.clips import Clip, clip
from tests.fakes.backend import FakeBackend, job_view
from tests.fakes.growing import Drip

PATIENCE_MS = 60_000

WATCH = """() => {
    window.seen = [];
    window.elements = new Set();
    const look = () => {
        const video = document.querySelector("video#result");
        if (video) {
            window.elements.add(video);
            window.seen.push({
                at: video.currentTime, wall: performance.now() / 1000, paused: video.paused,
                ready: video.readyState, file: !video.currentSrc.startsWith("blob:"),
            });
        }
        requestAnimationFrame(look);
    };
    look();
}"""
"""Notes in each frame what is to be seen of the video."""

Start = Callable[[Clip, float], Drip]


@pytest.fixture
def start(page: Page, pages: str, fake: FakeBackend) -> Iterator[Start]:
    """Opens the page of a running job of which some seconds have come."""
    begun: list[Drip] = []

    def begin(video: Clip, seconds: float) -> Drip:
        begun.append(drip := Drip(*video.until(seconds)))
        fake.streams["job"] = drip
        fake.video = video.file
        fake.jobs["job"] = job_view(
            JobState.RUNNING,
            JobStage.RENDERING,
            id="job",
            stream=1,
            speech_seconds=len(video.fragments) / 5,
        )
        page.add_init_script(f"addEventListener('DOMContentLoaded', {WATCH})")
        page.goto(f"{pages}/jobs/job")
        return drip

    yield begin
    for drip in begun:
        drip.end()


def wait_for(page: Page, condition: str) -> None:
    """Until an expression holds on the page, whose policy forbids Playwright's own way."""
    page.evaluate(
        f"""() => new Promise((resolve, reject) => {{
            const began = performance.now();
            const look = () => {{
                if ({condition}) resolve();
                else if (performance.now() - began > {PATIENCE_MS}) reject(new Error("not so"));
                else requestAnimationFrame(look);
            }};
            look();
        }})"""
    )


def wait(page: Page, condition: str) -> None:
    """Until something holds of the video `v` on the page."""
    wait_for(page, f"((v) => v && ({condition}))(document.querySelector('video#result'))")


def of_video(page: Page, expression: str) -> Any:
    """An expression of the video `v` on the page."""
    return page.evaluate(f"((v) => {expression})(document.querySelector('video#result'))")


def done(fake: FakeBackend, drip: Drip) -> None:
    drip.end()
    fake.jobs.change("job", state=JobState.SUCCEEDED, stage=JobStage.DONE, progress=1.0)


def times(page: Page) -> list[float]:
    return [float(each["at"]) for each in page.evaluate("window.seen")]


def test_the_video_plays_before_its_stream_has_ended(page: Page, start: Start) -> None:
    start(clip(6), 2)
    wait(page, "v.currentTime > 0.5 && !v.paused")
    assert page.locator("#job [data-bar]").is_visible()
    assert of_video(page, "v.buffered.end(0)") < 3
    # Its whole length is known at once.
    assert of_video(page, "v.duration") == pytest.approx(6, abs=0.2)


def test_nothing_is_shown_before_four_tenths_of_a_second_are_there(
    page: Page, start: Start
) -> None:
    page.add_init_script(
        """(() => {
            const append = SourceBuffer.prototype.appendBuffer;
            SourceBuffer.prototype.appendBuffer = function (bytes) {
                this.addEventListener("updateend", () => window.fed = this.buffered.length);
                return append.call(this, bytes);
            };
        })()"""
    )
    drip = start(clip(6), 0.2)
    expect(page.get_by_role("progressbar")).to_be_visible()
    wait_for(page, "window.fed")
    assert page.locator("video#result").count() == 0
    drip.feed(*clip(6).fragments[1:4])
    wait(page, "v.currentTime > 0")


def test_playing_waits_calmly_for_rendering_and_goes_on(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    video = clip(6)
    drip = start(video, 1)
    note = page.get_by_text("Waiting for the next seconds")
    expect(note).to_be_visible(timeout=PATIENCE_MS)
    stood = of_video(page, "v.currentTime")
    # One fragment more is not worth beginning again for.
    drip.feed(video.fragments[5])
    wait(page, "v.buffered.end(0) > 1.15")
    assert of_video(page, "v.playbackRate") == 0
    drip.feed(*video.fragments[6:20])
    wait(page, f"v.currentTime > {stood} + 0.5")
    expect(note).not_to_be_visible()
    drip.feed(*video.fragments[20:])
    done(fake, drip)
    wait(page, "v.ended")
    seen = page.evaluate("window.seen")
    # It never ran dry, and so showed no spinner, and never paused, which would show the controls.
    playing = [each for each in seen if 0 < each["at"] < 5.5 and not each["file"]]
    assert not any(each["paused"] for each in playing)
    assert min(each["ready"] for each in playing) >= 3


def test_at_the_end_the_file_takes_over_without_a_jump(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    video = clip(3)
    drip = start(video, 1.6)
    wait(page, "v.currentTime > 0.5")
    drip.feed(*video.after(1.6))
    done(fake, drip)
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    wait(page, "v.ended && !v.currentSrc.startsWith('blob:')")
    seen = page.evaluate("window.seen")
    # It never went back or blank, and never further than time did.
    assert all(later["at"] >= earlier["at"] for earlier, later in pairwise(seen))
    assert all(
        later["at"] - earlier["at"] < later["wall"] - earlier["wall"] + 0.2
        for earlier, later in pairwise(seen)
    )
    assert min(each["ready"] for each in seen) >= 2
    assert seen[-1]["at"] == pytest.approx(3, abs=0.1)
    assert page.evaluate("window.elements.size") == 2
    of_video(page, "v.play()")
    wait(page, "v.currentTime > 0.2 && v.currentTime < 2.5")


def test_who_watches_on_is_not_disturbed_when_the_file_is_there(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    drip = start(clip(6), 6)
    wait(page, "v.currentTime > 0.2")
    done(fake, drip)
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    wait(page, "v.currentTime > 2")
    assert page.evaluate("window.elements.size") == 1


def test_a_paused_video_becomes_the_file_at_the_same_moment(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    drip = start(clip(6), 6)
    wait(page, "v.currentTime > 0.8")
    of_video(page, "(v.pause(), v.volume = 0.5, v.focus())")
    stood = of_video(page, "v.currentTime")
    done(fake, drip)
    wait(page, "!v.currentSrc.startsWith('blob:')")
    video = of_video(page, "[v.currentTime, v.paused, v.volume, document.activeElement === v]")
    assert video == [pytest.approx(stood, abs=0.05), True, 0.5, True]


def test_a_stream_that_breaks_off_is_taken_up_where_it_was(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    video = clip(6)
    drip = start(video, 2)
    wait(page, "v.currentTime > 0.3")
    drip.break_off()
    drip.feed(*video.after(2))
    done(fake, drip)
    wait(page, "v.ended")
    assert drip.num_served == 2
    seen = times(page)
    assert all(later >= earlier for earlier, later in pairwise(seen))


def test_a_video_that_is_made_anew_starts_over(page: Page, start: Start, fake: FakeBackend) -> None:
    drip = start(clip(6), 2)
    wait(page, "v.currentTime > 1")
    again = clip(4, first=100)
    fake.video = again.file
    fake.streams["job"] = renewed = Drip(*again.until(2))
    fake.jobs.change("job", stream=2)
    drip.break_off()
    wait_for(page, "window.elements.size === 2")
    wait(page, "v.currentTime > 0.1 && v.currentTime < 1.9")
    renewed.feed(*again.after(2))
    done(fake, renewed)
    wait(page, "v.ended")
    assert times(page)[-1] == pytest.approx(4, abs=0.1)


def test_a_stream_that_is_void_is_left_even_if_it_does_not_break_off(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    start(clip(6), 2)
    wait(page, "v.currentTime > 1")
    fake.streams["job"] = Drip(*clip(4, first=100).until(2))
    fake.jobs.change("job", stream=2)
    wait_for(page, "window.elements.size === 2")


def test_what_was_seen_long_ago_is_forgotten_and_fetched_again_when_it_is_wanted(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    drip = start(clip(120), 119)
    wait(page, "v.currentTime > 0.2")
    # It is not all fetched at once.
    wait(page, "v.buffered.end(0) > 60")
    assert of_video(page, "v.buffered.end(0)") < 70
    of_video(page, "v.currentTime = 58")
    wait(page, "v.currentTime > 58.5 && v.buffered.start(0) > 10")
    of_video(page, "v.currentTime = 1")
    wait(page, "v.currentTime > 1.2 && v.currentTime < 10")
    assert drip.num_served == 2
    assert page.evaluate("window.elements.size") == 1


def test_a_browser_without_room_makes_some(page: Page, start: Start, fake: FakeBackend) -> None:
    page.add_init_script(
        """(() => {
            const append = SourceBuffer.prototype.appendBuffer;
            window.refused = 0;
            SourceBuffer.prototype.appendBuffer = function (bytes) {
                const { buffered } = this;
                if (buffered.length && buffered.end(0) - buffered.start(0) > 6) {
                    window.refused++;
                    throw new DOMException("no room", "QuotaExceededError");
                }
                return append.call(this, bytes);
            };
        })()"""
    )
    drip = start(clip(20), 20)
    wait(page, "v.currentTime > 0.1")
    of_video(page, "v.playbackRate = 4")
    drip.end()
    wait(page, "v.ended")
    assert page.evaluate("window.refused") > 0
    assert drip.num_served == 1


def test_reloading_in_the_middle_shows_the_video_at_once(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    video = clip(6)
    drip = start(video, 3)
    wait(page, "v.currentTime > 0.5")
    page.reload()
    wait(page, "v.currentTime > 0.2")
    expect(page.locator("[data-words]")).to_have_text("Moving the mouth")
    drip.feed(*video.after(3))
    done(fake, drip)
    wait(page, "v.ended && v.currentTime > 5.8")


def test_where_sound_may_not_begin_by_itself_it_is_one_click_away(page: Page, start: Start) -> None:
    page.add_init_script(
        """(() => {
            const play = HTMLMediaElement.prototype.play;
            HTMLMediaElement.prototype.play = function () {
                return this.muted ? play.call(this)
                    : Promise.reject(new DOMException("no gesture", "NotAllowedError"));
            };
        })()"""
    )
    start(clip(6), 4)
    wait(page, "v.currentTime > 0.2 && v.muted")
    page.get_by_role("button", name="Sound on").click()
    assert of_video(page, "v.muted") is False
    expect(page.get_by_role("button", name="Sound on")).not_to_be_visible()


def test_who_wants_little_motion_presses_play(
    browser: Browser, pages: str, fake: FakeBackend
) -> None:
    fake.streams["job"] = Drip(*clip(6).until(4))
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.RENDERING, id="job", stream=1)
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{pages}/jobs/job")
        wait(page, "v.readyState >= 2")
        assert of_video(page, "v.paused")


def test_a_browser_that_can_not_play_streams_shows_the_file_at_the_end(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    page.add_init_script("delete window.MediaSource")
    drip = start(clip(3), 3)
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert page.locator("video#result").count() == 0
    done(fake, drip)
    wait(page, "v.ended")
    assert drip.num_served == 0


def test_a_codec_that_the_browser_lacks_is_no_reason_to_show_nothing(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    page.add_init_script("MediaSource.isTypeSupported = () => false")
    drip = start(clip(3), 3)
    expect(page.get_by_role("progressbar")).to_be_visible()
    done(fake, drip)
    wait(page, "v.ended")


def test_watching_holds_no_more_connections_than_a_browser_has(
    page: Page, start: Start, fake: FakeBackend
) -> None:
    start(clip(6), 2)
    wait(page, "v.currentTime > 0.3")
    fake.jobs.wait_for_follower()
    assert fake.jobs.num_followers == 1
    assert fake.streams["job"].num_readers == 1
    # Four of the six that a browser opens to one host are left.
    states = page.evaluate(
        "Promise.all([1, 2, 3, 4].map(() => fetch('/health').then((answer) => answer.status)))"
    )
    assert states == [200] * 4
