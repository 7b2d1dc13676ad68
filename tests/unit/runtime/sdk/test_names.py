from __future__ import annotations

import socket
from typing import Any, Literal

import pytest

from runtime.sdk import Code, Failure, IcmpSockets, Resolved, failed, resolve
from runtime.sdk.testing import Bench
from runtime.targets import TargetPolicy


def bench(**options: Any) -> Bench:
    return Bench(sockets=IcmpSockets.none(), **options)


@pytest.mark.parametrize(("target", "family"), [("127.0.0.1", 4), ("::1", 6), ("2001:DB8::0:1", 6)])
async def test_an_address_is_taken_as_it_is(target: str, family: int) -> None:
    resolved = await resolve(bench().context(), target)
    assert isinstance(resolved, Resolved)
    assert (resolved.family, resolved.duration_ns) == (family, None)
    assert resolved.addresses == [resolved.address]
    assert resolved.target == target


async def test_a_name_gives_its_first_address_and_lists_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 2, 17, "", ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, 2, 17, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    resolved = await resolve(bench().context(), "host.example")
    assert isinstance(resolved, Resolved)
    assert (resolved.address, resolved.family) == ("2001:db8::1", 6)
    assert resolved.addresses == ["2001:db8::1", "192.0.2.1"]
    assert resolved.sockaddr == ("2001:db8::1", 0, 0, 0)
    assert resolved.duration_ns is not None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), Code.NAME_NOT_FOUND),
        (socket.gaierror(socket.EAI_NODATA, "x"), Code.NAME_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "x"), Code.NAME_TIMEOUT),
        (socket.gaierror(socket.EAI_FAIL, "x"), Code.NAME_FAILURE),
        (UnicodeError("label too long"), Code.NAME_NOT_FOUND),
    ],
)
async def test_a_failed_lookup_is_a_classified_result(
    error: Exception, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    failure = await resolve(bench().context(), "host.example")
    assert isinstance(failure, Failure)
    assert (failure.code, failure.stage) == (code, "resolve")


async def test_a_lookup_ends_with_the_job() -> None:
    failure = await resolve(bench(deadline=0).context(), "host.example")
    assert isinstance(failure, Failure)
    assert failure.code is Code.NAME_TIMEOUT


@pytest.mark.parametrize(("target", "family"), [("127.0.0.1", "6"), ("::1", "4")])
async def test_an_address_of_the_other_family_is_the_callers_mistake(target: str, family: Literal["4", "6"]) -> None:
    failure = await resolve(bench().context(), target, family)
    assert isinstance(failure, Failure)
    assert failure.code is Code.BAD_PARAMS


async def test_the_nodes_policy_judges_the_address_and_not_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 2, 17, "", ("10.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    judged: list[str] = []

    def refuse(address: str) -> Failure:
        judged.append(address)
        return failed(Code.TARGET_DENIED)

    assert await resolve(bench(policy=refuse).context(), "rebound.example") == failed(Code.TARGET_DENIED)
    assert judged == ["10.0.0.1"]


async def test_of_several_addresses_only_those_the_node_allows_are_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 2, 17, "", (text, 0)) for text in ("10.0.0.1", "8.8.8.8", "127.0.0.1", "8.8.4.4")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    resolved = await resolve(bench(policy=TargetPolicy().judge()).context(), "mixed.example")
    assert isinstance(resolved, Resolved)
    assert resolved.address == "8.8.8.8"
    assert resolved.addresses == ["8.8.8.8", "8.8.4.4"]
