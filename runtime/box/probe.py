"""What this node's box can be: every measure is tried in a child, and all of them together, before a worker relies on them."""

from __future__ import annotations

import importlib
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from contracts.functions import Manifest
from runtime.box import kernel, landlock, seccomp, user
from runtime.box.enter import confine
from runtime.box.levels import MEASURES, Found, Measure
from runtime.box.spec import Spec
from runtime.box.view import View

_PATIENCE_S = 5.0
_LONGEST_REASON = 300
_NOT_LOADED_YET = "colorsys"
_TRIAL = ".trial"
_SWITCHED_OFF = "switched off by a setting"


class Plan(Struct, frozen=True, kw_only=True):
    """What a zygote is to try, and where: folders that a worker with a user of its own has to reach."""

    user: int
    bundles: str
    scratch: str
    without: list[Measure]


class CannotHold(Exception):
    """A measure does not do what it should. The message says what."""


def look(plan: Plan, readable: Sequence[str]) -> Found:
    """Find what holds here. Afterwards this process, which has one thread, has the view that its workers need."""
    missing: dict[Measure, str] = dict.fromkeys(plan.without, _SWITCHED_OFF)
    view = View()
    if "user" not in missing:
        reason = _open_the_way(view, plan, readable) or _tried(lambda: _as_user(plan, readable))
        if reason:
            missing["user"] = reason
            view.leave()
    if "landlock" not in missing and (reason := _tried(lambda: _landlock(readable))):
        missing["landlock"] = reason
    if "seccomp" not in missing and (reason := _tried(_seccomp)):
        missing["seccomp"] = reason
    found = Found(abi=kernel.landlock_abi(), missing=missing)
    trial = Path(plan.scratch) / _TRIAL
    trial.mkdir(mode=0o700)
    reason = _tried(lambda: _together(plan, found, readable))
    shutil.rmtree(trial, ignore_errors=True)
    if reason:
        # One by one they hold, but nothing runs under all of them: then none can be promised.
        view.leave()
        found = Found(abi=found.abi, missing=dict.fromkeys(MEASURES, reason) | missing)
    view.keep()
    return found


def _open_the_way(view: View, plan: Plan, readable: Sequence[str]) -> str:
    held = user.capabilities()
    if lacking := user.lacking(held):
        return f"the runtime lacks {', '.join(lacking)}"
    if held >> user.MOUNT & 1:
        try:
            view.enter([*readable, plan.bundles, plan.scratch])
        except OSError as error:
            return f"no mount namespace: {error.strerror}"
    return ""


def _tried(attempt: Callable[[], None]) -> str:
    """Try something in a child. Returns why it failed, or nothing."""
    sys.stdout.flush()
    sys.stderr.flush()
    answer, reply = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "it ended early"
        try:
            attempt()
            text = ""
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is the answer
            text = str(error) or type(error).__name__
        finally:
            os.write(reply, text.encode(errors="replace")[:_LONGEST_REASON] or b"\0")
            os._exit(0)
    os.close(reply)
    ready, _, _ = select.select([answer], [], [], _PATIENCE_S)
    said = os.read(answer, _LONGEST_REASON) if ready else b"no answer"
    os.close(answer)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "" if said == b"\0" else said.decode(errors="replace") or "killed"


def _as_user(plan: Plan, readable: Sequence[str]) -> None:
    user.become(plan.user, os.getppid())
    for path in (plan.bundles, *(path for path in readable if Path(path).is_dir())):
        if not os.access(path, os.R_OK | os.X_OK):
            raise CannotHold(f"{path} is closed to other users")
    if not os.access(plan.scratch, os.X_OK):
        raise CannotHold(f"{plan.scratch} is closed to other users")


def _landlock(readable: Sequence[str]) -> None:
    spec = Spec.of(
        Manifest(summary="probe"),
        name="",
        scratch="/proc/self",
        code="/proc/self",
        measures=(),
        user=None,
        bus_ports=(),
        bus_by_name=False,
    )
    kernel.no_new_privileges()
    landlock.restrict(spec.rules(readable))
    try:
        list(Path("/").iterdir())
    except PermissionError:
        return
    raise CannotHold("Landlock has no effect")


def _seccomp() -> None:
    kernel.no_new_privileges()
    seccomp.install(seccomp.Calls())
    try:
        if os.fork() == 0:
            os._exit(0)
    except PermissionError:
        return
    raise CannotHold("the filter has no effect")


def _together(plan: Plan, found: Found, readable: Sequence[str]) -> None:
    """Work as a worker would: load code that nobody has loaded, write to the scratch folder, run a thread."""
    own = plan.user if "user" in found.holds else None
    scratch = Path(plan.scratch) / _TRIAL
    if own is not None:
        os.chown(scratch, own, own)
    spec = Spec.of(
        Manifest(summary="probe"),
        name="",
        scratch=str(scratch),
        code=plan.bundles,
        measures=found.holds,
        user=own,
        bus_ports=(),
        bus_by_name=False,
    )
    confine(spec, parent=os.getppid(), readable=readable)
    sys.modules.pop(_NOT_LOADED_YET, None)
    importlib.import_module(_NOT_LOADED_YET)
    (scratch / "written").write_text("by a worker")
    (scratch / "written").unlink()
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()
