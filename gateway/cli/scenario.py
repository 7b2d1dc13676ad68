"""`mmn scenario`: watch a network being put to the test, and see what was measured."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from contracts.errors import MmnError
from gateway.cli import render, runner
from gateway.cli.demo import Steps
from gateway.cli.exits import Exit, Stop, sole
from gateway.cli.local import running
from gateway.cli.scenarios import chart, checks
from gateway.cli.scenarios.catalogue import STORIES
from gateway.cli.scenarios.stage import Stage, Stalled, staged
from gateway.cli.scenarios.story import Story
from gateway.cli.stack import Ended

_MOST_SEED = 1_000_000
_LOOK_S = 0.5


def scenario(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; without it they are listed.", show_default=False)
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="The long form: minutes instead of seconds.")] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Repeats the random choices of an earlier run.", show_default=False),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the network's folder, with all logs.")] = False,
    _output: render.Output = None,
) -> None:
    """Put a network of its own to the test and print what was measured beside what has to hold.

    Each scenario starts a whole network in a temporary folder, loads it, does things to it, and stops it.

    Examples:
        mmn scenario
        mmn scenario hot-plug
        mmn scenario soak --long --seed 7
    """
    if name is None:
        listed = [{"name": story.name, "shows": story.summary} for story in STORIES.values()]
        render.rows(listed, (("name", lambda row: row["name"]), ("shows", lambda row: row["shows"])), empty="none")
        return
    story = STORIES.get(name)
    if story is None:
        raise Stop(Exit.BAD_INPUT, "no such scenario", f"NAME: {name!r}; there are: {', '.join(STORIES)}")
    chosen = secrets.randbelow(_MOST_SEED) if seed is None else seed
    if not runner.run(_play(story, chosen, long=long, keep=keep)):
        raise typer.Exit(Exit.NOT_MEASURED)


async def _play(story: Story, seed: int, *, long: bool, keep: bool) -> bool:
    """Run one scenario and print what became of it. Returns whether everything holds. Raises Stop."""
    step = Steps(Console(quiet=True) if render.json_wanted() else render.stderr())
    step(f"{story.name} (seed {seed}): {story.summary}")
    try:
        with _folder(keep=keep) as folder:
            async with running(story.wish(folder), say=step) as network:
                async with staged(network, seed=seed, long=long, say=step) as stage:
                    async with _live(stage):
                        await network.stack.during(_told(story, stage))
                    span = stage.timeline.now()
                step("stopping the network")
    except Ended as ended:
        if ended.why is not None:
            raise ended.why from None
        raise Stop(Exit.INTERRUPTED, "interrupted", f"{story.name} did not come to its end") from None
    _print(story, stage, seed, span, keep=keep)
    return checks.holds(stage.checks)


@contextmanager
def _folder(*, keep: bool) -> Generator[Path]:
    if keep:
        kept = Path(mkdtemp(prefix="mmn-scenario-"))
        yield kept
        render.note(f"kept: {kept}")
        return
    with TemporaryDirectory(prefix="mmn-scenario-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


@asynccontextmanager
async def _live(stage: Stage) -> AsyncGenerator[None]:
    """Show how many jobs a second end now, in one line that changes; for people at a terminal."""

    async def show(status: Status) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            rates = stage.timeline.rates_now()
            told = ", ".join(f"{function} {rate:.0f}" for function, rate in rates.items())
            status.update(f"jobs/s: {told or '-'}; {stage.desk.waiting} under way")

    if render.json_wanted():
        yield
        return
    with Status("", console=render.stderr()) as status:
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(show(status))
            try:
                yield
            finally:
                showing.cancel()


async def _told(story: Story, stage: Stage) -> None:
    """Play the story; one that cannot go on is a check that does not hold."""
    try:
        await story.play(stage)
    except (Stalled, ExceptionGroup) as error:
        cause = sole(error)
        if not isinstance(cause, Stalled):
            raise
        stage.step(f"the story cannot go on: {cause}")
        stage.check(cause.what, float("inf"), "at most", cause.within, "s")
        try:
            await stage.check_every_job()
        except MmnError as silent:
            stage.step(f"the jobs cannot be counted: {silent}")


def _print(story: Story, stage: Stage, seed: int, span: float, *, keep: bool) -> None:
    marks, served = stage.timeline.marks, stage.timeline.served
    if render.json_wanted():
        render.dump(_as_json(story, stage, seed, span) | ({"folder": str(stage.network.wish.folder)} if keep else {}))
        return
    console = render.stdout()
    width = console.width if console.is_terminal else 120
    drawn = Text("\n".join([*chart.draw(marks, served, span=span, width=width), "", *chart.told(marks), ""]))
    for sign, colour in chart.COLOURS.items():
        drawn.highlight_words([sign], colour)
    console.print(drawn, soft_wrap=True)
    for side in stage.sides:
        console.print(side.table(), "")
    console.print(checks.table(stage.checks))
    colour = "green" if checks.holds(stage.checks) else "bold red"
    console.print(f"[{colour}]{escape(checks.verdict(story.name, stage.checks))}[/] (seed {seed})")


def _as_json(story: Story, stage: Stage, seed: int, span: float) -> dict[str, Any]:
    """What `-o json` prints. Times are seconds since the scenario's begin."""
    return {
        "name": story.name,
        "seed": seed,
        "ok": checks.holds(stage.checks),
        "span": round(span, 3),
        "tables": [msgspec.to_builtins(side) for side in stage.sides],
        "checks": [msgspec.to_builtins(check) for check in stage.checks],
        "timeline": [msgspec.to_builtins(mark) for mark in stage.timeline.marks],
        "served": {function: len(times) for function, times in stage.timeline.served.items()},
    }
