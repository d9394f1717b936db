"""What would be otherwise if a mail were read today: its state, and each value that the book took from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from todoku.intake.fates import Fate
from todoku.intake.types import GIVEN_BY_READING, MailState
from todoku.reservations.types import Notification


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One value that reads otherwise. field: a name of extraction's Facts ("guest.name"), "site" or "issued_at".

    before, after: as text, "" where nothing is said.
    """

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A mail that would end otherwise today, or in the same state with other values.

    after: APPLIED stands for "the book decides". reference: of the booking that it is about, when it is about one.
    """

    arrival_id: UUID
    subject: str
    before: MailState
    reason_before: str
    after: MailState
    reason_after: str
    reference: str = ""
    values: tuple[ValueChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """A mail as the books have it. stated: what the book holds of it, None when it took nothing from it."""

    arrival_id: UUID
    subject: str
    state: MailState
    reason: str
    stated: Notification | None


def difference(known: Known, fate: Fate) -> Difference | None:
    """Return in what a mail would differ if it were read today, None when in nothing.

    fate: with the notification as the book would hold it. What reading has no say in is never different: mails in
    quarantine, and those with the same bytes as another.
    """
    stated, states = known.stated, fate.notification
    if stated is None and known.state not in GIVEN_BY_READING:
        return None
    values: tuple[ValueChange, ...] = ()
    if stated is not None and states is not None:
        values = _values(stated, states)
        if not values:
            return None
    elif states is None and (known.state, known.reason) == (fate.state, fate.reason[:200]):
        return None
    told = states or stated
    return Difference(
        arrival_id=known.arrival_id,
        subject=known.subject,
        before=known.state,
        reason_before=known.reason,
        after=MailState.APPLIED if states is not None else fate.state,
        reason_after="" if states is not None else fate.reason,
        reference=told.facts.reference if told is not None else "",
        values=values,
    )


def _values(before: Notification, after: Notification) -> tuple[ValueChange, ...]:
    old, new = _flat(before), _flat(after)
    return tuple(
        ValueChange(field, _text(old.get(field)), _text(new.get(field)))
        for field in dict.fromkeys((*old, *new))
        if old.get(field) != new.get(field)
    )


def _flat(notification: Notification) -> dict[str, Any]:
    """Return the values by name; moments stay moments, so that one in another zone is the same."""
    flat: dict[str, Any] = {"site": notification.site, "issued_at": notification.issued_at_utc}
    for name, value in msgspec.structs.asdict(notification.facts).items():
        if isinstance(value, msgspec.Struct):
            flat.update({f"{name}.{inner}": one for inner, one in msgspec.structs.asdict(value).items()})
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if value is not None}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)
