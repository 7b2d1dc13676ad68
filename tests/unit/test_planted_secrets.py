"""A secret planted in a job, an answer or an exception comes out of nothing that is written down."""

import io
import sys
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anchor.ledger import Ledger
from contracts import logs
from contracts.audit import AuditEntry
from contracts.errors import InvalidField, Refused
from contracts.failure import Code, failed
from contracts.jobs import Job, JobRequest
from contracts.service import error_headers
from gateway.errors import problem
from gateway.security.audit import Audit, Note
from runtime.outbox import JobProgress, Outbox
from tests.kit.secrets import NAMES, PLANTED, SECRET, traces

AT = "2030-01-01T00:00:00.000000Z"
QUIETLY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
HIDDEN_PARAMS = st.one_of(
    PLANTED.map(lambda pair: ({"text": pair[0]}, pair[1])),
    PLANTED.map(lambda pair: ({"deep": [{"url": pair[0]}]}, pair[1])),
    PLANTED.map(lambda pair: ({pair[0]: 1}, pair[1])),
    st.tuples(st.sampled_from(NAMES), SECRET).map(lambda pair: ({"headers": {pair[0]: pair[1]}}, pair[1])),
)
"""Parameters and the secret in them."""


class Wire:
    """A connection that remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def publish(self, subject: str, data: bytes, **_: Any) -> None:
        self.sent += [subject.encode(), data]

    async def request(self, subject: str, data: bytes, **_: Any) -> Any:
        self.sent += [subject.encode(), data]
        return type("Reply", (), {"data": b'{"stream":"X","seq":1}', "headers": None})()


def clean(told: Any, secret: str) -> None:
    data = told if isinstance(told, bytes) else str(told).encode()
    for trace in traces(secret):
        assert trace not in data, data


@QUIETLY
@given(HIDDEN_PARAMS, PLANTED)
async def test_of_events_and_of_results_that_anchors_store(
    hidden: tuple[dict[str, Any], str], planted: tuple[str, str]
) -> None:
    params, secret = hidden
    wire: Any = Wire()
    ledger = Ledger(wire, "anchor1")
    job = Job(id="j", request=JobRequest(function="f", params=params), place="any", accepted=AT, deadline=AT)
    failure = failed(Code.WORKER_FAULT, f"it said {planted[0]} !")
    await ledger.event(job, "accepted", sequence=1)
    await ledger.claim(job, sequence=1)
    await ledger.event(job, "retried", reason=f"because {planted[0]} .")
    await ledger.close_job(job, failure)
    await ledger.closed(job, failure, stored=True)
    assert len(wire.sent) == 10
    for data in wire.sent:
        clean(data, secret)
        clean(data, planted[1])
    # The job itself is whole: somebody has to run it.
    assert job.request.params == params


@QUIETLY
@given(HIDDEN_PARAMS)
async def test_of_progress(hidden: tuple[dict[str, Any], str]) -> None:
    wire: Any = Wire()
    outbox = Outbox(wire)
    JobProgress(outbox, job="j", instance="n1_a", function="f")(hidden[0])
    await outbox.flush()
    assert len(wire.sent) == 2
    clean(wire.sent[1], hidden[1])


@QUIETLY
@given(PLANTED)
def test_of_errors(planted: tuple[str, str]) -> None:
    text, secret = planted
    for error in (
        Refused(400, "bad", f"cannot use {text} here"),
        InvalidField(f"params.{text}", f"must not be {text} today"),
        ValueError(text),
    ):
        clean(msgspec.json.encode(problem(error)), secret)
        if isinstance(error, Refused):
            clean(error_headers(error), secret)


@QUIETLY
@given(PLANTED)
async def test_of_the_audit_log(planted: tuple[str, str]) -> None:
    kept: list[AuditEntry] = []

    class Sink:
        async def store_entry(self, entry: AuditEntry) -> None:
            kept.append(entry)

    note = Note(object=planted[0], detail=f"x {planted[0]} y")
    await Audit(Sink(), "gateway1").record("change", "upload", status=200, told=note)
    clean(msgspec.json.encode(kept), planted[1])


@QUIETLY
@given(PLANTED, st.sampled_from(["event", "field", "exception"]))
def test_of_log_lines_and_traces(planted: tuple[str, str], place: str) -> None:
    text, secret = planted
    stream = io.StringIO()
    shipper = logs.configure("x", stream=stream, pretty=False)
    log = structlog.get_logger()
    try:
        raise ValueError(text)
    except ValueError as error:
        match place:
            case "event":
                sentence = f"about {text} ."
                log.warning(sentence)
            case "field":
                log.warning("x", deep=[{"y": text}], error=error)
            case _:
                log.exception("failed")
    clean(stream.getvalue(), secret)
    assert shipper._lines
    clean(msgspec.json.encode(list(shipper._lines), enc_hook=str), secret)


@QUIETLY
@given(PLANTED)
def test_of_the_last_words_of_a_program(capsys: pytest.CaptureFixture[str], planted: tuple[str, str]) -> None:
    logs.configure("x", stream=io.StringIO())
    try:
        raise ValueError(planted[0])
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    told = capsys.readouterr().err
    assert "ValueError" in told
    clean(told, planted[1])


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    structlog.reset_defaults()
