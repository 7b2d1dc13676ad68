"""Packets as they come, refusals at their field, lists that follow what happens."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.kit.network import finished


def test_packets_of_a_ping_are_drawn_while_it_runs(watched: Watched, picture: Callable[[str], None]) -> None:
    able = watched.network.api.post("/jobs", json={"function": "latency-ping", "params": {"target": "127.0.0.1"}})
    if (failure := finished(watched.network.api, able.json()["job"])["failure"]) is not None:
        pytest.skip(f"ICMP is not permitted here: {failure}")
    page = watched.open("run/latency-ping")
    page.get_by_label("target (needed)").fill("127.0.0.1")
    page.get_by_label("count").fill("30")
    page.get_by_label("interval (ms)").fill("100")
    page.get_by_role("button", name="Run", exact=True).click()

    drawing = page.locator(".chart [data-points]")
    expect(drawing.locator("canvas")).to_be_visible()
    expect(page.locator("section.job")).to_have_attribute("data-state", "running")
    first = int(drawing.get_attribute("data-points") or 0)
    page.wait_for_function(
        "least => Number(document.querySelector('[data-points]').dataset.points) > least", arg=first + 3
    )
    assert not page.get_by_test_id("result").is_visible(), "packets are there before the result"
    picture("run-live")
    result = page.get_by_test_id("result")
    expect(result).to_contain_text("30 of 30")
    expect(drawing).to_have_attribute("data-points", "30")
    expect(page.get_by_role("img", name="30 packets, 30 answered")).to_be_visible()
    page.get_by_text("packets (30)").click()
    expect(result.get_by_role("row")).to_have_count(31)
    page.get_by_text("How far to trust it").click()
    expect(result).to_contain_text("kernel")
    picture("run-result")

    before = page.url
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != before and "job=" in url)
    expect(page.locator("section.job")).to_have_attribute("data-state", "running")


def test_what_breaks_a_rule_is_told_at_its_field(watched: Watched) -> None:
    page = watched.open("run/echo")
    page.get_by_label("delay (ms)").fill("60001")
    page.get_by_role("button", name="Run", exact=True).click()
    delay = page.locator(".field", has=page.get_by_label("delay (ms)"))
    expect(delay.get_by_role("alert")).to_have_text("must be at most 60000")
    expect(page.get_by_label("delay (ms)")).to_be_focused()
    page.get_by_label("delay (ms)").fill("0")
    page.get_by_label("Place").select_option(label="by labels …")
    page.get_by_label("Labels").fill("site=nowhere")
    page.get_by_role("button", name="Run", exact=True).click()
    labels = page.locator(".field", has=page.get_by_label("Labels"))
    expect(labels.get_by_role("alert")).to_contain_text("no node with these labels runs a worker of echo")


def test_a_failure_is_shown_with_who_has_to_act(watched: Watched) -> None:
    page = watched.open("run/latency-ping")
    page.get_by_label("target (needed)").fill("no-such-name.invalid")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_test_id("result")).to_contain_text("up to the resolver")


def test_a_running_job_is_cancelled_by_a_click(watched: Watched, picture: Callable[[str], None]) -> None:
    order = {"function": "echo", "params": {"text": "too long", "delay_ms": 60_000}}
    job = watched.network.api.post("/jobs", json=order).json()["job"]
    page = watched.open(f"jobs/{job}")
    section = page.locator("section.job")
    expect(section).to_have_attribute("data-state", "running")
    expect(page.get_by_role("button", name="Run again")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(section).to_have_attribute("data-state", "cancelled")
    expect(page.get_by_test_id("result")).to_contain_text("by admin")
    expect(page.get_by_label("steps of the job").get_by_role("listitem").last).to_contain_text("cancelled")
    picture("run-cancelled")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: job not in url)
    expect(section).to_have_attribute("data-state", "running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(section).to_have_attribute("data-state", "cancelled")


def test_jobs_are_listed_as_they_come_and_open_by_a_click(watched: Watched) -> None:
    page = watched.open("jobs?function=echo")
    expect(page.get_by_label("Function")).to_have_value("echo")
    expect(page.get_by_role("banner").get_by_role("status")).to_have_text("live")
    told = watched.network.api.post("/jobs", json={"function": "echo", "params": {"text": "listed"}}).json()
    link = page.get_by_role("link", name=f"…{told['job'][-12:]}")
    expect(link).to_be_visible()
    page.get_by_label("State").select_option("cancelled")
    expect(link).to_be_hidden()
    page.get_by_label("State").select_option("finished")
    link.click()
    expect(page.get_by_test_id("result")).to_contain_text("listed")
    page.get_by_role("link", name="Change and run").click()
    expect(page.get_by_label("text")).to_have_value("listed")


def test_modules_live_on_the_page(watched: Watched) -> None:
    page = watched.open("modules")
    page.get_by_label("Filter").fill("echo n1")
    row = page.get_by_role("row").filter(has_text="echo").first
    expect(row).to_contain_text("up")
    done = row.locator("[data-label=Done]")
    before = int(done.inner_text())
    told = watched.network.api.post("/jobs", json={"function": "echo", "node": "n1"}).json()
    finished(watched.network.api, told["job"])
    expect(done).to_have_text(str(before + 1))


def test_log_lines_are_followed_and_filtered(watched: Watched) -> None:
    page = watched.open("log")
    lines = page.get_by_label("log lines, newest first").get_by_role("listitem")
    expect(lines.first).to_be_visible()
    page.get_by_label("Function").select_option("echo")
    expect(lines.filter(has_text="worker ready").first).to_contain_text("echo")
    expect(lines.filter(has_text="latency-ping")).to_have_count(0)
    page.get_by_label("Function").select_option("")
    page.get_by_label("Instance").fill("gateway1")
    expect(lines.filter(has_text="listening")).to_have_count(1)
    expect(lines.filter(has_text="worker ready")).to_have_count(0)
    page.get_by_label("Level").select_option("critical")
    expect(page.get_by_text("No line fits these filters.")).to_be_visible()
    assert "level=critical" in page.url
