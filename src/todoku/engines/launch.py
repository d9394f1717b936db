"""Start a program so that it dies with its parent; run as a script, imports only the standard library.

Usage: python -I -S launch.py PARENT_PID SIGNAL UID GID GROUPS PROGRAM ARGUMENTS...
UID, GID and GROUPS are "-" to stay who we are. The order matters: changing the user clears the parent-death signal,
so it is set last; and the parent may have died before it was set, so that is looked at after.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program; never returns."""
    parent, signal_number, uid, gid, groups, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != "-":
        os.setgroups([int(group) for group in groups.split(",") if group])
        os.setgid(int(gid))
        os.setuid(int(uid))
        os.umask(0o077)
        os.chdir("/")
    if libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        sys.exit(0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the program would inherit that
    os.execv(command[0], command)  # noqa: S606  # the caller names a program, not a shell line


if __name__ == "__main__":
    main(sys.argv[1:])
