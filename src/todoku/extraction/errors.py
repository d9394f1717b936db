"""What can go wrong in this room.

TodokuError
  └─ ExtractionError
       └─ DefinitionError   a site's definition can't be used: which file, which key, why

A mail that can't be read is no error of this room: it is a Reading with its outcome, or mail.errors.Unreadable.
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class ExtractionError(TodokuError):
    """Reading could not be set up."""


class DefinitionError(ExtractionError):
    """A site definition is wrong. file: the definition; key: the place in it, such as `field[3].labels`."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key}: {problem}", todo="mend that key; docs/sites.md lists what it may hold")
        self.file = file
        self.key = key
        self.problem = problem
