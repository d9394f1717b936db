"""Facts from schema.org markup: the site `schema-org`, which is every sender that writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from todoku.extraction.compiled import CompiledSite
from todoku.extraction.convert import identifier, party_size, person, text_block
from todoku.extraction.definition import Structured
from todoku.extraction.facts import NEEDS_START
from todoku.extraction.phone import to_e164
from todoku.extraction.structured import BrokenMarkup, find_reservations, short_name
from todoku.extraction.types import Amount, Facts, GuestFacts, Outcome, Reading
from todoku.kernel.addresses import is_addr_spec
from todoku.kernel.dates import DateProblem, read_instant
from todoku.kernel.folding import fold_for_matching
from todoku.mail.types import ParsedMail

_NO_MINOR_UNITS = frozenset({"JPY", "KRW", "VND", "CLP", "ISK"})
_LONGEST_TEXT = 2_000
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_PRICE = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?\Z")


class _Refused(Exception):
    """The markup is there and can't be read; the word says why."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def read_markup(sites: Iterable[CompiledSite], parsed: ParsedMail, base: Reading) -> Reading | None:
    """Return the reading of the mail's markup, or None when it has none of a reservation.

    Markup that names a reservation but is broken, ambiguous or without its keys is `unknown_layout`.
    """
    if parsed.html is None or "schema.org" not in parsed.html:
        return None
    for site in sites:
        structured = site.definition.structured
        if structured is None:
            continue
        try:
            found = find_reservations(parsed.html, structured.types)
            if not found:
                continue
            facts = _one([_facts(item, structured) for item in found])
        except BrokenMarkup:
            return _unknown(base, site.id, "broken_markup")
        except _Refused as refused:
            return _unknown(base, site.id, refused.word)
        return replace(base, outcome=Outcome.RESERVATION, site=site.id, facts=facts, notice=None)
    return None


def _unknown(base: Reading, site: str, problem: str) -> Reading:
    return replace(base, outcome=Outcome.UNKNOWN_LAYOUT, site=site, notice=None, problem=problem)


def _one(facts: list[Facts]) -> Facts:
    if any(other != facts[0] for other in facts[1:]):
        raise _Refused("ambiguous:reference")
    return facts[0]


def _facts(item: dict[str, Any], structured: Structured) -> Facts:
    status = short_name(_text(item, "reservationStatus"))
    event = structured.status.get(status)
    if event is None:
        raise _Refused("unknown_kind")
    reference = identifier(fold_for_matching(_text(item, "reservationNumber") or _text(item, "reservationId") or ""))
    if reference is None:
        raise _Refused("missing:reference")
    start = _moment(item, "startTime")
    if start is None and event in NEEDS_START:
        raise _Refused("missing:start")
    under = item.get("underName")
    under = under if isinstance(under, dict) else {"name": under}
    place = item.get("reservationFor")
    email = _text(under, "email")
    written = person(_text(under, "name") or "")
    return Facts(
        event=event,
        reference=reference,
        shop=_text(place, "name") if isinstance(place, dict) else None,
        start=start,
        end=_moment(item, "endTime"),
        party_size=_party(item.get("partySize")),
        guest=GuestFacts(
            name=written.name,
            kana=written.kana,
            phone=to_e164(_text(under, "telephone") or ""),
            email=email if email is not None and is_addr_spec(email) else None,
        ),
        amount=_amount(item),
        link=_text(item, "url") or _text(item, "modifyReservationUrl") or _text(item, "cancelReservationUrl"),
    )


def _text(item: dict[str, Any], name: str) -> str | None:
    value = item.get(name)
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("@id") or value.get("value") or value.get("name")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return text_block(value[:_LONGEST_TEXT]) if isinstance(value, str) else None


def _moment(item: dict[str, Any], name: str) -> datetime | None:
    """Return the moment; one that is written but has no offset or can't be meant is refused, not guessed."""
    written = _text(item, name)
    if written is None:
        return None
    try:
        moment = read_instant(written)
    except DateProblem:
        moment = None
    if moment is None:
        raise _Refused("unreadable:start" if name == "startTime" else "unreadable:end")
    return moment


def _party(value: object) -> int | None:
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value < 10_000 else None
    return party_size(value) if isinstance(value, str) else None


def _amount(item: dict[str, Any]) -> Amount | None:
    currency = _text(item, "priceCurrency")
    price = _text(item, "totalPrice") or _text(item, "price")
    if currency is None or price is None or not _CURRENCY.match(currency) or not _PRICE.match(price):
        return None
    value = Decimal(price) * (1 if currency in _NO_MINOR_UNITS else 100)
    return Amount(int(value), currency) if value == int(value) else None
