"""What is asked: the parameters, and the message that is made of them (RFC 1035, RFC 6891). No socket, no clock."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.reversename

from runtime.sdk import Meta, Params, as_target

Transport = Literal["udp", "tcp", "tls"]
RecordType = Literal[
    "A", "AAAA", "ANY", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SSHFP",
    "SVCB", "TLSA", "TXT",
]  # fmt: skip
RecordClass = Literal["IN", "CH"]

SYSTEM = "system"
_HOST = r"^[0-9A-Za-z._:%-]+$"
_PORTS = {"udp": 53, "tcp": 53, "tls": 853}


class LookupParams(Params, frozen=True, rename={"class_": "class"}):
    """What to ask, whom, and how."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1024,
            # For those who read the schema; here `asked_name` says which rule is broken.
            extra_json_schema={"pattern": "^[!-~]+$"},
            description="the name to look up, international ones in their xn-- form; with type PTR also an address",
        ),
    ]
    type: Annotated[RecordType, Meta(description="type of the records asked for")] = "A"
    class_: Annotated[RecordClass, Meta(description="class; CH asks the server about itself")] = "IN"
    server: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=_HOST,
            extra_json_schema=as_target("host", besides=[SYSTEM]),
            description="address or host name of the name server; system means those the node itself uses",
        ),
    ] = SYSTEM
    port: Annotated[int, Meta(ge=1, le=65535, description="53, or 853 for tls, unless given")] | None = None
    transport: Annotated[Transport, Meta(description="tls is DNS over TLS (RFC 7858)")] = "udp"
    tcp_fallback: Annotated[bool, Meta(description="ask again over TCP if the answer over UDP is truncated")] = True
    tls_hostname: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=253,
                pattern=_HOST,
                description="name that the server's certificate must hold, if not the one of the server",
            ),
        ]
        | None
    ) = None
    tls_verify: Annotated[bool, Meta(description="refuse a certificate that is not trusted")] = True
    recursion: Annotated[bool, Meta(description="ask for recursion (RD)")] = True
    checking_disabled: Annotated[bool, Meta(description="ask the server not to validate DNSSEC (CD)")] = False
    edns: Annotated[bool, Meta(description="send an EDNS record (RFC 6891)")] = True
    edns_bytes: Annotated[int, Meta(ge=512, le=65535, description="largest answer over UDP to ask for")] = 1232
    dnssec_ok: Annotated[bool, Meta(description="ask for DNSSEC records (DO, needs edns)")] = False
    nsid: Annotated[bool, Meta(description="ask which server answers (RFC 5001, needs edns)")] = False
    timeout_ms: Annotated[
        int, Meta(ge=10, le=30_000, description="milliseconds for each attempt, connecting included")
    ] = 2000
    retries: Annotated[
        int, Meta(ge=0, le=5, description="further attempts if one fails without an answer, at the next server if any")
    ] = 1
    family: Annotated[Literal["auto", "4", "6"], Meta(description="IP version to reach the server by")] = "auto"
    keep_message: Annotated[bool, Meta(description="put the whole answer into the result, in base64")] = False

    def __post_init__(self) -> None:
        for field, value in (("server", self.server), ("tls_hostname", self.tls_hostname)):
            # Python's `$` also matches before a final newline, JSON Schema's does not.
            if value is not None and value.endswith("\n"):
                raise ValueError(f"must not end in a newline - at `$.{field}`")
        if not self.edns and (self.dnssec_ok or self.nsid):
            raise ValueError("must be true for dnssec_ok and nsid - at `$.edns`")
        asked_name(self)

    def effective_port(self) -> int:
        """The port given, or the usual one of the transport."""
        return self.port or _PORTS[self.transport]


def asked_name(params: LookupParams) -> dns.name.Name:
    """Return the name that goes into the question: for type PTR, an address becomes its reverse name (RFC 3596)."""
    if params.type == "PTR":
        try:
            return dns.reversename.from_address(str(ipaddress.ip_address(params.name)))
        except ValueError:
            pass
    if not all("!" <= character <= "~" for character in params.name):
        raise ValueError("must be printable ASCII without spaces, international names in xn-- form - at `$.name`")
    try:
        return dns.name.from_text(params.name)
    except (dns.exception.DNSException, ValueError) as error:
        reason = str(error).rstrip(".").lower() or type(error).__name__
        raise ValueError(f"is not a domain name: {reason} - at `$.name`") from error


def make_query(params: LookupParams, ident: int) -> dns.message.QueryMessage:
    """Make the query with this 16-bit id. RFC 9619: exactly one question."""
    flags = (dns.flags.RD if params.recursion else 0) | (dns.flags.CD if params.checking_disabled else 0)
    query = dns.message.make_query(asked_name(params), params.type, params.class_, flags=flags, id=ident)
    if params.edns:
        options = [dns.edns.NSIDOption(b"")] if params.nsid else []
        query.use_edns(0, dns.flags.DO if params.dnssec_ok else 0, payload=params.edns_bytes, options=list(options))
    return query
