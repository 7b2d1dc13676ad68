"""Getting in, staying in, and getting out."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Watched


def test_a_wrong_password_is_told_and_the_right_one_lets_in(watched: Watched) -> None:
    page, api = watched.page, watched.network.api
    page.goto(watched.network.url)
    watched.log_in(api.user, "not the password")
    expect(page.get_by_role("alert")).to_have_text("the name or the password is wrong")
    watched.log_in(api.user, api.password)
    expect(page.get_by_role("heading", name="Modules")).to_be_visible()
    expect(page.get_by_role("banner").get_by_role("status")).to_have_text("live")


def test_a_reload_stays_logged_in_and_logging_out_leaves_nothing(watched: Watched) -> None:
    page = watched.open("jobs")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    with page.expect_response("**/auth/revoke"):
        page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Password")).to_be_visible()
    assert not page.context.cookies()


def test_two_tabs_share_a_login_and_renew_it_in_turn(watched: Watched) -> None:
    page = watched.open("jobs")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    other = page.context.new_page()
    for _ in range(3):
        # Both renew at the same moment: a refresh token that was used twice would end the login.
        other.goto(f"{watched.network.url}/#/modules", wait_until="commit")
        page.reload()
        expect(other.get_by_role("heading", name="Modules")).to_be_visible()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        other.goto("about:blank")


def test_a_login_that_ends_is_asked_for_again_and_the_page_stays_as_it_was(watched: Watched) -> None:
    page, api = watched.page, watched.network.api
    user = {"role": "operator", "password": "for a short while"}
    assert api.put("/users/passing", json=user).status_code == 200
    page.goto(f"{watched.network.url}/#/log?instance=n1")
    watched.log_in("passing", user["password"])
    expect(page.get_by_label("Instance")).to_have_value("n1")
    assert api.delete("/users/passing").status_code == 204
    dialog = page.get_by_role("dialog", name="Log in again")
    expect(dialog).to_be_visible()
    assert api.put("/users/passing", json=user).status_code == 200
    expect(page.get_by_label("Name")).to_have_value("passing")
    watched.log_in("passing", user["password"])
    expect(dialog).to_be_hidden()
    expect(page.get_by_label("Instance")).to_have_value("n1")
    expect(page.get_by_role("banner").get_by_role("status")).to_have_text("live")
    assert api.delete("/users/passing").status_code == 204


def test_a_viewer_may_look_and_is_told_what_else_would_need(watched: Watched) -> None:
    page, api = watched.page, watched.network.api
    assert api.put("/users/looking", json={"role": "viewer", "password": "only to look"}).status_code == 200
    page.goto(f"{watched.network.url}/#/functions")
    watched.log_in("looking", "only to look")
    echo = page.locator("[data-function=echo]")
    expect(echo.get_by_role("button", name="Disable")).to_be_disabled()
    expect(echo.get_by_role("button", name="Disable")).to_have_attribute("title", "needs the role operator")
    expect(page.get_by_text("needs the role deployer")).to_be_visible()
    page.goto(f"{watched.network.url}/#/run/echo")
    expect(page.get_by_role("button", name=re.compile("^Run$"))).to_be_disabled()
    assert api.delete("/users/looking").status_code == 204
