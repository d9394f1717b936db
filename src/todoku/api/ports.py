"""What the api needs from outside; config connects it once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Ports:
    """notify: tell open pages that something of a kind moved in a project, with a small payload; best effort."""

    clock: Clock
    notify: Callable[[str, str, dict[str, str]], None]


_connected: list[Ports] = []


def connect(ports: Ports) -> None:
    """Set what this process's api uses; the last call counts."""
    _connected[:] = [ports]


def ports() -> Ports:
    """Return what config connected; raises ConfigurationError when nothing was."""
    if not _connected:
        raise ConfigurationError("api.ports.connect was not called")
    return _connected[0]
