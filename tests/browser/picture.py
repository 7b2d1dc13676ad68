"""Remake the picture of the page: a network of its own, one ping to this machine, and what it looks like meanwhile.

python -m tests.browser.picture [FILE]
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.kit.network import ROOT, RunningNetwork

PICTURE = ROOT / "gateway" / "web" / "picture.png"
MOST_BYTES = 300_000


def take(network: RunningNetwork, file: Path) -> None:
    """Run a ping by its form, and store what is on the screen when most packets are there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(f"{network.url}/#/run/latency-ping")
        page.get_by_label("Name").fill(network.api.user)
        page.get_by_label("Password").fill(network.api.password)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("target (needed)").fill("127.0.0.1")
        page.get_by_label("count").fill("40")
        page.get_by_label("interval (ms)").fill("50")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_test_id("result")).to_be_visible(timeout=20_000)
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.screenshot(path=file)
        browser.close()


def main() -> None:
    """Start the network, take the picture, stop."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory() as folder, RunningNetwork(Path(folder) / "net", "--nodes", "2") as network:
        for name in ("echo", "latency-ping"):
            deployed = network.mmn("deploy", str(ROOT / "functions" / name))
            if deployed.code:
                sys.exit(deployed.err)
        take(network, file)
    size = file.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{file} has {size} bytes, more than {MOST_BYTES}")
    print(f"{file.name}: {size // 1000} kB")


if __name__ == "__main__":
    main()
