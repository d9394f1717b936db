"""People who come, what they agreed to, and who must not be mailed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID


class SuppressionReason(StrEnum):
    """Why an address must not be mailed."""

    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class VisitFact:
    """What a reservation says about its guest; the book hands these over after each change (idempotent).

    reservation_id is the key: handing over again replaces.
    """

    reservation_id: UUID
    site: str
    reference: str
    shop_code: str | None
    start: datetime | None
    party_size: int | None
    counts_as_visit: bool  # False for cancelled and declined ones
    name: str | None
    kana: str | None
    phone: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class GuestRow:
    """One person as a list shows it."""

    id: UUID
    name: str
    kana: str
    phones: tuple[str, ...]
    emails: tuple[str, ...]
    visits: int
    upcoming: int
    last_visit_at: datetime | None
    sites: tuple[str, ...]
    shop_codes: tuple[str, ...]
    may_be_mailed: bool
    why_not: str


@dataclass(frozen=True, slots=True)
class GuestVisit:
    """One reservation on a guest's page."""

    reservation_id: UUID
    site: str
    shop_code: str | None
    start: datetime | None
    party_size: int | None
    counts_as_visit: bool


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """Proof of a consent: when, from where, with which words."""

    address: str
    given_at_utc: datetime
    source: str
    wording: str
    withdrawn_at_utc: datetime | None


@dataclass(frozen=True, slots=True)
class GuestDetail:
    """One person with visits, consents and suppressions."""

    row: GuestRow
    visits: tuple[GuestVisit, ...]
    consents: tuple[ConsentRecord, ...]


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a campaign goes to; every given criterion must hold. Only people with an address are considered.

    Consent is not a criterion: who has none, or is suppressed, is planned and ends as `suppressed` with the reason.
    """

    min_visits: int | None = None
    max_visits: int | None = None
    last_visit_on_or_after: date | None = None
    last_visit_before: date | None = None
    sites: tuple[str, ...] = field(default=())
    shop_codes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class AudienceMember:
    """One row of a frozen audience. not_sendable: "" or the reason (no_consent, unsubscribed, bounced, ...).

    time_zone: the person's own, as in Asia/Tokyo; "" when unknown.
    """

    guest_id: UUID
    address: str
    name: str
    visits: int
    last_visit_on: date | None
    last_shop_name: str
    not_sendable: str
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class AudienceCopy:
    """How to read a frozen audience from any thread or process: one COPY, one row a person, sorted by guest id.

    connection: for libpq; it may hold a password, so it goes through pipes, never into arguments or logs. statement:
    COPY … TO STDOUT in text format, UTF-8. columns: id (uuid), written (the address), name, visits (a number),
    last_visit_on (ISO day or null), last_shop (a code of shop_names, else itself), why_not ("" may be mailed),
    time_zone ("" unknown).
    """

    connection: str
    statement: str
    columns: tuple[str, ...]
    shop_names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AudienceCount:
    """How many people an audience has now: planned = sendable + the sum of not_sendable (reason -> people)."""

    planned: int
    sendable: int
    not_sendable: dict[str, int]


@dataclass(frozen=True, slots=True)
class PersonImport:
    """One line of a list of people. phone: in any writing; email: as written. Missing is None or "".

    consent_*: the proof that this person agreed to mails; it counts only with a source and a moment. time_zone: where
    the person lives, as in Europe/Berlin; "" when unknown.
    """

    name: str = ""
    kana: str = ""
    phone: str | None = None
    email: str | None = None
    consent_source: str = ""
    consent_wording: str = ""
    consent_given_at_utc: datetime | None = None
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of a list of people: each line is in one of the three. refused: (index, stable word)."""

    created: int
    known: int
    refused: tuple[tuple[int, str], ...] = ()
