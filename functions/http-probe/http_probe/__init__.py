"""One HTTP/1.1 request to one address: status, headers, certificate, and the time of every phase.

What is measured: how long it took to look the name up, to connect, to shake hands, until the request
was written, until the first byte of the answer came, and until its last. A redirect that is followed
is a request of its own, on a connection of its own, with its own times.

Clock: the process's monotonic clock, read in user space. No synchronised clock is needed but for
`days_left` of a certificate.

Privilege: none, only TCP.

Bias: every request opens a new connection, so nothing is reused (RFC 9112 section 9.3) and TLS sessions
are not resumed. The node's resolver may have the name in its cache. Times include the wait for this
process to be scheduled.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from http_probe import urls
from http_probe.certificates import Certificate, Tls
from http_probe.connection import tls_context
from http_probe.exchange import Hop, Timings
from http_probe.headers import FIELD_NAME, FIELD_VALUE, Header, check
from http_probe.probe import Plan, Probe
from runtime.sdk import Code, Context, Failure, Measured, Meta, Params, Report, Resolved, as_target, failed, guarded

__all__ = ["Certificate", "Header", "ProbeParams", "ProbeReport", "Redirect", "Timings", "Tls", "measure"]

_DEAD = {Code.TIMEOUT, Code.UNREACHABLE, Code.REFUSED, Code.RESET}


class ProbeParams(Params, frozen=True):
    """What to ask, and how."""

    url: Annotated[
        str,
        Meta(
            min_length=8,
            max_length=urls.MOST_CHARACTERS,
            # For those who read the schema; here `urls.parse` says which rule is broken.
            extra_json_schema={
                "pattern": r"^[hH][tT][tT][pP][sS]?://[^/?#@\s\\]+([/?#][^\s\\]*)?$",
                **as_target("url"),
            },
            description="http or https URL; without user name and password, for results are shown to others",
        ),
    ]
    method: Annotated[Literal["GET", "HEAD"], Meta(description="what to ask for; HEAD: no body")] = "GET"
    headers: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=128, extra_json_schema={"pattern": FIELD_NAME})],
            Annotated[str, Meta(max_length=1024, extra_json_schema={"pattern": FIELD_VALUE})],
        ],
        Meta(max_length=32, description="header fields to send; none with secrets, nor any about the connection"),
    ] = {}  # noqa: RUF012  # msgspec copies an empty default
    timeout_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="milliseconds for everything together, redirects included")
    ] = 10_000
    family: Annotated[
        Literal["auto", "4", "6"], Meta(description="IP version; auto takes the first address of the name")
    ] = "auto"
    address: (
        Annotated[
            str,
            Meta(
                min_length=2,
                max_length=64,
                extra_json_schema={"pattern": r"^[0-9A-Fa-f:.]+(%[0-9A-Za-z._-]+)?$", **as_target("host")},
                description="connect to this address instead of looking up the URL's host",
            ),
        ]
        | None
    ) = None
    max_redirects: Annotated[int, Meta(ge=0, le=20, description="redirects to follow; 0: report the first")] = 0
    max_body_bytes: Annotated[int, Meta(ge=0, le=67_108_864, description="bytes of the body to read")] = 1_048_576
    body_limit_fails: Annotated[bool, Meta(description="a larger body is a failure")] = False
    verify_tls: Annotated[bool, Meta(description="refuse a certificate that is not trusted")] = True
    expect_status: Annotated[
        list[Annotated[int, Meta(ge=100, le=599)]],
        Meta(max_length=32, description="any other status is a failure; empty: every status will do"),
    ] = []  # noqa: RUF012  # msgspec copies an empty default

    def __post_init__(self) -> None:
        try:
            urls.parse(self.url)
        except ValueError as error:
            raise ValueError(f"{error} - at `$.url`") from None
        try:
            check(self.headers)
        except ValueError as error:
            raise ValueError(f"{error} - at `$.headers`") from None
        if self.address is not None:
            try:
                ipaddress.ip_address(self.address)
            except ValueError:
                raise ValueError("must be an IPv4 or IPv6 address - at `$.address`") from None


class Redirect(Report, frozen=True):
    """A redirect that was followed. `location` is where it led, without credentials."""

    url: str
    status: int
    location: str
    address: str | None
    timings: Timings


class ProbeReport(Report, frozen=True):
    """The last response and its timing, and the redirects that led to it.

    `url` is the last one asked for, without credentials. From `status` to `headers` all is None or empty if no
    response came. `header_bytes` counts the header fields; `content_length` is what the server announced.
    `body_bytes` are those read, as they were sent (compressed, if so), None if none was to be read.
    `body_sha256` is None unless the whole body was read. `truncated`: the body has more than `max_body_bytes`.
    `total_ns` is the time of all requests together.
    """

    url: str
    method: str
    address: str | None
    port: int
    timings: Timings
    total_ns: int
    redirects: list[Redirect]
    status: int | None
    reason: str | None
    http_version: str | None
    headers: list[Header]
    headers_cut: bool
    header_bytes: int | None
    content_length: int | None
    body_bytes: int | None
    body_sha256: str | None
    truncated: bool
    tls: Tls | None


async def measure(params: ProbeParams, ctx: Context) -> Measured[ProbeReport]:
    """Resolve the URL's host, ask one address of it, and follow redirects if wanted."""
    url = urls.parse(params.url)
    if url.scheme == "https":
        # Made before the time limit runs, for the first time takes a while.
        tls_context(verify=params.verify_tls)
    probe = Probe(
        Plan(
            url=url,
            method=params.method,
            fields=params.headers,
            family=params.family,
            address=params.address,
            most_redirects=params.max_redirects,
            most_body_bytes=params.max_body_bytes,
            verify=params.verify_tls,
            timeout_ms=params.timeout_ms,
        ),
        ctx,
    )
    resolved = await probe.find()
    if isinstance(resolved, Failure):
        return Measured(target=urls.shown(url), failure=resolved)
    # What was asked for is part of the name, so that impatient jobs do not lock out patient ones.
    asked = f"{resolved.address} port={urls.port_of(url)} host={url.raw_host} timeout={params.timeout_ms}ms"
    return await guarded(
        ctx.breaker(asked),
        lambda: _probe(params, probe, resolved),
        target=urls.shown(url),
        address=resolved.address,
        # A server that answers anything at all is not dead, and fails fast by itself.
        counts=lambda failure: failure.code in _DEAD and len(probe.hops) == 1,
    )


async def _probe(params: ProbeParams, probe: Probe, resolved: Resolved) -> Measured[ProbeReport]:
    await probe.run(resolved)
    last = probe.hops[-1]
    return Measured(
        data=_report(params, probe, last),
        failure=last.failure or _unwanted(params, last),
        target=urls.shown(probe.plan.url),
        address=last.address,
    )


def _unwanted(params: ProbeParams, last: Hop) -> Failure | None:
    """Say which of the caller's expectations a response missed."""
    if params.expect_status and last.status not in params.expect_status:
        wanted = ", ".join(str(status) for status in params.expect_status)
        return failed(Code.PROTOCOL, f"the status is {last.status}, not {wanted}", stage="status")
    if params.body_limit_fails and last.truncated:
        return failed(Code.TOO_LARGE, f"the body has more than {params.max_body_bytes} bytes", stage="download")
    return None


def _report(params: ProbeParams, probe: Probe, last: Hop) -> ProbeReport:
    return ProbeReport(
        url=urls.shown(last.url),
        method=params.method,
        address=last.address,
        port=urls.port_of(last.url),
        timings=last.timings(),
        total_ns=probe.total_ns,
        redirects=[_redirect(hop, after) for hop, after in zip(probe.hops, probe.hops[1:], strict=False)],
        status=last.status,
        reason=last.reason,
        http_version=last.http_version,
        headers=last.fields,
        headers_cut=last.fields_cut,
        header_bytes=last.header_bytes,
        content_length=last.content_length,
        body_bytes=last.body_bytes,
        body_sha256=last.body_sha256,
        truncated=last.truncated,
        tls=last.tls,
    )


def _redirect(hop: Hop, after: Hop) -> Redirect:
    return Redirect(
        url=urls.shown(hop.url),
        status=hop.status or 0,
        location=urls.shown(after.url),
        address=hop.address,
        timings=hop.timings(),
    )
