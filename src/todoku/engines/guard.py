"""Kill process groups when the supervisor has gone; run as a script, imports only the standard library.

Usage: python -I -S guard.py, with lines "+GROUP" and "-GROUP" on standard input.
A role may have children of its own (web workers, reading processes) that the role's parent-death signal does not
reach. The end of the input means that the supervisor is gone, in whatever way; then every group still named is killed.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Keep the list, and act when the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C of the terminal is the supervisor's business
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    main()
