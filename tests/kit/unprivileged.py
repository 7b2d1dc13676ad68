"""`python -m tests.kit.unprivileged USER COMMAND...`: run a command as an ordinary user without any right.

An interpreter below a closed folder, such as root's home, is made reachable in a mount namespace of the command's own.
"""

import os
import sys

from runtime.box import kernel, paths
from runtime.box.user import become
from runtime.box.view import View


def main(user: int, command: list[str], reach: list[str]) -> None:
    """Does not return."""
    view = View()
    view.enter([*paths.program(), os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix), *reach])
    become(user, os.getppid())
    kernel.no_new_privileges()
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(int(sys.argv[1]), sys.argv[split + 1 :], sys.argv[2:split])
