"""`mmn`: the command line's entry point. Every error ends here, as one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import structlog
import typer

from contracts.errors import MmnError
from gateway.cli import access, authors, exits, functions, jobs, keys, lifecycle, modules, nodes, render, users
from gateway.cli.audit import audit
from gateway.cli.demo import demo
from gateway.cli.deploy import deploy
from gateway.cli.exits import Exit, Stop
from gateway.cli.login import login, logout
from gateway.cli.logs import logs
from gateway.cli.new import new
from gateway.cli.provisioning import provision, streams
from gateway.cli.scenario import scenario
from gateway.cli.up import server_config, up
from gateway.cli.watch import watch

LOCAL = "On this machine"
ELSEWHERE = "In containers and on hosts"
AUTHORS = "Write and deploy functions"
MEASURE = "Measure and look"
PEOPLE = "People"

app = typer.Typer(
    name="mmn",
    help="Run measurements all over a network, and run such a network.",
    epilog=exits.HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"mmn {version('mmn')}")
        raise typer.Exit


@app.callback()
def root(
    asked: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run measurements all over a network, and run such a network."""


app.command(rich_help_panel=LOCAL)(up)
app.command(rich_help_panel=LOCAL)(demo)
app.command(rich_help_panel=LOCAL)(scenario)
app.command("server-config", rich_help_panel=LOCAL)(server_config)
app.command(rich_help_panel=ELSEWHERE)(provision)
app.command(rich_help_panel=ELSEWHERE)(streams)
app.command(rich_help_panel=AUTHORS)(new)
app.command(rich_help_panel=AUTHORS)(deploy)
app.add_typer(keys.app, name="key", rich_help_panel=AUTHORS)
app.add_typer(authors.app, name="authors", rich_help_panel=AUTHORS)
functions.app.command()(lifecycle.restart)
functions.app.command()(lifecycle.delete)
app.add_typer(functions.app, name="functions", rich_help_panel=AUTHORS)
app.command(rich_help_panel=MEASURE)(jobs.run)
app.add_typer(jobs.app, name="jobs", rich_help_panel=MEASURE)
app.command(rich_help_panel=MEASURE)(watch)
app.command(rich_help_panel=MEASURE)(logs)
app.add_typer(modules.app, name="modules", rich_help_panel=MEASURE)
app.add_typer(nodes.app, name="nodes", rich_help_panel=MEASURE)
# One is invited at a time, and the singular is what hands type then.
app.add_typer(nodes.app, name="node", hidden=True)
app.add_typer(modules.app, name="module", hidden=True)
app.command(rich_help_panel=PEOPLE)(login)
app.command(rich_help_panel=PEOPLE)(logout)
app.add_typer(users.app, name="users", rich_help_panel=PEOPLE)
app.add_typer(access.app, name="access", rich_help_panel=PEOPLE)
app.command(rich_help_panel=PEOPLE)(audit)


def _lay_out(typer_app: typer.Typer) -> None:
    """Keep the lines of the examples in docstrings as they are written."""
    for command in typer_app.registered_commands:
        command.help = render.manual(command.callback)
    for group in typer_app.registered_groups:
        if group.typer_instance is not None:
            _lay_out(group.typer_instance)
            if group.typer_instance.registered_callback is not None:
                group.help = render.manual(group.typer_instance.registered_callback.callback)


_lay_out(app)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    # Each command line starts anew, also where several run in one process.
    render.format_in_use.set(render.Format.TABLE)
    try:
        app(list(arguments), prog_name="mmn")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK
    except Stop as stop:
        render.failure(stop)
        return stop.code
    except MmnError as error:
        render.failure(Stop(Exit.BAD_INPUT, str(error)))
        return Exit.BAD_INPUT
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return Exit.OK
    return Exit.OK


def main() -> None:
    """The script `mmn`."""
    # What the connection to NATS logs is meant for services; here errors are raised and told.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    # asyncio warns whenever a connection by TLS ends, and means its own streams.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
