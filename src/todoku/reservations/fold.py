"""The fold: all that a site ever said about one reservation, put in the site's order, makes how it stands.

Pure: no clock, no database. The result depends on the set of notifications, never on the order of their arrival
and never on how often one of them came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from todoku.extraction.types import Event, Facts
from todoku.reservations.types import Effect, Notification, ReservationState

OPENING = {
    Event.REQUESTED: ReservationState.REQUESTED,
    Event.TENTATIVE: ReservationState.TENTATIVE,
    Event.BOOKED: ReservationState.BOOKED,
}
ENDING = {Event.DECLINED: ReservationState.DECLINED, Event.CANCELLED: ReservationState.CANCELLED}
# The Date header counts whole seconds (RFC 5322 section 3.3), so a site's own sequence decides within one second.
_RANK = {
    Event.REQUESTED: 0,
    Event.TENTATIVE: 1,
    Event.BOOKED: 2,
    Event.CHANGE_REQUESTED: 3,
    Event.CHANGED: 4,
    Event.DECLINED: 5,
    Event.CANCELLED: 6,
}
# What a page may highlight; a link differs in every mail and a reason comes with the ending itself.
_HIGHLIGHTED = (
    "shop_text", "start", "end", "party_size", "guest_name", "guest_kana", "guest_phone", "guest_email",
    "course", "seat", "requests", "amount_minor",
)  # fmt: skip
_SHOWN_AS = {"shop_text": "shop_name"}
# Who comes and where stays known when a cancelled reservation is booked again under its reference.
_SURVIVES_REBOOKING = ("shop_code", "shop_text", "guest_name", "guest_kana", "guest_phone", "guest_email")


@dataclass(frozen=True, slots=True)
class Values:
    """The fields of a reservation after the fold; None where nobody ever said."""

    shop_code: str | None = None
    shop_text: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    party_size: int | None = None
    guest_name: str | None = None
    guest_kana: str | None = None
    guest_phone: str | None = None
    guest_email: str | None = None
    course: str | None = None
    seat: str | None = None
    requests: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    cancel_reason: str | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """How a reservation stands.

    state: None while held, when nothing known opens it. changed: names (of ReservationRow) that the newest event
    altered. newest: the event the site issued last, None only for an empty fold. shown_since: when the newest event
    had arrived and the booking too. history: the notifications that count, in the site's order.
    """

    state: ReservationState | None
    values: Values
    changed: tuple[str, ...]
    previous_start: datetime | None
    previous_party_size: int | None
    newest: Notification | None
    shown_since: datetime | None
    history: tuple[Notification, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """What one arriving notification does. released: held arrivals that are applied because of it."""

    effect: Effect
    released: tuple[UUID, ...] = ()


def fold(notifications: Iterable[Notification]) -> Folded:
    """Return how the reservation stands after these notifications, in whatever order and however often they came.

    Order: issued_at, then the kind of event, then the content hash. A change states only what it states: None keeps
    the older value. A change request alters nothing but `changed`. A booking after a cancel opens it again with its
    own values. Shop codes are taken as they are: resolve them before.
    """
    history = in_site_order(notifications)
    state: ReservationState | None = None
    ended = opened = False
    values: dict[str, Any] = {}
    before: dict[str, Any] = {}
    for notification in history:
        event, before = notification.facts.event, values
        if event is Event.CHANGE_REQUESTED:
            continue
        if event in OPENING:
            if ended:
                values = {name: values[name] for name in _SURVIVES_REBOOKING if name in values}
                before = {}
            state, opened, ended = OPENING[event], True, False
        elif event in ENDING:
            state, ended = ENDING[event], True
        values = _merged(values, stated(notification))
    newest = history[-1] if history else None
    changed, previous = _difference(newest, before, values)
    return Folded(
        state=state if opened else None,
        values=Values(**values),
        changed=changed,
        previous_start=previous.get("start"),
        previous_party_size=previous.get("party_size"),
        newest=newest,
        shown_since=_shown_since(history),
        history=history,
    )


def in_site_order(notifications: Iterable[Notification]) -> tuple[Notification, ...]:
    """Return each different notification once, in the order in which the site issued them.

    Two are the same when their bytes are, or when they were issued at one moment with the same facts: a site that
    notifies two addresses writes two different mails about one event.
    """
    contents: set[str] = set()
    statements: set[tuple[datetime, Facts]] = set()
    different: list[Notification] = []
    for notification in sorted(notifications, key=_arrival_key):
        statement = (notification.issued_at_utc, notification.facts)
        if notification.content_sha256 in contents or statement in statements:
            continue
        contents.add(notification.content_sha256)
        statements.add(statement)
        different.append(notification)
    return tuple(different)


def admit(known: Sequence[Notification], arriving: Notification) -> Admission:
    """Say what an arriving notification does, given those that count already (no duplicates among them)."""
    statement = (arriving.issued_at_utc, arriving.facts)
    for other in known:
        if other.content_sha256 == arriving.content_sha256 or (other.issued_at_utc, other.facts) == statement:
            return Admission(Effect.DUPLICATE)
    if any(other.facts.event in OPENING for other in known):
        newest = max(map(site_key, known))
        return Admission(Effect.STALE if site_key(arriving) < newest else Effect.APPLIED)
    if arriving.facts.event in OPENING:
        return Admission(Effect.APPLIED, tuple(other.arrival_id for other in known))
    return Admission(Effect.HELD)


def settle(notifications: Iterable[Notification]) -> dict[UUID, Effect]:
    """Return what each notification does when all came one by one, in the order in which they were received."""
    effects: dict[UUID, Effect] = {}
    counting: list[Notification] = []
    for arriving in sorted(notifications, key=lambda item: (item.received_at_utc, item.arrival_id)):
        admission = admit(counting, arriving)
        effects[arriving.arrival_id] = admission.effect
        effects.update(dict.fromkeys(admission.released, Effect.APPLIED))
        if admission.effect is not Effect.DUPLICATE:
            counting.append(arriving)
    return effects


def site_key(notification: Notification) -> tuple[datetime, int, str]:
    """Return the key by which one site's notifications about one reservation are ordered."""
    return (notification.issued_at_utc, _RANK[notification.facts.event], notification.content_sha256)


def stated(notification: Notification) -> dict[str, Any]:
    """Return the fields that this notification states, under the names of Values."""
    facts = notification.facts
    guest = facts.guest
    all_fields = {
        "shop_code": notification.shop_code,
        "shop_text": facts.shop,
        "start": facts.start,
        "end": facts.end,
        "party_size": facts.party_size,
        "guest_name": guest.name,
        "guest_kana": guest.kana,
        "guest_phone": guest.phone,
        "guest_email": guest.email,
        "course": facts.course,
        "seat": facts.seat,
        "requests": facts.requests,
        "cancel_reason": facts.cancel_reason,
        "link": facts.link,
    }
    if facts.amount is not None:
        all_fields["amount_minor"] = facts.amount.minor
        all_fields["currency"] = facts.amount.currency
    return {name: value for name, value in all_fields.items() if value is not None}


def _arrival_key(notification: Notification) -> tuple[datetime, int, str, datetime, UUID]:
    return (*site_key(notification), notification.received_at_utc, notification.arrival_id)


def _merged(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    merged = {**older, **newer}
    if "end" not in newer and "end" in older and merged.get("start") != older.get("start"):
        del merged["end"]  # the old end belongs to the old start; a length is not guessed
    return merged


def _difference(
    newest: Notification | None, before: dict[str, Any], after: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    if newest is None or not before:
        return (), {}
    if newest.facts.event is Event.CHANGE_REQUESTED:  # what the guest asks for, not what is agreed
        after = _merged(before, stated(newest))
    names = [name for name in _HIGHLIGHTED if before.get(name) != after.get(name)]
    said = newest.facts.previous
    previous = {
        "start": (said.start if said else None) or before.get("start"),
        "party_size": (said.party_size if said else None) or before.get("party_size"),
    }
    return (
        tuple(_SHOWN_AS.get(name, name) for name in names),
        {name: value for name, value in previous.items() if name in names},
    )


def _shown_since(history: Sequence[Notification]) -> datetime | None:
    openings = [item.received_at_utc for item in history if item.facts.event in OPENING]
    if not history or not openings:
        return None
    return max(history[-1].received_at_utc, min(openings))
