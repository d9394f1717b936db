"""One transaction per project and batch: mail rows, book and guests together, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from todoku.bus.streams import UNROUTED_PROJECT
from todoku.guests import services as guest_services
from todoku.guests.types import VisitFact
from todoku.intake import store
from todoku.intake.addresses import ends_of_addresses
from todoku.intake.database import keep_sound_connection, raise_when_away
from todoku.intake.fates import Fate, Received, decide, repeat_id
from todoku.intake.lines import mail_line
from todoku.intake.store import MailLine
from todoku.intake.types import MailState
from todoku.projects import queries as project_queries
from todoku.reservations import queries as reservation_queries
from todoku.reservations import services as reservation_services
from todoku.reservations.errors import ImpossibleFacts
from todoku.reservations.types import Applied, Effect

log = structlog.get_logger(__name__)

STATES = {
    Effect.APPLIED: MailState.APPLIED,
    Effect.DUPLICATE: MailState.DUPLICATE,
    Effect.STALE: MailState.STALE,
    Effect.HELD: MailState.HELD,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one transaction did. reservation_ids: those whose book or history moved."""

    project_id: str
    states: dict[UUID, MailState]
    reservation_ids: tuple[UUID, ...]


def record(project_id: str, mails: Sequence[Received]) -> Recorded:
    """Write the states of these mails with everything that follows from them; idempotent.

    The calling thread's connection stays open for the next batch; its owner closes it.

    When one mail can't be kept, all are recorded alone, and what fails alone is `unreadable` with the reason. Raises
    BookUnavailable (transient) when it is the database that fails; hand the same mails over again later.
    """
    keep_sound_connection()
    try:
        return _record_together(project_id, mails, {})
    except Exception as error:
        raise_when_away(error)
        log.warning("mail.batch_refused", project_id=project_id, mails=len(mails), exc_info=True)
    alone = [_record_alone(project_id, mail) for mail in mails]
    states = {arrival_id: state for one in alone for arrival_id, state in one.states.items()}
    return Recorded(project_id, states, tuple(sorted({moved for one in alone for moved in one.reservation_ids})))


def _record_alone(project_id: str, mail: Received) -> Recorded:
    """Record one mail in its own transaction; when the book can't hold it, record that instead."""
    try:
        return _record_together(project_id, [mail], {})
    except Exception as error:
        raise_when_away(error)
        arrival_id = mail.arrival.arrival_id
        log.exception("mail.refused_by_book", arrival_id=str(arrival_id), project_id=project_id)
        word = f"impossible:{error.field}" if isinstance(error, ImpossibleFacts) else f"refused:{type(error).__name__}"
    return _record_together(project_id, [mail], {arrival_id: word})


def _record_together(project_id: str, mails: Sequence[Received], refused: dict[UUID, str]) -> Recorded:
    with transaction.atomic():
        fresh, repeats = _fresh(project_id, mails)
        fates = _fates(project_id, fresh, refused)
        notifications = [fate.notification for fate in fates.values() if fate.notification is not None]
        answers = (
            {answer.arrival_id: answer for answer in reservation_services.apply_many(project_id, notifications)}
            if notifications
            else {}
        )
        released = {arrival_id: answer.reservation_id for answer in answers.values() for arrival_id in answer.released}
        moved = sorted({answer.reservation_id for answer in answers.values() if answer.reservation_id is not None})
        note_visits(project_id, moved)
        rows = [mail_line(mail, final_state(fates[mail.arrival.arrival_id], answers, released, mail)) for mail in fresh]
        rows += [_repeat_row(mail) for mail in repeats]
        if rows:
            store.insert(rows)
        earlier = {key: value for key, value in released.items() if key not in fates}
        if earlier:
            store.release(project_id, earlier)
    states = {row.arrival_id: row.state for row in rows}
    states.update(dict.fromkeys(released, MailState.APPLIED))
    return Recorded(project_id, states, tuple(moved))


def _fresh(project_id: str, mails: Sequence[Received]) -> tuple[list[Received], list[Received]]:
    """Return the mails without a row, and the further messages about an arrival that has one."""
    known = store.known_arrivals(project_id, [mail.arrival.arrival_id for mail in mails])
    fresh: dict[UUID, Received] = {}
    repeats: list[Received] = []
    for mail in mails:
        arrival_id = mail.arrival.arrival_id
        if arrival_id in known or arrival_id in fresh:
            first = known[arrival_id] if arrival_id in known else fresh[arrival_id].sequence
            if first != mail.sequence:
                repeats.append(mail)
        else:
            fresh[arrival_id] = mail
    return list(fresh.values()), repeats


def _fates(project_id: str, mails: Sequence[Received], refused: dict[UUID, str]) -> dict[UUID, Fate]:
    known = project_id != UNROUTED_PROJECT and project_id in project_queries.list_project_ids()
    seen = store.known_contents(project_id, [mail.arrival.sha256 for mail in mails if mail.arrival.sha256])
    ends = ends_of_addresses(project_id, [mail.arrival.rcpt_to for mail in mails]) if known else {}
    fates: dict[UUID, Fate] = {}
    for mail in mails:
        arrival = mail.arrival
        fate = decide(mail, project_known=known, accepted_until_utc=ends.get(arrival.rcpt_to))
        if fate.state is not MailState.QUARANTINED:
            if arrival.sha256 in seen:
                fate = Fate(MailState.DUPLICATE, "same_bytes")
            elif arrival.arrival_id in refused:
                fate = Fate(MailState.UNREADABLE, refused[arrival.arrival_id])
            if arrival.sha256:
                seen.add(arrival.sha256)
        fates[arrival.arrival_id] = fate
    return fates


def note_visits(project_id: str, reservation_ids: Sequence[UUID]) -> None:
    """Hand the guests room what these reservations say about their guests."""
    if reservation_ids:
        visits = reservation_queries.visit_facts(project_id, reservation_ids)
        guest_services.record_visits(project_id, [VisitFact(**_fields(visit)) for visit in visits])


def final_state(
    fate: Fate, answers: dict[UUID, Applied], released: dict[UUID, UUID | None], mail: Received
) -> tuple[Fate, UUID | None]:
    """Return where a mail ends after the book has answered, and the reservation that it is about."""
    if fate.notification is None:
        return fate, None
    arrival_id = mail.arrival.arrival_id
    if arrival_id in released:
        return replace(fate, state=MailState.APPLIED), released[arrival_id]
    answer = answers[arrival_id]
    return replace(fate, state=STATES[answer.effect]), answer.reservation_id


def _repeat_row(mail: Received) -> MailLine:
    row = mail_line(mail, (Fate(MailState.DUPLICATE, "published_twice"), None))
    row.arrival_id = repeat_id(mail.arrival.arrival_id, mail.sequence)
    return row


def _fields(visit: Any) -> dict[str, Any]:
    return {name: getattr(visit, name) for name in VisitFact.__dataclass_fields__}
