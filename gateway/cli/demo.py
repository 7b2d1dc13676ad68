"""`mmn demo`: a whole network, its functions deployed and run, in one command."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import nkeys
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts import clock
from gateway.cli import authorship, build, render, runner, settings
from gateway.cli.client import Client
from gateway.cli.deploy import Outcome, until_settled, upload
from gateway.cli.exits import Exit, Stop
from gateway.cli.jobs import watched
from gateway.cli.local import LocalNetwork, Wish, running
from gateway.cli.nameserver import ZONE, nameserver
from gateway.cli.session import Session
from gateway.cli.settings import Settings
from gateway.cli.stack import Ended
from gateway.cli.up import Dir, state_folder

FUNCTIONS = ("echo", "latency-ping", "dns-lookup", "http-probe")
_DEPLOY_S = 60.0
_JOB_DEADLINE_S = 30.0


DemoNodes = Annotated[int, typer.Option("--nodes", min=1, max=64, help="How many nodes: n1, n2 ...")]


@dataclass(frozen=True, slots=True)
class Shot:
    """One job of the demo."""

    function: str
    params: Mapping[str, Any]


class Steps:
    """One line a step, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = clock.monotonic_ns()

    def __call__(self, text: str) -> None:
        passed = (clock.monotonic_ns() - self._began) / 1e9
        self._console.print(f"[dim]{passed:6.1f} s[/] {escape(text)}")


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when every job has its result.")] = False,
    folder: Dir = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The gateway's port; 0 takes any free one.")
    ] = 0,
    nodes: DemoNodes = 2,
) -> None:
    """Show a whole network at work: start it, deploy the functions of this checkout, run them, keep it running.

    Without --dir all of it lies in a temporary folder that is deleted at the end.

    Examples:
        mmn demo
        mmn demo --once
        mmn demo --dir demo --port 8080
    """
    bundles = bundle_folders()
    runner.run(_demo(bundles, folder, port, nodes, once=once))


def bundle_folders() -> list[Path]:
    """The folders of the demo's functions, in the checkout that this package lies in. Raises Stop."""
    root = Path(__file__).resolve().parents[2] / "functions"
    found = [root / name for name in FUNCTIONS]
    lost = [path for path in found if not (path / "pyproject.toml").is_file()]
    if lost:
        hint = f"{lost[0]} is not there; the demo needs a checkout of the project (`mmn up` does not)"
        raise Stop(Exit.BAD_INPUT, "no functions to show", hint)
    return found


@contextmanager
def _kept(folder: Path | None) -> Generator[Path]:
    """The folder that was asked for, or one that goes away."""
    if folder is not None:
        yield state_folder(folder)
        return
    with TemporaryDirectory(prefix="mmn-demo-", ignore_cleanup_errors=True) as temporary:
        yield state_folder(Path(temporary))


async def _demo(bundles: Sequence[Path], folder: Path | None, port: int, nodes: int, *, once: bool) -> None:
    step = Steps(render.stderr())
    try:
        with _kept(folder) as state:
            async with running(Wish(folder=state, port=port, nodes=nodes), say=step) as network:
                lacking = await network.stack.during(_show(network, bundles, step))
                if not once:
                    _invite(network, step)
                    await network.stack.forever()
                if lacking:
                    raise Stop(Exit.NOT_MEASURED, "not every job has a result", "\n".join(lacking))
                step("every job has its result; stopping")
    except Ended as ended:
        if ended.why is not None:
            raise ended.why from None
        step("stopped")
        if once:
            raise Stop(Exit.INTERRUPTED, "interrupted", "not every job has its result") from None


async def _show(network: LocalNetwork, bundles: Sequence[Path], step: Callable[[str], None]) -> list[str]:
    """Log in, deploy, measure. Returns why some functions could not run at all."""
    session = Session(Settings(url=network.url, state=network.wish.folder))
    async with Client(session) as client, nameserver() as dns_port:
        await client.token()
        step(f"logged in to {network.url}")
        author = authorship.read(network.author_file)
        lacking = {name: why for bundle in bundles for name, why in await _deploy(client, bundle, author, step)}
        results: list[dict[str, Any]] = []
        system = settings.load().demo_system_resolver
        for shot in shots(network.url, dns_port, system_resolver=system):
            if shot.function in lacking:
                continue
            told = " ".join(f"{name}={value}" for name, value in shot.params.items())
            step(f"running {shot.function} {told}")
            body = {"function": shot.function, "params": dict(shot.params), "deadline_s": _JOB_DEADLINE_S}
            results.append(await watched(client, await client.post("/jobs", body)))
    render.stdout().print(table(results))
    for result in results:
        failure = result.get("failure")
        if failure:
            step(f"{result['function']}: {failure['code']}: {failure.get('detail', '')}")
    return list(lacking.values())


async def _deploy(
    client: Client, bundle: Path, author: nkeys.KeyPair, step: Callable[[str], None]
) -> list[tuple[str, str]]:
    """Deploy one function. Returns its name and the reason when no node could start it."""
    deployment = await upload(client, await build.wheel(bundle), key=author)
    name = f"{deployment['function']} {deployment['version']}"
    step(f"uploaded {name}")
    seen = await until_settled(client, deployment, within=_DEPLOY_S, show=lambda _seen: None)
    step(f"{name}: {told_outcomes(seen)}")
    if any(outcome.state == "ready" for outcome in seen):
        return []
    return [(str(deployment["function"]), f"no node could start {name}: {told_outcomes(seen[:1]) or 'there is none'}")]


def told_outcomes(seen: Sequence[Outcome]) -> str:
    """What became of a deployment, in one line; nodes with the same fate together."""
    fates: dict[tuple[str, str], list[str]] = {}
    for one in seen:
        fates.setdefault((one.state, one.reason), []).append(one.node)
    return "; ".join(
        f"{state} on {', '.join(nodes)}" + (f" ({reason})" if reason else "")
        for (state, reason), nodes in fates.items()
    )


def shots(url: str, dns_port: int, *, system_resolver: bool = True, ipv6: bool | None = None) -> list[Shot]:
    """The jobs of the demo; without IPv6 on this host there is nothing to ping at ::1.

    `url` is the gateway's, `dns_port` where the demo's own name server answers.
    """
    targets = ["127.0.0.1"]
    if host_has_ipv6() if ipv6 is None else ipv6:
        targets.append("::1")
    else:
        render.note("this host has no IPv6 loopback address, so ::1 is not pinged")
    pings = [Shot("latency-ping", {"target": target, "count": 3}) for target in targets]
    lookups = [Shot("dns-lookup", {"name": ZONE, "server": "127.0.0.1", "port": dns_port})]
    if system_resolver:
        # Without a network this times out, which is a measurement too.
        lookups.append(Shot("dns-lookup", {"name": "example.com", "timeout_ms": 1000, "retries": 0}))
    probe = Shot("http-probe", {"url": f"{url}/api/v1/status"})
    return [Shot("echo", {"text": "hello from mmn"}), *pings, *lookups, probe]


def host_has_ipv6() -> bool:
    """Say whether ::1 is an address of this host."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def table(results: Sequence[Mapping[str, Any]]) -> Table:
    """One line a result."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("function", "node", "target", "outcome", "measured", "took"):
        made.add_column(name)
    for told in results:
        cells = (
            str(told["function"]),
            render.text(told.get("node")),
            render.text(told.get("target")),
            str((told.get("failure") or {}).get("code", "ok")),
            summary(told.get("data") or {}),
            render.duration(told.get("duration_ns")),
        )
        made.add_row(*map(escape, cells))
    return made


def summary(data: Mapping[str, Any]) -> str:
    """The gist of a report: round trips where there are some, else its plain values."""
    trip = data.get("round_trip")
    if isinstance(trip, Mapping):
        low, mean, high = (render.duration(trip.get(f"{name}_ns")) for name in ("min", "mean", "max"))
        return f"{data.get('received')}/{data.get('sent')} replies, round trip {low} / {mean} / {high} (min/mean/max)"
    if "rcode_name" in data and "answers" in data:
        if data["rcode_name"] is None:
            return "no answer"
        found = [f"{one['type']} {one['rdata']}" for one in data["answers"][:3]]
        return ", ".join([data["rcode_name"], *found, f"query {render.duration(data.get('query_ns'))}"])
    if "status" in data and "total_ns" in data:
        return f"status {data['status']}, {data.get('body_bytes')} bytes, {render.duration(data['total_ns'])}"
    plain = [" ".join(render.named(name, value)) for name, value in data.items() if not isinstance(value, dict | list)]
    return ", ".join(plain[:4]) or "-"


def _invite(network: LocalNetwork, step: Callable[[str], None]) -> None:
    step(f"the network keeps running: {network.url}")
    step(f"log in as admin with the password {network.password_file.read_text().strip()}")
    if network.wish.folder != settings.load().state:
        step(f"from another terminal: export MMN_STATE={network.wish.folder}; mmn run latency-ping target=127.0.0.1 -w")
    step("stop it by Ctrl-C")
