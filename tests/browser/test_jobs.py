"""The pages of jobs and GPU hosts in a real browser, before a backend that does as it is told."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from contracts.errors import EngineError, GpuUnreachable, UpstreamError
from contracts.hosts import FoundGpuHost, FoundGpuHosts
from contracts.jobs import JobStage, JobState
from tests.fakes.backend import WAV2LIP, FakeBackend, host_view, job_view
from tests.media import picture, saved


def running(fake: FakeBackend, job_id: str = "job", **changes: object) -> None:
    fake.jobs[job_id] = job_view(JobState.RUNNING, JobStage.RENDERING, id=job_id, **changes)


def ended(fake: FakeBackend, state: JobState, job_id: str = "job", **changes: object) -> None:
    fake.jobs[job_id] = job_view(state, JobStage.DONE, id=job_id, **changes)


# One job


def test_progress_is_seen_as_it_is_told(page: Page, pages: str, fake: FakeBackend) -> None:
    fake.jobs["job"] = job_view(JobState.QUEUED, JobStage.WAITING, id="job", progress=0.0)
    page.goto(f"{pages}/jobs/job")
    expect(page.locator("[data-words]")).to_have_text("Waiting for its turn")
    fake.jobs.change("job", reason="no GPU host answers; the video waits for one")
    expect(page.locator("#job")).to_contain_text("No GPU host answers; the video waits for one.")
    fake.jobs.change("job", state=JobState.RUNNING, stage=JobStage.SPEAKING, reason="")
    expect(page.locator("[data-words]")).to_have_text("Speaking the text")
    expect(page.locator("#job")).not_to_contain_text("No GPU host")
    fake.jobs.change("job", stage=JobStage.RENDERING, progress=0.6)
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "0.6")
    expect(page.locator("[data-left]")).to_be_empty()
    fake.jobs.change("job", progress=0.7, seconds_left=12.3)
    expect(page.locator("[data-left]")).to_have_text(" · about 12 s left")
    expect(page.locator("#said")).to_have_text("Moving the mouth")
    fake.jobs.change("job", state=JobState.SUCCEEDED, stage=JobStage.DONE)
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.locator("#said")).to_have_text("Your video")
    expect(page).to_have_title(re.compile("Your video"))


def test_events_that_do_not_come_through_are_asked_for(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.no_events = True
    running(fake)
    page.goto(f"{pages}/jobs/job")
    fake.jobs.change("job", progress=0.77)
    expect(page.locator("[data-bar]")).to_have_attribute("value", "0.77")
    ended(fake, JobState.SUCCEEDED)
    page.locator("video#result").wait_for()


def test_a_server_that_is_gone_is_said_and_the_work_goes_on_when_it_is_back(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    fake.jobs.wait_for_follower()
    page.route("**/jobs/job.json", lambda route: route.abort())
    page.route("**/jobs/job/events", lambda route: route.abort())
    fake.jobs.hang_up()
    expect(page.locator("#job")).to_contain_text("does not answer")
    page.unroute_all()
    expect(page.locator("#job")).not_to_contain_text("does not answer")
    ended(fake, JobState.SUCCEEDED)
    page.locator("video#result").wait_for()


def test_a_backend_that_is_gone_is_said(page: Page, pages: str, fake: FakeBackend) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    fake.jobs.wait_for_follower()
    error = UpstreamError("no backend answers", hint="Start the backend.").body()
    for address in ("**/jobs/job.json", "**/jobs/job/events"):
        page.route(address, lambda route: route.fulfill(status=503, body=error.model_dump_json()))
    fake.jobs.hang_up()
    expect(page.locator("#job")).to_contain_text("Start the backend")


def test_a_job_that_was_deleted_elsewhere_ends_the_waiting(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    expect(page.get_by_role("progressbar")).to_be_visible()
    fake.jobs.remove("job")
    expect(page.locator("h1")).to_have_text("There is no such job")


def test_a_tab_that_is_not_seen_holds_no_connection(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.add_init_script(
        """(() => {
            window.unseen = false;
            Object.defineProperty(document, "hidden", { get: () => window.unseen });
        })()"""
    )
    running(fake)
    page.goto(f"{pages}/jobs/job")
    expect(page.get_by_role("progressbar")).to_be_visible()
    with page.expect_request("**/jobs/job.json"):
        page.evaluate("unseen = true, document.dispatchEvent(new Event('visibilitychange'))")
    fake.jobs.change("job", progress=0.5)
    with page.expect_request("**/jobs/job/events"):
        page.evaluate("unseen = false, document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("[data-bar]")).to_have_attribute("value", "0.5")


def test_a_job_is_cancelled_and_made_once_more(page: Page, pages: str, fake: FakeBackend) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    page.get_by_role("button", name="Cancel").press("Enter")
    expect(page.get_by_role("heading", name="Cancelled")).to_be_focused()
    expect(page.locator("#said")).to_have_text("Cancelled")
    assert fake.jobs["job"].state is JobState.CANCELLED
    page.get_by_role("button", name="Try again").press("Enter")
    expect(page.locator("[data-words]")).to_have_text("Waiting for its turn")
    expect(page.locator("[data-words]")).to_be_focused()
    # The page follows the job again.
    running(fake)
    expect(page.locator("[data-words]")).to_have_text("Moving the mouth")
    ended(fake, JobState.SUCCEEDED)
    page.locator("video#result").wait_for()


def test_a_cancel_that_comes_too_late_shows_the_video(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.no_events = True
    running(fake)
    page.route("**/jobs/job.json", lambda route: route.abort())
    page.goto(f"{pages}/jobs/job")
    ended(fake, JobState.SUCCEEDED)
    page.get_by_role("button", name="Cancel").click()
    page.locator("video#result").wait_for()


def test_what_could_not_be_done_is_said_where_it_was_asked(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    page.route("**/cancel", lambda route: route.abort())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()


def test_a_page_that_outlived_its_visit_can_still_cancel(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    running(fake)
    page.goto(f"{pages}/jobs/job")
    page.context.clear_cookies()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()


def test_deleting_asks_first(page: Page, pages: str, fake: FakeBackend) -> None:
    ended(fake, JobState.SUCCEEDED)
    page.goto(f"{pages}/jobs/job")
    delete = page.get_by_role("link", name="Delete")
    delete.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("can't be brought back")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(delete).to_be_focused()
    delete.click()
    dialog.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/jobs")
    assert fake.jobs == {}
    expect(page.get_by_text("Nothing has been made yet.")).to_be_visible()


@pytest.mark.parametrize("list_first", [True, False])
def test_jobs_are_managed_without_a_script(
    browser: Browser, pages: str, fake: FakeBackend, list_first: bool
) -> None:
    running(fake)
    address = f"{pages}/jobs" if list_first else f"{pages}/jobs/job"
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        page.get_by_role("button", name="Cancel").click()
        expect(page).to_have_url(address)
        page.get_by_role("button", name="Try again").click()
        assert fake.jobs["job"].state is JobState.QUEUED
        ended(fake, JobState.SUCCEEDED)
        page.goto(address)
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("link", name="Keep it").click()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page).to_have_url(f"{pages}/jobs")
        assert fake.jobs == {}


# All jobs


def test_the_list_moves_on_by_itself_and_keeps_the_focus(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    ended(fake, JobState.SUCCEEDED, "old")
    running(fake, "new")
    page.clock.install()
    page.goto(f"{pages}/jobs")
    rows = page.locator("[data-row]")
    expect(rows).to_have_count(2)
    bar = rows.first.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "0.42")
    cancel = rows.first.get_by_role("button", name="Cancel")
    cancel.focus()
    fake.posters["new"] = saved(picture(), "JPEG")
    fake.jobs.change("new", progress=0.8, seconds_left=3.0, stream=1)
    page.clock.run_for(2100)
    expect(bar).to_have_attribute("value", "0.8")
    expect(rows.first).to_contain_text("about 3 s left")
    expect(cancel).to_be_focused()
    expect(rows.first.locator("img")).to_have_js_property("naturalWidth", 64)
    running(fake, "newest")
    page.clock.run_for(2100)
    expect(rows).to_have_count(3)
    expect(rows.first).to_have_attribute("data-row", "newest")
    expect(cancel).not_to_be_focused()
    expect(rows.nth(1).get_by_role("button", name="Cancel")).to_be_focused()
    fake.jobs.remove("newest")
    ended(fake, JobState.SUCCEEDED, "new")
    page.clock.run_for(2100)
    expect(rows).to_have_count(2)
    expect(rows.first.get_by_role("link", name="Done")).to_be_focused()
    expect(page.locator("#said")).to_contain_text("Done")


def test_jobs_are_managed_in_the_list(page: Page, pages: str, fake: FakeBackend) -> None:
    ended(fake, JobState.SUCCEEDED, "other")
    running(fake)
    page.goto(f"{pages}/jobs")
    row = page.locator("[data-row=job]")
    row.get_by_role("button", name="Cancel").press("Enter")
    expect(row.get_by_role("link", name="Cancelled")).to_be_focused()
    row.get_by_role("button", name="Try again").press("Enter")
    expect(row.get_by_role("button", name="Cancel")).to_be_visible()
    assert fake.jobs["job"].state is JobState.QUEUED
    ended(fake, JobState.FAILED, error=EngineError("the engine broke").body())
    expect(row).to_contain_text("The engine broke.")
    row.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.locator("[data-row=other]").get_by_role("link", name="Done")).to_be_focused()
    assert list(fake.jobs) == ["other"]
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nothing has been made yet.")).to_be_visible()


def test_forty_jobs_are_two_pages(page: Page, pages: str, fake: FakeBackend) -> None:
    for number in range(40):
        ended(fake, JobState.SUCCEEDED, f"job{number}")
    page.goto(f"{pages}/jobs")
    rows = page.locator("[data-row]")
    expect(rows).to_have_count(20)
    expect(rows.first).to_have_attribute("data-row", "job39")
    page.get_by_role("link", name="Older").click()
    expect(rows.last).to_have_attribute("data-row", "job0")
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newest").click()
    expect(rows.first).to_have_attribute("data-row", "job39")


# GPU hosts


def test_a_gpu_host_is_added_by_its_connection_string(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    fake.hosts = [host_view(fixed=True)]
    page.goto(pages)
    page.get_by_role("link", name="GPU hosts").click()
    expect(page.get_by_role("link", name="Remove")).to_have_count(0)
    field = page.get_by_label("Connection string")
    expect(field).to_have_attribute("type", "password")
    field.fill("lipsync://secret@gpu.example")
    page.get_by_label("Name").fill("Colab")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("https://gpu.example")).to_be_visible()
    assert fake.new_hosts[0].name == "Colab"
    assert fake.new_hosts[0].connection == "lipsync://secret@gpu.example"
    assert "secret" not in page.content()
    page.get_by_role("link", name="Remove Colab").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Colab gets no more work")
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("https://gpu.example")).to_have_count(0)
    expect(page.get_by_role("heading", name="GPU hosts", exact=True)).to_be_focused()


def test_a_gpu_host_is_added_by_its_address_and_token(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.goto(f"{pages}/hosts")
    expect(page.get_by_text("There is no GPU host yet.")).to_be_visible()
    page.get_by_text("Give its address and token instead").click()
    page.get_by_label("Address").fill("https://gpu.example")
    page.get_by_label("Token").fill("secret")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("[data-hosts]")).to_contain_text("gpu.example")
    sent = fake.new_hosts[0]
    assert (sent.url, sent.token.get_secret_value()) == ("https://gpu.example", "secret")


def test_a_wrong_connection_string_is_said_beside_it(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    page.goto(f"{pages}/hosts")
    page.get_by_label("Connection string").fill("https://secret.example")
    page.get_by_label("Name").fill("Mine")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#connection-error")).to_contain_text("It looks like lipsync://token@host")
    expect(page.get_by_label("Connection string")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("Mine")
    assert "secret.example" not in page.content()


def test_hosts_are_kept_true(page: Page, pages: str, fake: FakeBackend) -> None:
    fake.hosts = [host_view(running=1, engines=(WAV2LIP,), device="cuda")]
    page.clock.install()
    page.goto(f"{pages}/hosts")
    hosts = page.locator("[data-hosts]")
    expect(hosts).to_contain_text("renders 1 of at most 1")
    expect(hosts).to_contain_text("GPU · PyTorch · fp16 · 2.7 × real time")
    error = GpuUnreachable("no GPU host answers at http://127.0.0.1:9000").body()
    fake.hosts = [host_view(healthy=False, error=error)]
    page.clock.run_for(3100)
    expect(hosts).to_contain_text("Start the GPU host")


def test_a_host_of_the_ngrok_account_is_added_with_its_token_alone(
    page: Page, pages: str, fake: FakeBackend
) -> None:
    url = "https://name.ngrok-free.app"
    page.clock.install()
    page.goto(f"{pages}/hosts")
    fake.found = FoundGpuHosts(configured=True, hosts=(FoundGpuHost(url=url, device="cuda"),))
    page.clock.run_for(3100)
    found = page.get_by_role("region", name="Found in your ngrok account")
    expect(found).to_contain_text("name.ngrok-free.app")
    found.get_by_label("Its token").fill("secret")
    other = FoundGpuHost(url="https://other.ngrok-free.app")
    fake.found = FoundGpuHosts(configured=True, hosts=(other,))
    fake.hosts = [host_view(name="Another")]
    page.clock.run_for(3100)
    expect(page.locator("[data-hosts]")).to_contain_text("Another")
    # What is being typed is not taken away.
    expect(found.get_by_label("Its token")).to_have_value("secret")
    found.get_by_role("button", name="Add name.ngrok-free.app").click()
    expect(page.locator("[data-hosts]")).to_contain_text("name.ngrok-free.app")
    sent = fake.new_hosts[0]
    assert (sent.url, sent.token.get_secret_value()) == (url, "secret")
