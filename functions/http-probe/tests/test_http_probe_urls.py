"""URLs, header fields and parameters: no socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from http_probe import ProbeParams, headers, measure, urls
from runtime.sdk import Function, InvalidField

FUNCTION = Function.load(measure)
TEXT = st.text(max_size=60) | st.text("htps:/@?#[]%.aA0-\\ \n", max_size=40)


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT)
@example("http://a@b/")
@example("http://[::1]:80/")
@example("http:///")
def test_a_url_is_well_formed_or_refused_without_being_quoted(text: str) -> None:
    try:
        url = urls.parse(text)
    except ValueError as error:
        assert len(text) < 20 or text not in str(error)  # noqa: PT017  # either outcome is right
    else:
        assert url.scheme in urls.SCHEMES
        assert url.raw_host
        assert url.raw_user is None
        assert url.raw_password is None
        assert 1 <= urls.port_of(url) <= 65535
        assert str(urls.parse(str(url))) == str(url)


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT)
@example("//joe:pw@example/")
@example("http:x")
@example("\udcff")
def test_a_redirect_leads_to_a_proper_url_or_nowhere(location: str) -> None:
    try:
        url = urls.redirected(URL("http://base.example/a"), location)
    except ValueError as error:
        assert str(error).startswith(("must ", "is "))  # noqa: PT017  # either outcome is right
    else:
        assert str(urls.parse(str(url))) == str(url)
        assert "@" not in (url.raw_authority or "")


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT)
@example("[]@")
def test_what_is_shown_of_a_reference_holds_no_credentials(text: str) -> None:
    assert "joe:pw@" not in urls.shown_reference(f"http://joe:pw@{text}")
    assert "joe:pw@" not in urls.shown_reference(f"//joe:pw@example/{text}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://joe:pw@h/a?b=1", "http://h/a?b=1"),
        ("http://joe@h/", "http://h/"),
        ("http://h/?api_key=1&x=2&access_token=3#f", "http://h/?api_key=hidden&x=2&access_token=hidden"),
        ("http://h/?monkey=1&decode=2", "http://h/?monkey=1&decode=2"),
    ],
)
def test_a_url_is_shown_without_secrets(text: str, shown: str) -> None:
    assert urls.shown(URL(text)) == shown


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("b", "http://base.example/b"),
        ("//other.example/x", "http://other.example/x"),
        ("https://u:p@other.example/#f", "https://other.example/"),
        ("?q", "http://base.example/a?q"),
    ],
)
def test_a_redirect_is_relative_to_where_it_was_met(location: str, leads_to: str) -> None:
    assert str(urls.redirected(URL("http://base.example/a"), location)) == leads_to


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4))
def test_header_fields_are_safe_or_refused(fields: dict[str, str]) -> None:
    try:
        headers.check(fields)
    except ValueError:
        return
    for name, value in headers.to_send(fields, same_host=True).items():
        assert not set("\r\n\0") & set(name + value)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=1500)), max_size=80))
def test_any_received_fields_can_be_shown_and_are_bounded(raw: list[tuple[bytes, bytes]]) -> None:
    shown, cut = headers.to_show(raw)
    assert len(shown) == min(len(raw), 64)
    assert cut or len(raw) <= 64
    assert all(len(one.name) <= 128 and len(one.value) <= 1024 for one in shown)


def test_a_field_replaces_the_default_of_the_same_name() -> None:
    sent = headers.to_send({"USER-AGENT": "me", "X-Key": "k"}, same_host=False)
    assert sent == {"Accept": "*/*", "Accept-Encoding": "identity", "USER-AGENT": "me"}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.url"),
        ({"url": "http://"}, "params.url"),
        ({"url": "http://a b/"}, "params.url"),
        ({"url": "http://a/\n"}, "params.url"),
        ({"url": "ftp://a/xyz"}, "params.url"),
        ({"url": "http://joe:pw@a/"}, "params.url"),
        ({"url": "http://@a.example/"}, "params.url"),
        ({"url": "http://a\\@b/"}, "params.url"),
        ({"url": "http://a:0/x"}, "params.url"),
        ({"url": "http://a:65536/"}, "params.url"),
        ({"url": "http://-/"}, "params.url"),
        ({"url": "http://" + "a" * 3000}, "params.url"),
        ({"url": "http://a/", "method": "POST"}, "params.method"),
        ({"url": "http://a/", "headers": {"a b": "c"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"A": "b\r\nC: d"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"A": "b", "a": "c"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"Connection": "close"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"transfer-encoding": "chunked"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"Authorization": "Basic x"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"Cookie": "a=b"}}, "params.headers"),
        ({"url": "http://a/", "headers": {"Host": "a/b"}}, "params.headers"),
        ({"url": "http://a/", "headers": {str(n): "" for n in range(33)}}, "params.headers"),
        ({"url": "http://a/", "address": "example"}, "params.address"),
        ({"url": "http://a/", "timeout_ms": 9}, "params.timeout_ms"),
        ({"url": "http://a/", "family": "5"}, "params.family"),
        ({"url": "http://a/", "max_redirects": 21}, "params.max_redirects"),
        ({"url": "http://a/", "max_body_bytes": -1}, "params.max_body_bytes"),
        ({"url": "http://a/", "expect_status": [99]}, "params.expect_status[0]"),
        ({"url": "http://a/", "ulr": "b"}, "params.ulr"),
    ],
)
def test_parameters_outside_their_bounds_are_refused_by_name(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        FUNCTION.decode(params)
    assert refused.value.field == field
    assert "joe" not in str(refused.value)


def test_a_host_of_the_callers_choice_may_be_sent() -> None:
    FUNCTION.decode({"url": "http://a/", "headers": {"Host": "b.example:8080"}})
    FUNCTION.decode({"url": "http://a/", "headers": {"Host": "[::1]:80"}})


def test_defaults_are_those_of_the_readme() -> None:
    assert FUNCTION.encode(ProbeParams(url="http://a/")) == {
        "url": "http://a/",
        "method": "GET",
        "headers": {},
        "timeout_ms": 10_000,
        "family": "auto",
        "address": None,
        "max_redirects": 0,
        "max_body_bytes": 1_048_576,
        "body_limit_fails": False,
        "verify_tls": True,
        "expect_status": [],
    }
