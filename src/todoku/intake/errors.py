"""Errors of the intake room.

IntakeError
  ├─ MailMissing      permanent: no such arrival in this project
  ├─ ReplayMissing    permanent: no such replay in this project
  ├─ ReplayUnderWay   permanent: a project has one replay at a time
  └─ BookUnavailable  transient: the database is away; nothing was acknowledged, so nothing is lost
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class IntakeError(TodokuError):
    """Root of this room's errors."""


class MailMissing(IntakeError):
    """There is no such arrival in this project; one of another project is not told apart."""


class ReplayMissing(IntakeError):
    """There is no such replay in this project; one of another project is not told apart."""


class ReplayUnderWay(IntakeError):
    """A replay of this project has not ended yet."""


class BookUnavailable(IntakeError):
    """The database is away."""

    transient = True
