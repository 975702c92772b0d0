import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.fakes.backend import FakeBackend, serve
from tests.fakes.running_pages import running_pages
from tests.services import three_services
from tools.services import Stack

LAUNCH_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium(playwright: Playwright) -> str:
    """The browser of the system, else the one that Playwright fetched."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if Path(playwright.chromium.executable_path).exists():
        return playwright.chromium.executable_path
    words = "no Chromium here: install the package chromium, or run `playwright install chromium`"
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


# Not for the whole session: while Playwright runs, no other test can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = chromium(playwright)
        browser = playwright.chromium.launch(executable_path=path, args=LAUNCH_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1024, "height": 900}, locale="en-US")
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that must not stumble over its own script, nor load anything from elsewhere."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: foreign(request.url, faults))
    page.on("console", lambda message: faults.append(message.text) if blocked(message.text) else 0)
    yield page
    assert faults == []


def foreign(url: str, faults: list[str]) -> None:
    if not url.startswith(("http://localhost:", "http://127.0.0.1:", "blob:", "data:")):
        faults.append(f"asked for {url}")


def blocked(message: str) -> bool:
    return "Content Security Policy" in message


@pytest.fixture(scope="module")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services; started only where there is a browser."""
    with three_services(tmp_path_factory.mktemp("services")) as stack:
        yield stack


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    with serve(FakeBackend()) as backend:
        yield backend


@pytest.fixture
def pages(fake: FakeBackend, tmp_path: Path) -> Iterator[str]:
    """Address of the pages before the fake backend."""
    with running_pages(tmp_path / "pages", fake.url) as url:
        yield url
