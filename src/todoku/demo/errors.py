"""Errors of the demo.

DemoError
  └─ SinkInUse    permanent: another process writes to this sink's folder
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class DemoError(TodokuError):
    """Root of this room's errors."""


class SinkInUse(DemoError):
    """Another process writes to this sink's folder; two writers would count one another's messages."""
