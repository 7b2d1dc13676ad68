"""Every view in light and dark, wide and narrow: pictures for people, and nothing that sticks out."""

from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, WIDE, Watched

VIEWS = {
    "modules": "table",
    "functions": "[data-function=echo]",
    "run/echo": "form button",
    "jobs": "table",
    "log": ".lines li",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_view_is_wider_than_the_screen(
    watched: Watched, picture: Callable[[str], None], scheme: Literal["light", "dark"], size: tuple[int, int]
) -> None:
    page = watched.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    watched.network.api.post("/jobs", json={"function": "echo", "params": {"text": "looks"}})
    watched.open()
    for view, there in VIEWS.items():
        page.goto(f"{watched.network.url}/#/{view}")
        expect(page.locator(there).first).to_be_visible()
        picture(f"{view.replace('/', '-')}-{scheme}-{size[0]}")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= size[0], view


def test_the_page_is_worked_by_keyboard_alone(watched: Watched) -> None:
    page = watched.open("modules")
    expect(page.get_by_role("heading", name="Modules")).to_be_visible()
    page.reload()  # the first key goes where the form was, otherwise
    expect(page.get_by_role("heading", name="Modules")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("link", name="Run", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Run")).to_be_visible()
    page.get_by_label("Function").focus()
    page.keyboard.type("echo")
    page.get_by_label("text").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("result")).to_contain_text("success")


def test_every_input_has_a_name(watched: Watched) -> None:
    page = watched.open("functions")
    for view in ("modules", "functions", "run/latency-ping", "jobs", "log"):
        page.goto(f"{watched.network.url}/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        nameless = page.evaluate(
            "[...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length).map(e => e.outerHTML)"
        )
        assert not nameless, view
