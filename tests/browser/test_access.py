"""Nothing on any page keeps out people who use a keyboard, a screen reader or a small screen."""

from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from contracts.errors import EngineError, GpuUnreachable, NoFaceFound
from contracts.hosts import FoundGpuHost, FoundGpuHosts, HostUsage
from contracts.jobs import FailedAttempt, JobStage, JobState
from contracts.lipsync import FrameRange
from tests.clips import clip
from tests.fakes.backend import PLAIN_HOST, WAV2LIP_MISSING, FakeBackend, host_view, job_view
from tests.fakes.growing import Drip
from tests.media import picture, saved

PATHS = (
    "/",
    "/?voice=upload",
    "/jobs",
    *(f"/jobs/{name}" for name in ("waiting", "running", "done", "failed", "cancelled", "expired")),
    "/jobs/done/delete",
    "/hosts",
    "/nowhere",
)


@pytest.fixture
def full(fake: FakeBackend) -> None:
    """Jobs in every state, and hosts well and ill."""
    now = datetime.now(UTC)
    for number in range(40):
        name = f"old{number}"
        fake.jobs[name] = job_view(JobState.SUCCEEDED, JobStage.DONE, id=name)
        fake.posters[name] = saved(picture(), "JPEG")
    done = job_view(JobState.SUCCEEDED, JobStage.DONE)
    assert done.report
    report = done.report.model_copy(
        update={
            "frames_without_face": (FrameRange(first=20, last=44),),
            "warnings": ("the face is dark",),
            "ignored": ("pads",),
        }
    )
    failed = FailedAttempt(at=now, gpu_host="Colab", error=EngineError("it broke").body())
    stages = {
        "waiting": (JobState.QUEUED, JobStage.WAITING, {"reason": "no GPU host answers"}),
        "running": (JobState.RUNNING, JobStage.RENDERING, {"stream": 1, "seconds_left": 4.0}),
        "done": (JobState.SUCCEEDED, JobStage.DONE, {"report": report, "attempts": (failed,)}),
        "failed": (JobState.FAILED, JobStage.DONE, {"error": NoFaceFound("no face").body()}),
        "cancelled": (JobState.CANCELLED, JobStage.RENDERING, {}),
        "expired": (JobState.SUCCEEDED, JobStage.DONE, {"expired": True}),
    }
    for name, (state, stage, changes) in stages.items():
        fake.jobs[name] = job_view(state, stage, id=name, **changes)
    fake.streams["running"] = Drip(*clip(6).until(1))
    fake.video = clip(6).file
    fake.found = FoundGpuHosts(
        configured=True,
        hosts=tuple(FoundGpuHost(url=f"https://{name}.ngrok-free.app") for name in "ab"),
    )
    error = GpuUnreachable("no GPU host answers at https://gpu.example").body()
    usage = HostUsage(month="2026-01", requests=412, received_bytes=38_000_000)
    tunnel = "https://name.ngrok-free.app"
    fake.hosts = [
        host_view(fixed=True, engines=(WAV2LIP_MISSING,)),
        host_view(id="used", url=tunnel, usage=usage, asked_seldom=True, version="0.1.0"),
        host_view(**PLAIN_HOST),
        host_view(id="far", healthy=False, error=error, next_try_at=now + timedelta(seconds=60)),
    ]


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical."""
    return [
        f"{found['id']}: {node['html']}"
        for found in Axe().run(page).response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.usefixtures("full")
def test_every_page_can_be_used_by_everyone(
    browser: Browser, pages: str, width: int, scheme: str
) -> None:
    with browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    ) as context:
        page = context.new_page()
        for path in PATHS:
            page.goto(pages + path)
            page.locator("a[data-chip]").wait_for()
            if path == "/jobs/running":
                page.locator("video#result").wait_for()
            page.evaluate(
                "for (const fold of document.querySelectorAll('details')) fold.open = true"
            )
            assert faults(page) == [], path
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path


def test_pages_with_nothing_in_them_can_be_used_too(page: Page, pages: str) -> None:
    for path in ("/jobs", "/hosts"):
        page.goto(pages + path)
        page.locator("a[data-chip]").wait_for()
        assert faults(page) == [], path


@pytest.mark.usefixtures("full")
def test_the_question_before_deleting_can_be_answered_by_everyone(page: Page, pages: str) -> None:
    page.goto(f"{pages}/jobs/done")
    page.get_by_role("link", name="Delete").press("Enter")
    expect(page.get_by_role("dialog", name="The video and the files")).to_be_visible()
    assert faults(page) == []


def test_a_screen_reader_hears_of_stages_and_not_of_every_percent(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.jobs["job"] = job_view(JobState.RUNNING, JobStage.PREPARING, id="job", progress=0.0)
    page.goto(f"{pages}/jobs/job")
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    page.evaluate(
        """() => {
            window.heard = [];
            for (const node of document.querySelectorAll("[aria-live]"))
                new MutationObserver(() => heard.push(node.textContent.trim()))
                    .observe(node, { childList: true, subtree: true, characterData: true });
        }"""
    )
    for progress in (0.1, 0.2, 0.3):
        fake.jobs.change("job", stage=JobStage.RENDERING, progress=progress, seconds_left=9.0)
        expect(page.locator("[data-bar]")).to_have_attribute("value", str(progress))
    fake.jobs.change("job", state=JobState.SUCCEEDED, stage=JobStage.DONE)
    expect(page.locator("#said")).to_have_text("Your video")
    heard = [words for words in page.evaluate("heard") if words]
    assert heard == ["Moving the mouth", "Your video"]
