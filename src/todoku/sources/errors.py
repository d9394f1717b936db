"""Errors of the sources.

SourceError
  └─ NotKept    transient: vault or bus could not take the mail; the other side must keep it and hand it over again
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class SourceError(TodokuError):
    """Root of this room's errors."""


class NotKept(SourceError):
    """The mail is not safely kept here: do not acknowledge it. A later try makes no second reservation."""

    transient = True
