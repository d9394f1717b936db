"""A program that supervises both engines and one role with a child of its own, to be killed by a test.

Usage: parent.py HOME. Prints "ready" when all runs.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from todoku.engines.nats import EmbeddedNats
from todoku.engines.postgres import EmbeddedPostgres
from todoku.engines.supervisor import Supervisor

# A role that ignores SIGTERM's politeness and has a child in its process group, as web servers have.
ROLE = """
import subprocess, sys, threading
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import threading; threading.Event().wait()"])
threading.Event().wait()
"""


def main() -> None:
    home = Path(sys.argv[1])
    supervisor = Supervisor(home)
    supervisor.add_engine(EmbeddedNats(home))
    supervisor.add_engine(EmbeddedPostgres(home))
    supervisor.add_role("role", (sys.executable, "-I", "-S", "-c", ROLE))

    def tell_when_ready() -> None:
        pause = threading.Event()
        while sum(child.pid is not None for child in supervisor.status()) < 3:
            pause.wait(0.05)
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    threading.Thread(target=tell_when_ready, daemon=True).start()
    supervisor.run()


if __name__ == "__main__":
    main()
