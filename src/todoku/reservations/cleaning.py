"""What a notification may hold before it reaches the book. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from todoku.extraction.types import Facts
from todoku.reservations.errors import ImpossibleFacts
from todoku.reservations.types import Notification

REFERENCE_MAX_CHARACTERS = 200  # an index entry of PostgreSQL holds 2,704 bytes
SITE_MAX_CHARACTERS = 40
SHOP_CODE_MAX_CHARACTERS = 40
PARTY_MAX = 100_000
AMOUNT_MAX_MINOR = 10**15
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def clean_notification(notification: Notification) -> Notification:
    """Return the notification with texts that PostgreSQL can hold, or raise ImpossibleFacts.

    NUL and lone surrogates are taken out of texts; a text that is empty then is None. Numbers, moments and keys
    outside what a reservation can have are refused by name rather than bent.
    """
    facts = _clean_facts(notification.facts)
    if facts is not notification.facts:
        notification = replace(notification, facts=facts)
    _require_key(notification)
    _require_moments(notification)
    party = (facts.party_size, facts.previous.party_size if facts.previous else None)
    for size in party:
        if size is not None and not 0 <= size <= PARTY_MAX:
            raise ImpossibleFacts(notification.arrival_id, "party_size", f"{size!s:.40}")
    if facts.amount is not None:
        if abs(facts.amount.minor) > AMOUNT_MAX_MINOR:
            raise ImpossibleFacts(notification.arrival_id, "amount", f"more than {AMOUNT_MAX_MINOR}")
        if not (len(facts.amount.currency) == 3 and facts.amount.currency.isalpha()):
            raise ImpossibleFacts(notification.arrival_id, "amount", "the currency is not an ISO 4217 code")
    return notification


def encode_facts(facts: Facts) -> bytes:
    """Return the facts as the JSON that the book keeps."""
    return msgspec.json.encode(facts)


def decode_facts(text: str | bytes) -> Facts:
    """Return the facts that `encode_facts` made JSON of."""
    return msgspec.json.decode(text, type=Facts)


def _clean_facts(facts: Facts) -> Facts:
    try:
        if b"\\u0000" not in encode_facts(facts):
            return facts
    except (UnicodeEncodeError, OverflowError):
        pass  # a lone surrogate or a number beyond 64 bits: the slow way looks at each text
    guest = msgspec.structs.replace(facts.guest, **_clean_texts(facts.guest, ("name", "kana", "phone", "email")))
    names = ("shop", "shop_code", "course", "seat", "requests", "cancel_reason", "link")
    reference = _clean_text(facts.reference) or ""
    return msgspec.structs.replace(facts, guest=guest, reference=reference, **_clean_texts(facts, names))


def _clean_texts(holder: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _clean_text(getattr(holder, name)) for name in names}


def _clean_text(text: str | None) -> str | None:
    if text is None:
        return None
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8") or None


def _require_key(notification: Notification) -> None:
    reference, site = notification.facts.reference, notification.site
    if not reference.strip() or len(reference) > REFERENCE_MAX_CHARACTERS:
        raise ImpossibleFacts(notification.arrival_id, "reference", f"{len(reference)} characters")
    if not site or len(site) > SITE_MAX_CHARACTERS:
        raise ImpossibleFacts(notification.arrival_id, "site", f"{len(site)} characters")
    if notification.shop_code is not None and len(notification.shop_code) > SHOP_CODE_MAX_CHARACTERS:
        raise ImpossibleFacts(notification.arrival_id, "shop_code", f"{len(notification.shop_code)} characters")


def _require_moments(notification: Notification) -> None:
    facts = notification.facts
    moments = (
        ("start", facts.start),
        ("end", facts.end),
        ("previous", facts.previous.start if facts.previous else None),
        ("issued_at", notification.issued_at_utc),
        ("received_at", notification.received_at_utc),
    )
    for name, moment in moments:
        if moment is None:
            continue
        if moment.tzinfo is None or moment.utcoffset() is None:
            raise ImpossibleFacts(notification.arrival_id, name, "it has no time zone")
        if not EARLIEST <= moment < LATEST:
            raise ImpossibleFacts(notification.arrival_id, name, f"the year {moment.year}")
