"""The whole probe: one request, and one more for each redirect that is followed, within one time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from yarl import URL

from http_probe import headers, urls
from http_probe.exchange import Hop, Request, exchange
from runtime.sdk import Code, Context, Failure, Resolved, failed, monotonic_ns, resolve

_MARGIN_NS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to ask, from the parameters. `address` is used instead of looking up the URL's host."""

    url: URL
    method: str
    fields: Mapping[str, str]
    family: Literal["auto", "4", "6"]
    address: str | None
    most_redirects: int
    most_body_bytes: int
    verify: bool
    timeout_ms: int


@dataclass(slots=True, eq=False)
class Probe:
    """Asks, and follows redirects. After `run`: `hops` in their order, at least one; the last says how it ended."""

    plan: Plan
    ctx: Context
    hops: list[Hop] = field(default_factory=list)
    began: int = field(default_factory=monotonic_ns)

    @property
    def total_ns(self) -> int:
        """The time of all requests together."""
        return sum(hop.total_ns for hop in self.hops)

    async def find(self) -> Resolved | Failure:
        """Resolve the first URL. Its time is part of the first request's."""
        hop = Hop(self.plan.url)
        self.hops.append(hop)
        return await self._resolve(hop)

    async def run(self, first: Resolved) -> None:
        """Measure, until the time limit or a little before the job's deadline at the latest."""
        left_ns = self._limit_ns() - monotonic_ns()
        try:
            async with asyncio.timeout(max(0, left_ns) / 1e9):
                await self._follow(first)
        except TimeoutError:
            self.hops[-1].failure = self._out_of_time(self.hops[-1])
        for hop in self.hops:
            hop.stop()

    async def _follow(self, first: Resolved) -> None:
        resolved: Resolved | Failure = first
        while True:
            hop = self.hops[-1]
            if isinstance(resolved, Failure):
                hop.failure = resolved
                return
            followed = len(self.hops) - 1
            await self._visit(hop, resolved, follow=followed < self.plan.most_redirects)
            if hop.failure is not None or hop.location is None or self.plan.most_redirects == 0:
                return
            if followed == self.plan.most_redirects:
                hop.failure = failed(Code.PROTOCOL, f"more than {followed} redirects", stage="redirect")
                return
            try:
                url = urls.redirected(hop.url, hop.location)
            except ValueError as rule:
                hop.failure = failed(Code.PROTOCOL, f"the redirect's Location {rule}", stage="redirect")
                return
            self.ctx.progress({"kind": "redirect", "status": hop.status, "to": urls.shown(url)})
            self.hops.append(Hop(url))
            resolved = await self._resolve(self.hops[-1])

    async def _resolve(self, hop: Hop) -> Resolved | Failure:
        """Find the one address for a URL and put it before the node's policy."""
        hop.enter("resolve")
        target = hop.url.host or ""
        if self.plan.address is not None and hop.url.raw_host == self.plan.url.raw_host:
            target = self.plan.address
        resolved = await resolve(self.ctx, target, self.plan.family, timeout=self.plan.timeout_ms / 1000)
        if isinstance(resolved, Resolved):
            hop.enter("connect")
            if resolved.duration_ns is None:
                del hop.phases["resolve"]
            hop.address = resolved.address
            self.ctx.progress(
                {"kind": "resolved", "address": resolved.address, "resolve_ns": hop.phases.get("resolve")}
            )
        return resolved

    async def _visit(self, hop: Hop, resolved: Resolved, *, follow: bool) -> None:
        first = self.plan.url
        # A step down to http on the same host is another host as far as confidence goes.
        same_host = hop.url.raw_host == first.raw_host and (hop.url.scheme == "https" or first.scheme == "http")
        request = Request(
            method=self.plan.method,
            fields=headers.to_send(self.plan.fields, same_host=same_host),
            verify=self.plan.verify,
            most_body_bytes=self.plan.most_body_bytes,
            follow=follow,
        )
        host, _, *rest = resolved.sockaddr
        sockaddr: tuple[Any, ...] = (host, urls.port_of(hop.url), *rest)
        hop.at = 0
        await exchange(hop, request, sockaddr, self.ctx.progress)

    def _limit_ns(self) -> int:
        return min(self.began + self.plan.timeout_ms * 1_000_000, self.ctx.deadline_ns - _MARGIN_NS)

    def _out_of_time(self, hop: Hop) -> Failure:
        if self._limit_ns() < self.began + self.plan.timeout_ms * 1_000_000:
            return failed(Code.EXPIRED, "the job's deadline came before the probe's time was over", stage=hop.stage)
        return failed(Code.TIMEOUT, f"not done within {self.plan.timeout_ms} ms", stage=hop.stage)
