"""One lookup: attempts at one server after another, and over TCP if an answer does not fit into UDP."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from dataclasses import dataclass, field

from dns_lookup import answer, transports
from dns_lookup.answer import Answer
from dns_lookup.question import LookupParams, Transport, make_query
from dns_lookup.servers import socket_address
from dns_lookup.transports import Trial
from dns_lookup.wire import Malformed
from runtime.sdk import Code, Context, Resolved, failed, monotonic_ns, socket_failure

_MARGIN_NS = 100_000_000
_WORTH_ANOTHER_TRY = {Code.NAME_TIMEOUT, Code.REFUSED, Code.RESET, Code.UNREACHABLE, Code.TIMEOUT}


@dataclass(slots=True, eq=False)
class Lookup:
    """Asks until something answers. After `run`: `trials` in their order, at least one; the `decisive` one gave `answer`.

    `fell_back`: an answer over UDP was truncated, so the question was asked again over TCP.
    """

    params: LookupParams
    ctx: Context
    servers: list[Resolved]
    trials: list[Trial] = field(default_factory=list)
    decisive: Trial | None = None
    answer: Answer | None = None
    fell_back: bool = False

    async def run(self) -> None:
        """Ask. Ends a little before the job's deadline at the latest."""
        for number in range(self.params.retries + 1):
            server = self.servers[number % len(self.servers)]
            trial = await self._attempt(server, self.params.transport)
            if trial.truncated and self.params.transport == "udp" and self.params.tcp_fallback:
                self.fell_back = True
                await self._attempt(server, "tcp")
                return
            if trial.failure is None or trial.failure.code not in _WORTH_ANOTHER_TRY:
                return
            if self._time_left_ns() <= 0:
                return

    def _time_left_ns(self) -> int:
        return self.ctx.deadline_ns - _MARGIN_NS - monotonic_ns()

    async def _attempt(self, server: Resolved, transport: Transport) -> Trial:
        """Ask once. If there is no answer, the trial's failure says why; an earlier answer is kept."""
        trial = Trial(transport, server.address)
        self.trials.append(trial)
        self.ctx.progress({"kind": "query", "transport": transport, "server": server.address})
        # RFC 5452: an id that nobody can guess, and a new one for each query.
        query = make_query(self.params, secrets.randbelow(1 << 16))
        # Made before the time limit runs, for the first time takes a while.
        context = transports.tls_context(verify=self.params.tls_verify) if transport == "tls" else None
        left_ns = self._time_left_ns()
        wait_ns = min(self.params.timeout_ms * 1_000_000, max(0, left_ns))
        started = monotonic_ns()
        try:
            async with asyncio.timeout(wait_ns / 1e9):
                await self._ask(trial, server, query.to_wire(), context)
            trial.duration_ns = monotonic_ns() - started
            if trial.wire is not None:
                self.answer = answer.read(trial.wire, query)
                self.decisive = trial
                trial.truncated = self.answer.truncated
        except TimeoutError:
            self._out_of_time(trial, cut_short=left_ns < self.params.timeout_ms * 1_000_000)
        except Malformed as reason:
            trial.failure = failed(Code.PROTOCOL, f"not a proper answer: {reason}", stage=trial.stage)
        except OSError as error:
            trial.failure = socket_failure(error, stage=trial.stage)
        trial.duration_ns = trial.duration_ns or monotonic_ns() - started
        self._tell(trial)
        return trial

    async def _ask(self, trial: Trial, server: Resolved, query: bytes, context: ssl.SSLContext | None) -> None:
        sockaddr = socket_address(server, self.params.effective_port())
        if trial.transport == "udp":
            await transports.over_udp(trial, sockaddr, query)
        elif context is None:
            await transports.over_stream(trial, sockaddr, query, None)
        else:
            name = self.params.tls_hostname or server.target
            await transports.over_stream(trial, sockaddr, query, (context, name.rstrip(".")))

    def _out_of_time(self, trial: Trial, *, cut_short: bool) -> None:
        if cut_short:
            trial.failure = failed(
                Code.EXPIRED, "the job's deadline came before the attempt's time was over", stage=trial.stage
            )
            return
        detail = f"no answer within {self.params.timeout_ms} ms"
        if trial.ignored:
            detail += f", only datagrams with another id: {trial.ignored}"
        trial.failure = failed(Code.NAME_TIMEOUT, detail, stage=trial.stage)

    def _tell(self, trial: Trial) -> None:
        event = {"transport": trial.transport, "server": trial.server, "duration_ns": trial.duration_ns}
        if trial.failure is not None:
            self.ctx.progress(
                {"kind": "failure", "code": trial.failure.code.value, "stage": trial.failure.stage, **event}
            )
        elif self.answer is not None:
            self.ctx.progress(
                {"kind": "truncated" if trial.truncated else "answer", "rcode": self.answer.rcode_name, **event}
            )
