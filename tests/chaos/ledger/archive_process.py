"""An archiver that kills itself: archive_process.py STEP OCCURRENCE; "" as the step lets it live."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime

import django

django.setup()

from todoku.delivery.ledger import services  # noqa: E402 - Django has to be awake
from todoku.kernel.clock import VirtualClock  # noqa: E402


def main(step: str, occurrence: int) -> None:
    seen = 0

    def die(name: str) -> None:
        nonlocal seen
        seen += name == step
        if step and seen == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    services.archive(3, clock=VirtualClock(datetime(2026, 11, 21, 3, tzinfo=UTC)), on_step=die)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
