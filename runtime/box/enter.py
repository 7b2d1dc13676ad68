"""The steps into the box, in their order."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import threading
from collections.abc import Sequence

from runtime.box import kernel, landlock, seccomp, user
from runtime.box.spec import Spec

_MIB = 1024 * 1024
_THREAD_STACK = 512 * 1024
_FIRST_KEPT = 3


def enter(spec: Spec, *, parent: int, output: int, keep: Sequence[int], readable: Sequence[str]) -> list[int]:
    """Confine this process, a fresh child of `parent` with one thread. Returns the kept descriptors' new numbers.

    Whatever is not in `keep` is closed; `output` becomes standard output and error. Raises OSError if a
    measure of the spec does not hold: then nothing else may run in this process.
    """
    os.setsid()
    kernel.die_with_parent(parent)
    os.umask(0o077)
    kept = _descriptors(output, keep)
    os.environ.clear()  # noqa: TID251  # not read but forgotten
    os.chdir(spec.scratch)
    tempfile.tempdir = spec.scratch
    threading.stack_size(_THREAD_STACK)
    _limits(spec)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    kernel.name_process(spec.name)
    confine(spec, parent=parent, readable=readable)
    return kept


def confine(spec: Spec, *, parent: int, readable: Sequence[str]) -> None:
    """Put this process under the measures of the spec. Each step takes away what the ones before it need."""
    user.become(spec.user, parent)
    kernel.no_new_privileges()
    fenced = "landlock" in spec.measures
    if fenced:
        landlock.restrict(spec.rules(readable))
    # Landlock keeps siblings out of each other, and leaves the runtime its sight of what they hold open.
    kernel.open_to_own_user(yes=fenced and spec.user is None)
    if "seccomp" in spec.measures:
        seccomp.install(spec.calls)


def _descriptors(output: int, keep: Sequence[int]) -> list[int]:
    # First out of the way of the numbers they will get, or one would overwrite another.
    moved = [os.dup(descriptor) for descriptor in keep]
    base = max([output, *moved, _FIRST_KEPT + len(moved)]) + 1
    high = [_duplicate_at(base + index, descriptor) for index, descriptor in enumerate(moved)]
    os.dup2(output, 2)
    os.dup2(output, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    kept = [_duplicate_at(_FIRST_KEPT + index, descriptor) for index, descriptor in enumerate(high)]
    os.closerange(_FIRST_KEPT + len(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return kept


def _duplicate_at(number: int, descriptor: int) -> int:
    return os.dup2(descriptor, number, inheritable=False)


def _limits(spec: Spec) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, spec.open_files)
    _limit(resource.RLIMIT_FSIZE, spec.file_mb * _MIB)
    _limit(resource.RLIMIT_AS, spec.address_space_mb * _MIB)
    if spec.user is not None:
        # It counts all processes and threads of a user, and for root none.
        _limit(resource.RLIMIT_NPROC, spec.processes)


def _limit(kind: int, value: int) -> None:
    """Set soft and hard limit; never above the hard limit there is, which only root may raise."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
