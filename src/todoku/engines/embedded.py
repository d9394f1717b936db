"""What the embedded engines have in common: one child process, one lock for the home, an end that waits."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from todoku.engines import binaries, process
from todoku.engines.errors import EngineFailed
from todoku.engines.lock import HomeLock
from todoku.kernel.clock import Clock, SystemClock


class EmbeddedEngine(ABC):
    """One engine of one home. A subclass says how it starts; ending, restarting and looking after it are here.

    home: folder of all data, made when missing. setting: which program to start, see `binaries.find`.
    """

    name: str
    title: str
    program_name: str
    stop_steps: Sequence[tuple[signal.Signals, float]]

    def __init__(self, home: Path, *, setting: str | None = None, clock: Clock | None = None) -> None:
        self.home = home.absolute()
        self._setting = setting if setting is not None else os.environ.get(binaries.SETTING_NAMES[self.program_name])
        self._clock = clock or SystemClock()
        self._lock = HomeLock(self.home, self.name)
        self._child: subprocess.Popen[bytes] | None = None
        self._run = self.home / "run"
        self._log = self.home / "logs" / f"{self.name}.log"

    @abstractmethod
    def start(self) -> str:
        """Start and wait until it answers; return its URL."""

    def stop(self) -> None:
        """Stop it and wait until it has ended; what was not committed is lost, what was stays. Idempotent."""
        self._end()
        self._lock.release()

    def poll(self) -> int | None:
        """Return the exit code when it died, None while it runs. Raises EngineFailed when it was not started."""
        if self._child is None:
            raise EngineFailed(f"{self.title} was not started")
        return self._child.poll()

    def restart(self) -> str:
        """Stop what is left of it and start again, keeping the home's lock; return the URL."""
        self._end()
        return self.start()

    @property
    def pid(self) -> int | None:
        """Return the process id, None when it was not started."""
        return self._child.pid if self._child is not None else None

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            process.end(child, self.stop_steps)
