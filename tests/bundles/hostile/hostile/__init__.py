"""Tries what a hostile author would try. Each attempt says what came of it, and harms nothing when it succeeds."""

import os

from runtime.sdk import Context, Params, Report

from .attempts import attempts
from .bombs import BOMBS
from .connection import over_the_bus
from .reach import reach


class HostileParams(Params, frozen=True):
    """What to attack: ids of processes and paths that the test has prepared. `bomb`: one of these, instead of attempts.

    `reach`: send to this port of the host, and to `elsewhere`, instead; with `near` to what is around the host too.
    """

    secret: str = "/etc/shadow"
    runtime: int = 1
    sibling: int = 1
    others_scratch: str = "/nowhere"
    outside: str = "/tmp"
    open_port: int = 9
    abstract: str = ""
    node: str = "n1"
    sibling_instance: str = "n1_0"
    datagrams: str = "/dev/log"
    bomb: str = ""
    reach: int = 0
    elsewhere: str = "127.0.0.1"
    near: bool = False


class HostileReport(Report, frozen=True):
    """By attempt: `open` and what was got, or the name of the error that stopped it."""

    outcomes: dict[str, str]
    user: int


async def measure(params: HostileParams, ctx: Context) -> HostileReport:
    """Attack."""
    if params.bomb:
        ctx.log.info("bomb", kind=params.bomb)
        return HostileReport(outcomes={params.bomb: await BOMBS[params.bomb]()}, user=0)
    if params.reach:
        return HostileReport(outcomes=reach(params.reach, params.elsewhere, near=params.near), user=os.getuid())
    outcomes = await attempts(params) | await over_the_bus(params.node, params.sibling_instance)
    return HostileReport(outcomes=outcomes, user=os.getuid())
