"""What becomes of one arrived mail before the book is asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from todoku.bus.streams import UNROUTED_PROJECT
from todoku.extraction.types import Outcome, Reading
from todoku.intake.extracting import ReadOutcome
from todoku.intake.types import MailState
from todoku.reservations.types import Notification
from todoku.sources.types import Arrival

# A Date later than the arrival by more than clocks differ would make every later mail about the booking stale.
CLOCK_SKEW: Final = timedelta(minutes=15)
EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
_SITE_OF_ADDRESS: Final = "site_of_address:"
_REPEATS: Final = UUID("5f0f3c52-9f0e-4b7e-9d0b-6f1f6a8f2c11")


@dataclass(frozen=True, slots=True)
class Received:
    """One message of the MAIL stream, read. project_id: by the subject, as the bus counts it."""

    sequence: int
    project_id: str
    arrival: Arrival
    outcome: ReadOutcome


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a mail ends as far as the mail itself decides. notification: present when the book has the last word."""

    state: MailState
    reason: str = ""
    notification: Notification | None = None


def decide(received: Received, *, project_known: bool, accepted_until_utc: datetime | None = None) -> Fate:
    """Return the state of the mail, or the notification that the book decides about (state PENDING).

    accepted_until_utc: of the address it came to, None when that has no end. What counts is when the mail arrived:
    a reader that was away for days takes what came in time.
    """
    if received.project_id == UNROUTED_PROJECT:
        return Fate(MailState.QUARANTINED, "unknown_address")
    if not project_known:
        return Fate(MailState.QUARANTINED, "unknown_project")
    if received.arrival.project_id != received.project_id:
        return Fate(MailState.QUARANTINED, "other_project")
    if accepted_until_utc is not None and received.arrival.received_at_utc >= accepted_until_utc:
        return Fate(MailState.QUARANTINED, f"address_retired:{accepted_until_utc.astimezone(UTC):%Y-%m-%d}")
    reading = received.outcome.reading
    if reading is None:
        return Fate(MailState.UNREADABLE, received.outcome.problem)
    if reading.outcome is Outcome.NOT_A_RESERVATION:
        return Fate(MailState.NOT_A_RESERVATION, reading.notice.value if reading.notice else "")
    if reading.outcome is Outcome.UNKNOWN_LAYOUT or reading.facts is None or reading.site is None:
        return Fate(MailState.UNKNOWN_LAYOUT, reading.problem or "no_facts")
    notification = Notification(
        arrival_id=received.arrival.arrival_id,
        site=reading.site,
        facts=reading.facts,
        issued_at_utc=issued_at(reading, received.arrival.received_at_utc),
        received_at_utc=received.arrival.received_at_utc,
        content_sha256=received.arrival.sha256,
        shop_code=received.arrival.shop_code,
    )
    return Fate(MailState.PENDING, _note(reading, received.arrival), notification)


def issued_at(reading: Reading, received_at_utc: datetime) -> datetime:
    """Return when the site issued the mail: its Date, or its arrival when the Date is missing or can't be."""
    stated = reading.issued_at
    if stated is None or not EARLIEST <= stated <= received_at_utc + CLOCK_SKEW:
        return received_at_utc
    return stated.astimezone(UTC)


def repeat_id(arrival_id: UUID, sequence: int) -> UUID:
    """Return the id of the row for a second message about one arrival.

    A publish is repeated when its answer is lost; after the bus has forgotten the first (120 s) there are two
    messages for one mail, and the bus counts both. Each gets its row, so that the balance closes.
    """
    return uuid5(_REPEATS, f"{arrival_id}/{sequence}")


def undecodable_id(subject: str, sequence: int) -> UUID:
    """Return the id of the row for a message that is no Arrival."""
    return uuid5(_REPEATS, f"{subject}/{sequence}")


def site_of_address(reason: str) -> str | None:
    """Return the site that the mail's address is of, when the reason of its row says that it is another's."""
    return reason.removeprefix(_SITE_OF_ADDRESS) if reason.startswith(_SITE_OF_ADDRESS) else None


def _note(reading: Reading, arrival: Arrival) -> str:
    if arrival.site is not None and arrival.site != reading.site:
        return f"{_SITE_OF_ADDRESS}{arrival.site}"
    return ""
