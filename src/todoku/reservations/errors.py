"""Errors of the reservations room.

ReservationsError
  ├─ ReservationMissing  permanent: no such reservation in this project
  └─ ImpossibleFacts     permanent: a value that no reservation can have; the mail itself stays in the vault
"""

from __future__ import annotations

from uuid import UUID

from todoku.kernel.errors import TodokuError


class ReservationsError(TodokuError):
    """Root of this room's errors."""


class ReservationMissing(ReservationsError):
    """There is no such reservation in this project; one of another project is not told apart."""


class ImpossibleFacts(ReservationsError):
    """A notification states something that the book can't hold. field: which attribute of Facts."""

    def __init__(self, arrival_id: UUID, field: str, detail: str) -> None:
        super().__init__(
            f"the mail {arrival_id} states an impossible {field}: {detail}",
            kept="the raw mail is in the vault",
            todo="look at the mail; if its value is right, the reading of its site is wrong",
        )
        self.arrival_id = arrival_id
        self.field = field
