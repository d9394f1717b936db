"""The JSON contract of `todoku extract FILE… --json`: one object a mail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from todoku.extraction.types import Facts, GuestFacts, Reading

_NO_GUEST = GuestFacts()


def as_json(file: str, reading: Reading) -> dict[str, Any]:
    """Return the object of the contract: every key is there, what the mail does not say is None, never "".

    Times are ISO 8601 with offset. Beyond the contract's keys, `notice` and `problem` say why there are no facts, and
    `issued_at` when the site spoke.
    """
    facts = reading.facts
    return {
        "file": file,
        "outcome": reading.outcome.value,
        "site": reading.site,
        **_facts_json(facts),
        "lossy_characters": reading.lossy_characters,
        "notice": reading.notice.value if reading.notice else None,
        "problem": reading.problem,
        "issued_at": _iso(reading.issued_at),
    }


def _facts_json(facts: Facts | None) -> dict[str, Any]:
    guest = facts.guest if facts else _NO_GUEST
    amount = facts.amount if facts else None
    previous = facts.previous if facts else None
    return {
        "event": facts.event.value if facts else None,
        "reference": facts.reference if facts else None,
        "shop": facts.shop if facts else None,
        "shop_code": facts.shop_code if facts else None,
        "start": _iso(facts.start) if facts else None,
        "end": _iso(facts.end) if facts else None,
        "party_size": facts.party_size if facts else None,
        "guest": {"name": guest.name, "kana": guest.kana, "phone": guest.phone, "email": guest.email},
        "course": facts.course if facts else None,
        "seat": facts.seat if facts else None,
        "requests": facts.requests if facts else None,
        "amount": {"minor": amount.minor, "currency": amount.currency} if amount else None,
        "cancel_reason": facts.cancel_reason if facts else None,
        "link": facts.link if facts else None,
        "previous": {"start": _iso(previous.start), "party_size": previous.party_size} if previous else None,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
