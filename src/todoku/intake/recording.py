"""One transaction per project and batch: mail rows, book and guests together, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    close_old_connections,
    connection,
    transaction,
)

from todoku.bus.streams import UNROUTED_PROJECT
from todoku.guests import services as guest_services
from todoku.guests.types import VisitFact
from todoku.intake import store
from todoku.intake.addresses import ends_of_addresses
from todoku.intake.errors import BookUnavailable
from todoku.intake.fates import Fate, Received, decide, repeat_id
from todoku.intake.source_days import cursor_text
from todoku.intake.store import MailLine
from todoku.intake.types import MailState
from todoku.kernel.errors import TodokuError
from todoku.projects import queries as project_queries
from todoku.reservations import queries as reservation_queries
from todoku.reservations import services as reservation_services
from todoku.reservations.errors import ImpossibleFacts
from todoku.reservations.types import Applied, Effect

log = structlog.get_logger(__name__)

_STATES = {
    Effect.APPLIED: MailState.APPLIED,
    Effect.DUPLICATE: MailState.DUPLICATE,
    Effect.STALE: MailState.STALE,
    Effect.HELD: MailState.HELD,
}
# SQLSTATE classes by which PostgreSQL speaks of itself and not of the values it was given: connection, rollback
# (deadlock), resources, object state (locks), operator intervention, system error, wrong schema.
_NOT_THE_MAIL = ("08", "40", "53", "55", "57", "58", "42", "25")
_INT_MAX = 2**31 - 1
_BIGINT_MAX = 2**63 - 1


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
        _raise_when_away(error)
        log.warning("mail.batch_refused", project_id=project_id, mails=len(mails), exc_info=True)
    alone = [_record_alone(project_id, mail) for mail in mails]
    states = {arrival_id: state for one in alone for arrival_id, state in one.states.items()}
    return Recorded(project_id, states, tuple(sorted({moved for one in alone for moved in one.reservation_ids})))


def record_again(project_id: str, mails: Sequence[Received], movable: Sequence[MailState]) -> int:
    """Give mails that have a row the state that reading them today gives; return how many were moved.

    One transaction for each mail, compare-and-set on its state: one that is in none of the movable states any more, or
    that the book can't hold, stays as it is. Raises BookUnavailable.
    """
    close_old_connections()
    moved = 0
    for mail in mails:
        try:
            moved += _move(project_id, mail, movable)
        except Exception as error:
            _raise_when_away(error)
            log.exception("mail.not_moved", arrival_id=str(mail.arrival.arrival_id), project_id=project_id)
    close_old_connections()
    return moved


def _move(project_id: str, mail: Received, movable: Sequence[MailState]) -> int:
    arrival_id = mail.arrival.arrival_id
    with transaction.atomic():
        before = store.lock(project_id, arrival_id)
        if before is None or before not in movable:
            return 0
        fate = decide(mail, project_known=True)
        answers: dict[UUID, Applied] = {}
        if fate.notification is not None:
            answers = {one.arrival_id: one for one in reservation_services.apply_many(project_id, [fate.notification])}
        released = {key: answer.reservation_id for answer in answers.values() for key in answer.released}
        moved = [answer.reservation_id for answer in answers.values() if answer.reservation_id is not None]
        if moved:
            visits = reservation_queries.visit_facts(project_id, moved)
            guest_services.record_visits(project_id, [VisitFact(**_fields(visit)) for visit in visits])
        store.replace(_row(mail, _final(fate, answers, released, mail)))
        earlier = {key: value for key, value in released.items() if key != arrival_id}
        if earlier:
            store.release(project_id, earlier)
    log.info("mail.moved", project_id=project_id, arrival_id=str(arrival_id), before=before.value)
    return 1


def keep_sound_connection() -> None:
    """Close this thread's connection when an error broke it; a sound one stays open, whatever CONN_MAX_AGE says.

    A new connection for each batch cost PostgreSQL 5 to 10 ms for its caches, a quarter of all work of the intake.
    """
    if connection.connection is not None:
        connection.close_at = None
    connection.close_if_unusable_or_obsolete()


def _record_alone(project_id: str, mail: Received) -> Recorded:
    """Record one mail in its own transaction; when the book can't hold it, record that instead."""
    try:
        return _record_together(project_id, [mail], {})
    except Exception as error:
        _raise_when_away(error)
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
        if moved:
            visits = reservation_queries.visit_facts(project_id, moved)
            guest_services.record_visits(project_id, [VisitFact(**_fields(visit)) for visit in visits])
        rows = [_row(mail, _final(fates[mail.arrival.arrival_id], answers, released, mail)) for mail in fresh]
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


def _final(
    fate: Fate, answers: dict[UUID, Applied], released: dict[UUID, UUID | None], mail: Received
) -> tuple[Fate, UUID | None]:
    if fate.notification is None:
        return fate, None
    arrival_id = mail.arrival.arrival_id
    if arrival_id in released:
        return replace(fate, state=MailState.APPLIED), released[arrival_id]
    answer = answers[arrival_id]
    return replace(fate, state=_STATES[answer.effect]), answer.reservation_id


def _row(mail: Received, final: tuple[Fate, UUID | None]) -> MailLine:
    fate, reservation_id = final
    arrival, reading = mail.arrival, mail.outcome.reading
    facts = reading.facts if reading is not None else None
    return MailLine(
        arrival_id=arrival.arrival_id,
        project_id=mail.project_id,
        source=_text(arrival.source, 64),
        stream_sequence=mail.sequence,
        state=fate.state,
        reason=_text(fate.reason, 200),
        site=_text((reading.site if reading else None) or arrival.site or "", 40) or None,
        shop_code=_text(arrival.shop_code or "", 40) or None,
        shop_text=_text(facts.shop or "", 500) or None if facts else None,
        subject=_text(reading.subject, 1000) if reading else "",
        sender=_text(reading.sender, 500) if reading else "",
        rcpt_to=_text(arrival.rcpt_to, 500),
        vault_key=_text(arrival.vault_key, 200),
        sha256=_text(arrival.sha256, 64),
        size_bytes=min(arrival.size_bytes, _BIGINT_MAX),
        arrived_at=arrival.received_at_utc,
        issued_at=_moment(reading.issued_at if reading else None),
        lossy_characters=min(reading.lossy_characters, _INT_MAX) if reading else 0,
        reservation_id=reservation_id,
        cursor=cursor_text(arrival.cursor),
        at_source=_moment(arrival.at_source_utc),
    )


def _repeat_row(mail: Received) -> MailLine:
    row = _row(mail, (Fate(MailState.DUPLICATE, "published_twice"), None))
    row.arrival_id = repeat_id(mail.arrival.arrival_id, mail.sequence)
    return row


def _fields(visit: Any) -> dict[str, Any]:
    return {name: getattr(visit, name) for name in VisitFact.__dataclass_fields__}


def _text(text: str, most: int) -> str:
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")[:most]


def _moment(moment: datetime | None) -> datetime | None:
    if moment is None or not 2 < moment.year < 9998:  # beyond, a change of zone leaves what datetime can hold
        return None
    return moment.astimezone(UTC)


def _raise_when_away(error: Exception) -> None:
    """Raise BookUnavailable when the error is about the database and not about a mail."""
    transient = isinstance(error, TodokuError) and error.transient
    if isinstance(error, DatabaseError | InterfaceError):
        sqlstate = getattr(error.__cause__, "sqlstate", None)
        nameless = sqlstate is None and isinstance(error, OperationalError | InterfaceError | ProgrammingError)
        transient = nameless or (sqlstate is not None and sqlstate.startswith(_NOT_THE_MAIL))
    if transient:
        raise BookUnavailable(f"the database is away: {_short(error)}", kept="all mails, on the bus") from error


def _short(error: Exception) -> str:
    """Name the error in the log; a database's message can quote values of a guest, so only its first line goes on."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
