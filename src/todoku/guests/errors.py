"""Errors of the guests room.

GuestsError
  ├─ GuestMissing  permanent: no such guest in this project
  └─ NotAnAddress  permanent: the text is not one deliverable mail address
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class GuestsError(TodokuError):
    """Root of this room's errors."""


class GuestMissing(GuestsError):
    """There is no such guest in this project; one of another project is not told apart."""


class NotAnAddress(GuestsError):
    """The text is not one mail address, `local@domain`."""
