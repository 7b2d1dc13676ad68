"""The page in the system's Chromium, before the network that all scenarios share."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.kit.network import RunningNetwork

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = (1280, 860), (390, 800)

expect.set_options(timeout=15_000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile. For this package only: its event loop is in the way of asynchronous tests."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Watched:
    """A page whose every request and complaint is written down."""

    def __init__(self, page: Page, network: RunningNetwork) -> None:
        self.page = page
        self.network = network
        self.complaints: list[str] = []
        self.addresses: set[str] = set()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", self._request)
        page.on("websocket", lambda socket: self.addresses.add(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself notes each refusal of the API; tests say which ones they provoke.
        refusal = message.text.startswith("Failed to load resource") and "/api/v1/" in message.location["url"]
        if message.type in {"error", "warning"} and not refusal:
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        self.addresses.add(request.url)

    def open(self, view: str = "") -> Page:
        """Show a view, logged in as the admin."""
        self.page.goto(f"{self.network.url}/#/{view}")
        api = self.network.api
        self.log_in(api.user, api.password)
        return self.page

    def log_in(self, user: str, password: str) -> None:
        """Fill the form that is on the screen."""
        self.page.get_by_label("Name").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_label("Password").press("Enter")

    def judge(self) -> None:
        """Nothing was complained of, neither by scripts nor by the security policy, and nothing left the origin."""
        assert not self.complaints, self.complaints
        origin = self.network.url.removeprefix("http://")
        strange = [url for url in self.addresses if not re.match(rf"(http|ws)://{re.escape(origin)}/", url)]
        assert not strange, strange
        for cookie in self.page.context.cookies():
            kept = (cookie["name"].startswith("mmn-refresh-"), cookie["httpOnly"], cookie["sameSite"], cookie["path"])
            assert kept == (True, True, "Strict", "/api/v1/auth"), cookie


@pytest.fixture
def watched(browser: Browser, network: RunningNetwork) -> Iterator[Watched]:
    """A fresh page, judged when the test is over."""
    context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
    try:
        seen = Watched(context.new_page(), network)
        yield seen
        seen.judge()
    finally:
        context.close()


@pytest.fixture
def picture(watched: Watched, tmp_path: Path) -> Callable[[str], None]:
    """Store what is on the screen, in MMN_SCREENSHOTS where that is set."""
    folder = Path(os.environ.get("MMN_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> None:
        watched.page.screenshot(path=folder / f"{name}.png")

    return take
