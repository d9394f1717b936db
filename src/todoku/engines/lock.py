"""One home, one owner: a lock that the kernel drops when its last holder is gone."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from todoku.engines.errors import HomeBusy

_RETRY_SECONDS = 0.05


class HomeLock:
    """A lock file `<home>/run/<name>.lock` under flock(2); the number of its owner is written inside.

    Children that inherit `descriptor` hold it too. So after a kill -9 of the owner it stays taken until the last
    child has ended, and a successor can't open the same data while a dying engine still writes to it.
    """

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        self._path = home / "run" / f"{name}.lock"
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """Return the open file that holds the lock."""
        return self._descriptor

    def acquire(self, wait_seconds: float = 10.0) -> None:
        """Take the lock. When its owner lives, refuse at once; when only its children are still ending, wait.

        Raises HomeBusy with the owner's process id.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        pause = threading.Event()
        waited_seconds = 0.0
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = _read_owner(descriptor)
                if _lives(owner) or waited_seconds >= wait_seconds:
                    os.close(descriptor)
                    raise self._busy(owner) from None
            pause.wait(_RETRY_SECONDS)
            waited_seconds += _RETRY_SECONDS
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.ftruncate(descriptor, 0)  # what our children still hold is nobody's, and ends soon
            os.close(descriptor)

    def _busy(self, owner: int) -> HomeBusy:
        who = f"process {owner}" if _lives(owner) else "engines that a killed process left and that are still ending"
        return HomeBusy(
            f"{self._home} is in use by {who}",
            kept="everything; nothing was started",
            todo="stop that one, or choose another folder with TODOKU_HOME",
        )


def _read_owner(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _lives(process_id: int) -> bool:
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
