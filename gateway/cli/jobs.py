"""`mmn run` and `mmn jobs`: ask for a measurement, wait for its one result, look at jobs, cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import aclosing, contextmanager
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.status import Status

from contracts import clock
from contracts.jobs import DEFAULT_DEADLINE_S
from gateway.cli import exits, render, runner, values
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.render import duration
from gateway.cli.up import labels

_WAIT_S = 20.0
_MARGIN_S = 30.0
_LINGER_S = 0.2
"""How long after a job's deadline its result may take to be told."""

app = typer.Typer(help="Jobs: list, show, cancel.", invoke_without_command=True)

Words = Annotated[list[str] | None, typer.Argument(metavar="[K=V]...", help="Parameters; see mmn functions show.")]
OnNode = Annotated[str | None, typer.Option("--node", help="Only on this node.", show_default=False)]
Match = Annotated[
    list[str] | None, typer.Option("--match", metavar="K=V", help="On any node with this label.", show_default=False)
]


def run(
    function: Annotated[str, typer.Argument(help="The function to run.")],
    words: Words = None,
    params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="Parameters as a JSON object.", show_default=False)
    ] = None,
    node: OnNode = None,
    match: Match = None,
    job_class: Annotated[str, typer.Option("--class", help="live, or batch: may wait under load.")] = "live",
    deadline: Annotated[
        float, typer.Option("--deadline", metavar="S", help="Seconds after which the job is not worth running.")
    ] = DEFAULT_DEADLINE_S,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Run again with the same key, get the same job.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show what happens while it runs.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the result.")] = True,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Run a function once and print its result.

    A target that does not answer is a result, so the exit code is 0 then, too.

    Examples:
        mmn run latency-ping target=192.0.2.1 count=3 --watch
        mmn run echo text=hello --node n1 -o json
    """
    given = values.parameters(params) if params is not None else {}
    request: dict[str, Any] = {"function": function, "class": job_class, "deadline_s": deadline}
    if node is not None:
        request["node"] = node
    if match:
        request["match"] = labels(match)
    if key is not None:
        request["key"] = key

    async def work(client: Client) -> Exit:
        typed = await _typed(client, function, values.pairs(words or []))
        receipt = await client.post("/jobs", request | {"params": given | typed})
        if not wait:
            _accepted(receipt)
            return Exit.OK
        with _told_how_to_cancel(receipt):
            told = await (watched if watch else awaited)(client, receipt)
        render.result(told)
        return exits.for_result(told)

    code = runner.converse(url, work)
    if code is not Exit.OK:
        raise typer.Exit(code)


async def _typed(client: Client, function: str, words: Mapping[str, str]) -> dict[str, Any]:
    if not words:
        return {}
    told = await client.get(f"/functions/{function}")
    # Until a worker was ready once, there is no card; then values are taken for what they look like.
    return values.typed(words, (told.get("card") or {}).get("params_schema") or {})


def _accepted(receipt: Mapping[str, Any]) -> None:
    if render.json_wanted():
        render.dump(receipt)
    else:
        print(f"{receipt['job']} is accepted; mmn jobs show {receipt['job']}")


@contextmanager
def _told_how_to_cancel(receipt: Mapping[str, Any]) -> Generator[None]:
    """Ctrl-C ends the wait and not the job: say so, and how to end the job."""
    try:
        yield
    except asyncio.CancelledError:
        job = receipt["job"]
        render.stderr().print(escape(f"the job goes on; cancel it by: mmn jobs cancel {job}"))
        raise


async def awaited(client: Client, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Wait for a job's result. Raises Stop long after its deadline."""
    ends = clock.epoch_ns(receipt["deadline"]) + int(_MARGIN_S * 1e9)
    with Status(f"job {receipt['job']}: waiting for its result", console=render.stderr()):
        while True:
            path = f"/jobs/{receipt['job']}"
            told = await client.get(path, wait=_WAIT_S, timeout=_WAIT_S + 15)
            if told.get("result") is not None:
                return dict(told["result"])
            if clock.wall_ns() > ends:
                hint = f"look again by: mmn jobs show {receipt['job']}"
                raise Stop(Exit.UNAVAILABLE, "no result though the deadline is over", hint)


async def watched(client: Client, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Wait for a job's result and tell meanwhile what happens, on standard error."""
    console = render.stderr()
    shown = asyncio.Event()

    async def show() -> None:
        try:
            await follow(clock.monotonic_ns())
        except Stop as stop:
            # The result is worth more than the view of it.
            render.note(f"the live view ended: {stop}")
            shown.set()

    async def follow(began: int) -> None:
        async with aclosing(client.follow(["progress", "events"], job=receipt["job"])) as frames:
            async for frame in frames:
                for item in frame.items:
                    passed = (clock.monotonic_ns() - began) / 1e9
                    console.print(f"[dim]{passed:7.3f}[/] {escape(line(item.topic, item.data))}")
                    if item.topic == "events" and item.data.get("event") in {"finished", "expired", "cancelled"}:
                        shown.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(show())
        told = await awaited(client, receipt)
        # The result may overtake the last lines of the feed.
        await asyncio.wait({group.create_task(shown.wait())}, timeout=0.5)
        # So may the last event: progress comes by a stream of its own.
        await asyncio.sleep(_LINGER_S)
        shown.set()
        task.cancel()
    return told


def line(topic: str, data: Mapping[str, Any]) -> str:
    """One item of the feed in one line, without the time."""
    match topic:
        case "progress":
            return f"{data.get('instance', '')} {render.event(data.get('event') or {})}"
        case "events":
            rest = [data.get("instance") or "", data.get("reason") or ""]
            return " ".join(["job", str(data.get("event")), *(word for word in rest if word)])
        case "results":
            failed = (data.get("failure") or {}).get("code")
            return f"{data.get('node') or '-'} {data.get('function')} {data.get('job')} {failed or 'ok'} " + duration(
                data.get("duration_ns")
            )
        case "modules":
            reason = f" ({data['reason']})" if data.get("reason") else ""
            return f"{data.get('instance')} {data.get('function')} {data.get('version')} {data.get('event')}{reason}"
        case "health":
            who = f"{data.get('instance')} {data.get('kind')} {data.get('state')}"
            return f"{who} in_flight={data.get('in_flight')} queue={data.get('queue')} done={data.get('done')}"
        case "logs":
            fields = render.text(data.get("fields") or {})
            return f"{data.get('instance')} {data.get('level')} {data.get('event')} {'' if fields == '-' else fields}"
        case _:
            return render.text(data)


_COLUMNS: tuple[render.Column, ...] = (
    ("job", lambda job: job["id"]),
    ("function", lambda job: job["function"]),
    ("node", lambda job: job.get("node") or job.get("place")),
    ("state", lambda job: job["state"]),
    ("outcome", lambda job: job.get("failure") or ("ok" if job["state"] == "finished" else None)),
    ("accepted", lambda job: job.get("accepted")),
    ("client", lambda job: job.get("client")),
)


@app.callback()
def jobs(context: typer.Context, url: runner.Url = None, _output: render.Output = None) -> None:
    """Jobs of the network, newest first; bare `mmn jobs` lists them.

    Examples:
        mmn jobs
        mmn jobs list --function latency-ping --state queued
        mmn jobs show JOB
        mmn jobs cancel JOB
    """
    context.obj = url
    if context.invoked_subcommand is None:
        listing(context)


@app.command("list")
def listing(
    context: typer.Context,
    function: Annotated[
        str | None, typer.Option("--function", help="Only of this function.", show_default=False)
    ] = None,
    node: OnNode = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help="queued, running, finished, expired or cancelled.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many.")] = 20,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """List jobs, newest first."""
    query: dict[str, Any] = {"function": function, "node": node, "state": state, "limit": limit}
    told = runner.converse(url or context.obj, lambda client: client.get("/jobs", **query))
    render.rows(told["jobs"], _COLUMNS, empty="no jobs")


@app.command()
def cancel(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="The jobs' ids.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the job.", show_default=False)] = "",
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Cancel jobs, whether they wait or run. One that has ended keeps its result.

    Examples:
        mmn jobs cancel JOB
        mmn jobs cancel JOB JOB --reason "wrong target"
    """

    async def work(client: Client) -> Exit:
        told: list[dict[str, Any]] = []
        worst = Exit.OK
        for job in ids:
            try:
                told.append(await client.post(f"/jobs/{quote(job, safe='')}/cancel", {"reason": reason}))
            except Stop as stop:
                # The others are cancelled all the same.
                render.failure(stop)
                worst = max(worst, stop.code)
            else:
                if not render.json_wanted():
                    print(_how_it_stands(told[-1]))
        if render.json_wanted():
            render.dump(told)
        return worst

    code = runner.converse(url or context.obj, work)
    if code is not Exit.OK:
        raise typer.Exit(code)


def _how_it_stands(told: Mapping[str, Any]) -> str:
    if told["state"] == "ended":
        return f"{told['job']} has ended before: {told.get('failure') or 'ok'}"
    return f"{told['job']} is cancelled" + (", and was before" if told.get("repeated") else "")


@app.command()
def show(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="The job's id.")],
    wait: Annotated[float, typer.Option("--wait", min=0, max=60, help="Seconds to wait for its result.")] = 0,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Show a job: what was asked, what happened to it, its result."""
    told = runner.converse(
        url or context.obj, lambda client: client.get(f"/jobs/{job}", wait=wait or None, timeout=wait + 30)
    )
    if render.json_wanted():
        render.dump(told)
        return
    console = render.stdout()
    row, asked = told["job"], told.get("request") or {}
    console.print(f"[bold]{escape(row['function'])}[/] {escape(row['id'])} {row['state']}")
    console.print(f"asked: {escape(render.text(asked.get('params') or {}))}")
    for event in told.get("events") or []:
        console.print(f"[dim]{event['at']}[/] {escape(line('events', event))}")
    if told.get("result"):
        render.result(told["result"])
