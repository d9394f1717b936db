"""What a notification mail says: the contract of reading.

What every mail makes is a msgspec.Struct: building a frozen dataclass takes six times as long. To change one, use
`msgspec.structs.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """What reading one mail came to."""

    RESERVATION = "reservation"
    NOT_A_RESERVATION = "not_a_reservation"
    UNKNOWN_LAYOUT = "unknown_layout"


class Event(StrEnum):
    """What happened to the reservation, in the site's own words translated once."""

    BOOKED = "booked"
    REQUESTED = "requested"
    TENTATIVE = "tentative"
    CHANGED = "changed"
    CHANGE_REQUESTED = "change_requested"
    CANCELLED = "cancelled"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """One booking site that can be read: its id, and its name in both languages."""

    id: str
    name_ja: str
    name_en: str


class NoticeKind(StrEnum):
    """Which mail it is when it is not a reservation."""

    DIGEST = "digest"
    POINT_DIGEST = "point_digest"
    REMINDER = "reminder"
    REVIEW = "review"
    PROMOTION = "promotion"
    GUEST_MESSAGE = "guest_message"
    VERIFICATION = "verification"
    FORWARDING_CONFIRMATION = "forwarding_confirmation"
    OTHER = "other"


class GuestFacts(msgspec.Struct, frozen=True):
    """The person who comes. name: without honorific, characters as sent. phone: E.164. Missing is None, never ""."""

    name: str | None = None
    kana: str | None = None
    phone: str | None = None
    email: str | None = None


class Amount(msgspec.Struct, frozen=True):
    """Money in minor units of an ISO 4217 currency (JPY has none, so minor = yen)."""

    minor: int
    currency: str


class Previous(msgspec.Struct, frozen=True):
    """The old values that a change mail states beside the new ones."""

    start: datetime | None = None
    party_size: int | None = None


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """Where one value came from: `source` is "text", "subject" or "html"; offsets are into that text.

    field: name of the attribute of Facts ("guest.name" for nested ones).
    """

    field: str
    source: str
    start: int
    end: int


class Facts(msgspec.Struct, frozen=True):
    """What one notification states about one reservation; what it does not state is None."""

    event: Event
    reference: str
    shop: str | None = None
    shop_code: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    party_size: int | None = None
    guest: GuestFacts = GuestFacts()
    course: str | None = None
    seat: str | None = None
    requests: str | None = None
    amount: Amount | None = None
    cancel_reason: str | None = None
    link: str | None = None
    previous: Previous | None = None


class Reading(msgspec.Struct, frozen=True):
    """The result of reading one mail.

    facts: present exactly when outcome is RESERVATION. notice: present exactly when NOT_A_RESERVATION.
    problem: for UNKNOWN_LAYOUT, a stable word and the field: "missing:reference", "missing:start", "date_mismatch",
    "unknown_kind", "unreadable:start", "ambiguous:reference", "broken_markup".
    issued_at: the mail's own Date (aware), the order in which the site spoke, of the forwarded mail where one was
    forwarded; None when the mail has none. text: the decoded body into which Evidence points.
    """

    outcome: Outcome
    site: str | None
    facts: Facts | None = None
    notice: NoticeKind | None = None
    problem: str | None = None
    issued_at: datetime | None = None
    message_id: str = ""
    sender: str = ""
    subject: str = ""
    text: str = ""
    lossy_characters: int = 0
    evidence: tuple[Evidence, ...] = ()
