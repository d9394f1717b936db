"""The order of the samples, and the answers that each of them must be read to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.samples.people import Booking

NOTHING: dict[str, Any] = {
    "event": None,
    "reference": None,
    "shop": None,
    "shop_code": None,
    "start": None,
    "end": None,
    "party_size": None,
    "guest": {"name": None, "kana": None, "phone": None, "email": None},
    "course": None,
    "seat": None,
    "requests": None,
    "amount": None,
    "cancel_reason": None,
    "link": None,
    "previous": None,
    "lossy_characters": 0,
    "notice": None,
    "problem": None,
}


@dataclass(frozen=True)
class Sample:
    """One mail of the timeline with its answer. folder: the site whose samples it is of."""

    arrives: datetime
    folder: str
    slug: str
    raw: bytes
    expected: dict[str, Any]


@dataclass
class Timeline:
    """Collects samples; `numbered` gives them in the order of arrival with their file names."""

    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Put one more sample on the line."""
        self.samples.append(sample)

    def repeat(self, slug: str, *, minutes: int = 7) -> None:
        """Let the last sample arrive once more, byte for byte."""
        last = self.samples[-1]
        self.add(Sample(last.arrives + timedelta(minutes=minutes), last.folder, slug, last.raw, last.expected))

    def numbered(self) -> list[tuple[str, Sample]]:
        """Return (file name without ending, sample), earliest arrival first."""
        ordered = sorted(self.samples, key=lambda sample: sample.arrives)
        return [(f"{number * 10:03d}-{sample.slug}", sample) for number, sample in enumerate(ordered, start=1)]


def iso(moment: datetime | None) -> str | None:
    """Return ISO 8601 with offset, as the contract wants it."""
    return moment.isoformat() if moment is not None else None


def reservation(site: str, issued: datetime, event: str, reference: str, **facts: Any) -> dict[str, Any]:
    """Return the answer for a reservation mail; what is not given is null."""
    return {
        **NOTHING,
        "outcome": "reservation",
        "site": site,
        "event": event,
        "reference": reference,
        "issued_at": iso(issued),
        **facts,
    }


def notice(site: str | None, issued: datetime, kind: str) -> dict[str, Any]:
    """Return the answer for a mail that is no reservation."""
    return {**NOTHING, "outcome": "not_a_reservation", "site": site, "notice": kind, "issued_at": iso(issued)}


def unknown(site: str | None, issued: datetime, problem: str) -> dict[str, Any]:
    """Return the answer for a mail that nobody can read."""
    return {**NOTHING, "outcome": "unknown_layout", "site": site, "problem": problem, "issued_at": iso(issued)}


def guest(
    name: str | None, kana: str | None = None, phone: str | None = None, email: str | None = None
) -> dict[str, Any]:
    """Return the guest of an answer."""
    return {"name": name, "kana": kana, "phone": phone, "email": email}


def previous(booking: Booking, *, start: bool, party: bool) -> dict[str, Any]:
    """Return the old values that a change mail states."""
    return {"start": iso(booking.start) if start else None, "party_size": booking.party if party else None}
