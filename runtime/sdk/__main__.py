"""Run a bundle folder on this machine alone: `python -m runtime.sdk run FOLDER '{"target": "127.0.0.1"}'`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from contracts.clock import clock_quality, monotonic_ns, utc_now
from contracts.errors import CannotMeasure, InvalidField
from contracts.results import Result
from runtime.sdk.folder import BundleFolder
from runtime.sdk.function import Function, InvalidFunction
from runtime.sdk.testing import Bench

MEASURED, NOT_RUN, BAD_INPUT = 0, 1, 2

_EXIT_CODES = """\
exit codes: 0 measured, also when the target did not answer; 1 could not run here; 2 wrong input.
Progress events go to standard error as they happen, the result to standard output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        folder = BundleFolder.read(options.folder)
        function = folder.load()
        if options.command == "schema":
            _print({"params": function.params_schema, "result": function.result_schema})
            return MEASURED
        params = function.decode(_decode_params(options.params))
        deadline = folder.manifest.limits.timeout if options.deadline is None else options.deadline
        _print(asyncio.run(_run(folder, function, params, deadline)))
    except (InvalidField, InvalidFunction) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except CannotMeasure as error:
        print(f"cannot measure ({error.code}): {error}", file=sys.stderr)
        return NOT_RUN
    except TimeoutError:
        print("cannot measure: the function ran past its deadline", file=sys.stderr)
        return NOT_RUN
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return MEASURED


async def _run(folder: BundleFolder, function: Function, params: msgspec.Struct, deadline: float) -> Result:
    started, begun = utc_now(), monotonic_ns()
    with Bench(deadline=deadline, on_progress=_print_event) as bench:
        measured = await bench.run(function, params)
    for level, event, fields in bench.logs:
        print(f"{level}: {event} {_json(fields)}", file=sys.stderr)
    return Result(
        job=str(uuid.uuid4()),
        function=folder.name,
        version=folder.version,
        by="local",
        started=started,
        duration_ns=monotonic_ns() - begun,
        params=function.encode(params),
        target=measured.target,
        address=measured.address,
        clock=clock_quality(),
        stamps=measured.stamps,
        quality=measured.quality,
        failure=measured.failure,
        data=None if measured.data is None else msgspec.to_builtins(measured.data),
        metrics=measured.metrics,
    )


def _decode_params(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidField("params", f"must be a JSON object: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime.sdk",
        description="Run a measurement function from its bundle folder, without a network of nodes.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure once and print the result", epilog=_EXIT_CODES)
    run.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that holds pyproject.toml")
    run.add_argument("params", nargs="?", default="{}", metavar="PARAMS", help="parameters as a JSON object")
    run.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="default: the timeout in function.toml")
    schema = commands.add_parser("schema", help="print the JSON Schemas of parameters and result")
    schema.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that holds pyproject.toml")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 600 seconds")
    return seconds


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _print(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _print_event(event: dict[str, Any]) -> None:
    print(_json(event), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
