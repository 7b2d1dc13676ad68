"""From a wheel on this machine to a result on the page."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.bundles import steps_wheel
from tests.browser.conftest import Watched


def upload(watched: Watched, folder: Path, name: str, wheel: bytes, *, signed: bool = True) -> Locator:
    """Choose a wheel and its signature in the Functions view; returns the card of its function."""
    page, path = watched.page, folder / f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl"
    path.write_bytes(wheel)
    chosen = [path]
    if signed:
        made = watched.network.mmn("key", "sign", str(path))
        assert made.code == 0, made
        chosen.append(Path(made.out.strip()))
    page.get_by_label("Choose a wheel and its .sig").set_input_files(chosen)
    return page.locator(f"[data-function={name}]")


def test_a_wheel_is_uploaded_becomes_ready_and_runs_from_its_form(
    watched: Watched, tmp_path: Path, picture: Callable[[str], None]
) -> None:
    page = watched.open("functions")
    card = upload(watched, tmp_path, "web-steps", steps_wheel("web-steps"))
    expect(page.get_by_text("web-steps 1.0.0 is stored")).to_be_visible()
    expect(card.get_by_text("just uploaded")).to_be_visible()
    expect(card.get_by_label("web-steps on each node").get_by_text("ready")).to_have_count(2)
    card.get_by_text("Details").click()
    expect(card).to_contain_text(f"signed by{watched.network.author}")
    picture("functions-uploaded")

    card.get_by_role("link", name="Run").click()
    form = page.get_by_role("form", name="Run web-steps")
    expect(form.get_by_label("steps")).to_have_value("4")
    expect(form.get_by_label("loud")).not_to_be_checked()
    form.get_by_role("button", name="Run", exact=True).click()
    expect(form.get_by_role("alert")).to_have_text("is needed")
    expect(form.get_by_label("name (needed)")).to_be_focused()
    form.get_by_label("name (needed)").fill("walk")
    form.get_by_label("mode").select_option("fancy")
    form.get_by_label("loud").check()
    form.get_by_label("words").fill('["left", "right"]')
    form.get_by_label("Place").select_option("n2")
    form.get_by_role("button", name="Run", exact=True).click()

    job = page.locator("section.job")
    expect(job.get_by_label("progress events").get_by_text("step").first).to_be_visible()
    assert job.get_attribute("data-state") == "running", "events are there before the job has ended"
    assert not page.get_by_test_id("result").is_visible()
    picture("run-events")
    result = page.get_by_test_id("result")
    expect(result).to_contain_text("web-steps from n2")
    expect(result).to_contain_text("left, right")
    expect(job.get_by_label("progress events").get_by_role("listitem")).to_have_count(4)
    steps = job.get_by_label("steps of the job").get_by_role("listitem")
    expect(steps).to_contain_text(["accepted", "dispatched", "finished"])
    assert f'"author": "{watched.network.author}"' in (result.locator("pre").text_content() or "")
    assert '"mode": "fancy"' in (result.locator("pre").text_content() or "")


def test_a_bad_wheel_is_refused_with_the_rule_it_breaks(watched: Watched, tmp_path: Path) -> None:
    page = watched.open("functions")
    upload(watched, tmp_path, "web-broken", b"this is no wheel")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The upload was refused: bundle: is not a wheel")
    expect(alert).to_contain_text("rule not-a-zip")
    expect(alert).to_contain_text("field bundle")


def test_an_unsigned_wheel_is_refused_with_the_command_that_signs_it(watched: Watched, tmp_path: Path) -> None:
    page = watched.open("functions")
    card = upload(watched, tmp_path, "web-unsigned", steps_wheel("web-unsigned"), signed=False)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The upload was refused: signature: the bundle is not signed")
    expect(alert).to_contain_text("mmn key sign WHEEL")
    expect(alert).to_contain_text("rule unsigned")
    expect(card).to_have_count(0)


def test_a_function_that_is_switched_off_is_not_run_and_the_page_says_why(watched: Watched, tmp_path: Path) -> None:
    page = watched.open("functions")
    card = upload(watched, tmp_path, "web-switched", steps_wheel("web-switched"))
    nodes = card.get_by_label("web-switched on each node", exact=True)
    expect(nodes.get_by_text("ready")).to_have_count(2)
    card.get_by_role("button", name="Disable").click()
    expect(card.get_by_text("switched off everywhere")).to_be_visible()
    page.goto(f"{watched.network.url}/#/run/web-switched")
    page.get_by_label("name (needed)").fill("x")
    page.get_by_role("button", name="Run", exact=True).click()
    refused = watched.network.api.post("/jobs", json={"function": "web-switched", "params": {"name": "x"}})
    assert refused.status_code == 409
    expect(page.get_by_role("alert")).to_contain_text(refused.json()["detail"])
    expect(page.get_by_role("alert")).to_contain_text("rule disabled")

    page.get_by_role("link", name="Functions", exact=True).click()
    card.get_by_role("button", name="Enable").click()
    expect(nodes.get_by_text("ready")).to_have_count(2)
    card.get_by_role("button", name="more workers").click()
    expect(card.get_by_label("workers of web-switched on each node")).to_contain_text("2 workers per node")
    expect(nodes.get_by_text("2 workers")).to_have_count(2)
