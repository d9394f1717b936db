"""A reservation as a page shows it: its fields in the order in which a shop needs them, old values beside new ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from todoku.extraction.types import Facts
from todoku.reservations.types import HistoryEntry, ReservationRow
from todoku.web.templatetags.todoku import clock, day, near_day, phone
from todoku.web.words import FIELDS

# attribute of ReservationRow -> name of the same thing in Facts (which evidence uses)
_NAMES = {
    "start": "start",
    "party_size": "party_size",
    "guest_name": "guest.name",
    "guest_kana": "guest.kana",
    "guest_phone": "guest.phone",
    "guest_email": "guest.email",
    "shop_name": "shop",
    "course": "course",
    "seat": "seat",
    "requests": "requests",
    "amount_minor": "amount",
    "reference": "reference",
    "cancel_reason": "cancel_reason",
    "link": "link",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a reservation. name: as in Facts. was: the old value when the last mail changed it."""

    name: str
    label: str | Promise
    value: str
    was: str = ""
    changed: bool = False
    lead: bool = False
    href: str = ""


def party(size: int | None) -> str:
    """Write how many people come."""
    return "" if size is None else ngettext("%(n)d person", "%(n)d people", size) % {"n": size}


def visit(start: datetime | None, end: datetime | None = None) -> str:
    """Write when they come: day, time, and until when if that is known."""
    if start is None:
        return ""
    until = f"–{clock(end)}" if end is not None else ""
    return f"{day(start)} {clock(start)}{until}"


def money(minor: int | None, currency: str | None) -> str:
    """Write an amount: ¥12,000 for yen, else 120.00 USD."""
    if minor is None:
        return ""
    if currency in {None, "JPY"}:
        return f"¥{minor:,}"
    return f"{minor / 100:,.2f} {currency}"


def fields(row: ReservationRow, history: tuple[HistoryEntry, ...] = ()) -> list[Field]:
    """Return the lines that say something; what the sites left out is left out."""
    lines = []
    for attribute, name in _NAMES.items():
        value = _shown(attribute, row)
        changed = attribute in row.changed or (attribute == "amount_minor" and "amount" in row.changed)
        was = _old(attribute, row, history) if changed else ""
        if value or was:
            lines.append(
                Field(
                    name=name,
                    label=FIELDS[name],
                    value=value,
                    was=was if was != value else "",
                    changed=changed,
                    lead=attribute in {"start", "party_size", "guest_name"},
                    href=_href(attribute, value),
                )
            )
    return lines


def announcement(row: ReservationRow, event: str) -> str:
    """Return the sentence a screen reader says when this reservation arrives."""
    said = [event, row.guest_name or _("Name not given"), near_day(row.start), clock(row.start), party(row.party_size)]
    return "、".join(part for part in [*said, row.shop_name or ""] if part) + "。"


def _shown(attribute: str, row: ReservationRow) -> str:
    if attribute == "start":
        return visit(row.start, row.end)
    if attribute == "party_size":
        return party(row.party_size)
    if attribute == "guest_phone":
        return phone(row.guest_phone)
    if attribute == "amount_minor":
        return money(row.amount_minor, row.currency)
    return getattr(row, attribute) or ""


def _href(attribute: str, value: str) -> str:
    if attribute == "guest_phone" and value:
        return "tel:" + "".join(sign for sign in value if sign.isdigit() or sign == "+")
    if attribute == "link" and value.startswith(("https://", "http://")):
        return value
    return ""


def _old(attribute: str, row: ReservationRow, history: tuple[HistoryEntry, ...]) -> str:
    if attribute == "start" and row.previous_start is not None:
        return visit(row.previous_start)
    if attribute == "party_size" and row.previous_party_size is not None:
        return party(row.previous_party_size)
    now = _shown(attribute, row)
    for entry in reversed(history):
        said = _said(attribute, entry.facts)
        if said and said != now:
            return said
    return ""


def _said(attribute: str, facts: Facts) -> str:
    if attribute == "start":
        return visit(facts.start, facts.end)
    if attribute == "party_size":
        return party(facts.party_size)
    if attribute == "guest_phone":
        return phone(facts.guest.phone)
    if attribute == "amount_minor":
        return money(facts.amount.minor, facts.amount.currency) if facts.amount else ""
    if attribute == "shop_name":
        return facts.shop or ""
    owner: Any = facts.guest if attribute.startswith("guest_") else facts
    return getattr(owner, attribute.removeprefix("guest_")) or ""
