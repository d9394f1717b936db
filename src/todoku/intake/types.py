"""The words of intake: an arrival, and the one state in which each mail ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class MailState(StrEnum):
    """Where one arrived mail ended. PENDING is not a state of the books: arrived, not yet read."""

    PENDING = "pending"
    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    HELD = "held"
    NOT_A_RESERVATION = "not_a_reservation"
    UNKNOWN_LAYOUT = "unknown_layout"
    QUARANTINED = "quarantined"
    UNREADABLE = "unreadable"


END_STATES = tuple(state for state in MailState if state is not MailState.PENDING)
GIVEN_BY_READING = (MailState.UNKNOWN_LAYOUT, MailState.UNREADABLE, MailState.NOT_A_RESERVATION)
GIVEN_BY_THE_BOOK = (MailState.APPLIED, MailState.STALE, MailState.HELD, MailState.DUPLICATE)


class ReplayState(StrEnum):
    """Where an asked-for replay stands; the last three are its end."""

    ASKED = "asked"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class OnTheBus:
    """The other side of the balance. mails: of one project that MAIL still holds.

    first_sequence: where MAIL begins; mails older than that have left it (after 90 days) and only the book knows them.
    """

    mails: int
    first_sequence: int


@dataclass(frozen=True, slots=True)
class IntakeBalance:
    """arrived = sum of the states + pending. arrived is counted by the bus, the states by the book: two sides."""

    arrived: int
    states: dict[MailState, int]

    @property
    def pending(self) -> int:
        """Return arrivals that have no state yet."""
        return self.arrived - sum(self.states.values())

    @property
    def closed(self) -> bool:
        """Tell whether every arrival has its state and none has two."""
        return self.pending == 0


@dataclass(frozen=True, slots=True)
class MailRow:
    """One arrived mail as a list shows it."""

    arrival_id: UUID
    source: str
    site: str | None
    shop_name: str | None
    subject: str
    sender: str
    state: MailState
    reason: str
    arrived_at_utc: datetime
    reservation_id: UUID | None


@dataclass(frozen=True, slots=True)
class MailDetail:
    """One arrived mail with what is needed to show it: the raw bytes are in the vault under vault_key."""

    row: MailRow
    vault_key: str
    size_bytes: int
    rcpt_to: str
    issued_at_utc: datetime | None
    lossy_characters: int
    rules: str
