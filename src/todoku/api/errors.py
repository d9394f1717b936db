"""Errors of the api room.

ApiError
  ├─ KeyMissing         permanent: no such key in this project
  ├─ KeyInvalid         permanent: the token opens nothing (unknown, revoked, wrong secret: not told apart)
  ├─ ScopeMissing       permanent: the key may look but not act
  ├─ CallReused         permanent: this Idempotency-Key was used for another call
  └─ RequestInvalid     permanent: the body says something impossible; names the field
"""

from __future__ import annotations

from todoku.kernel.errors import TodokuError


class ApiError(TodokuError):
    """Root of this room's errors."""


class KeyMissing(ApiError):
    """There is no such key in this project."""


class KeyInvalid(ApiError):
    """The token opens nothing."""


class ScopeMissing(ApiError):
    """The key's scopes do not allow this call."""


class CallReused(ApiError):
    """An Idempotency-Key may be used again for the same call only."""


class RequestInvalid(ApiError):
    """A field of the body can't be what it says. field: its name in the body."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what, todo=f"correct {field}")
        self.field = field
