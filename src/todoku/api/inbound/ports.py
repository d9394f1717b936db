"""What the inbound door needs from outside; config connects it once per process."""

from __future__ import annotations

from todoku.kernel.errors import ConfigurationError
from todoku.sources.webhook.reception import Reception

_connected: list[Reception] = []


def connect(reception: Reception | None) -> None:
    """Set who takes this process's calls; the last call counts, None ends it."""
    _connected[:] = [reception] if reception is not None else []


def reception() -> Reception:
    """Return what config connected; raises ConfigurationError when nothing was."""
    if not _connected:
        raise ConfigurationError("api.inbound.ports.connect was not called")
    return _connected[0]
