"""The words of the book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from todoku.extraction.types import Event, Facts


class ReservationState(StrEnum):
    """How a reservation stands after all its facts are folded."""

    BOOKED = "booked"
    REQUESTED = "requested"
    TENTATIVE = "tentative"
    CANCELLED = "cancelled"
    DECLINED = "declined"


class Effect(StrEnum):
    """What one notification did to the book."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Notification:
    """Facts with their identity: which arrival brought them, and when the site issued them.

    shop_code: from the intake address, when it says one; else the shop is found by Facts.shop / shop_code.
    """

    arrival_id: UUID
    site: str
    facts: Facts
    issued_at_utc: datetime
    received_at_utc: datetime
    content_sha256: str
    shop_code: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one Notification. reservation_id is None while it is HELD.

    released: arrivals that had been held for this reservation and are applied now.
    """

    arrival_id: UUID
    effect: Effect
    reservation_id: UUID | None
    released: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """Where one arrival stands after a correction. reservation_id is None while its reservation is not shown."""

    effect: Effect
    reservation_id: UUID | None


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction did. settled: every arrival of the reservations that it touched, as each of them stands now.

    shown, hidden: those reservations, by whether anything opens them still.
    """

    settled: dict[UUID, Settled]
    shown: tuple[UUID, ...]
    hidden: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """One reservation as lists and Online show it. changed: names of the fields that the last change altered."""

    id: UUID
    project_id: str
    site: str
    reference: str
    shop_code: str | None
    shop_name: str | None
    state: ReservationState
    last_event: Event
    start: datetime | None
    end: datetime | None
    party_size: int | None
    guest_name: str | None
    guest_kana: str | None
    guest_phone: str | None
    guest_email: str | None
    course: str | None
    seat: str | None
    requests: str | None
    amount_minor: int | None
    currency: str | None
    cancel_reason: str | None
    link: str | None
    changed: tuple[str, ...]
    previous_start: datetime | None
    previous_party_size: int | None
    handled_at_utc: datetime | None
    handled_by: str
    last_arrival_id: UUID
    last_arrived_at_utc: datetime
    version: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a reservation's history: what the site said, when, and what it did."""

    arrival_id: UUID
    event: Event
    effect: Effect
    issued_at_utc: datetime
    received_at_utc: datetime
    facts: Facts


@dataclass(frozen=True, slots=True)
class ReservationDetail:
    """One reservation with all that was ever said about it, in the order in which the site said it."""

    row: ReservationRow
    history: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True)
class BookedVisit:
    """What a reservation says about its guest; the same fields as guests.types.VisitFact, which this room can't see."""

    reservation_id: UUID
    site: str
    reference: str
    shop_code: str | None
    start: datetime | None
    party_size: int | None
    counts_as_visit: bool
    name: str | None
    kana: str | None
    phone: str | None
    email: str | None
