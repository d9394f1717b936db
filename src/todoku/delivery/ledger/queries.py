"""Reads of the ledger; sync, each within one project, in constant memory.

Archived months are read through the same functions; then VaultError may be raised.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from todoku.delivery.ledger import archive_reader
from todoku.delivery.ledger.types import MinuteCount
from todoku.delivery.types import TERMINAL_STATES, DeliveryRow, RecipientState, RunBalance
from todoku.kernel.clock import Clock, SystemClock

ROWS_AT_ONCE = 5_000
PACE_SECONDS = 30.0  # a pace is the mean of so long

_ROW = "SELECT run_id, guest_id, address, state, answer, at, message_id, line, place FROM delivery "


def balance(project_id: str, run_id: UUID, planned: int) -> RunBalance:
    """Return the run's balance; everybody is pending as long as the ledger knows nothing of the run."""
    return RunBalance(planned=planned, **tallies(project_id, [run_id]).get(run_id, {}))


def tallies(project_id: str, run_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """Return for each known run how many recipients are in each terminal state; keys as in RunBalance."""
    names = [state.value for state in TERMINAL_STATES]
    columns = ", ".join(names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT run_id, {columns} FROM run_tally WHERE project_id = %s AND run_id = ANY(%s)",  # noqa: S608
            [project_id, list(run_ids)],
        )
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in cursor.fetchall()}


def span(project_id: str, run_id: UUID) -> tuple[datetime, datetime] | None:
    """Return the moments of the first and the last outcome of a run, suppressions left aside; None before any."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT first_at, last_at FROM run_tally WHERE project_id = %s AND run_id = %s AND first_at IS NOT NULL",
            [project_id, run_id],
        )
        found = cursor.fetchone()
    return (found[0], found[1]) if found else None


def pace(project_id: str, run_id: UUID, *, clock: Clock | None = None) -> float:
    """Return how many messages a second the run decided in its last 30 s or so; 0.0 when it has stood still since.

    Counted by the moments of the outcomes, in slots of ten seconds, so a ledger that is catching up shows the pace of
    the sending and not of the catching up.
    """
    now_utc = (clock or SystemClock()).now_utc()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.slot_at, p.sent + p.others, t.first_at, t.last_at FROM run_tally t JOIN run_pace p USING (run_id)"
            " WHERE t.project_id = %s AND t.run_id = %s AND p.slot_at > t.last_at - make_interval(secs => %s)"
            " ORDER BY p.slot_at",
            [project_id, run_id, PACE_SECONDS],
        )
        slots = cursor.fetchall()
    if not slots or now_utc - slots[0][3] > timedelta(seconds=PACE_SECONDS):
        return 0.0
    begin = max(slots[0][0], slots[0][2])
    seconds = (slots[0][3] - begin).total_seconds()
    return float(sum(count for _, count, _, _ in slots) / max(seconds, 1.0))


def forecast(project_id: str, run_id: UUID, pending: int, *, clock: Clock | None = None) -> datetime | None:
    """Return when the last message of the run will have left at its present pace; None while it stands still."""
    now = clock or SystemClock()
    per_second = pace(project_id, run_id, clock=now)
    if pending <= 0 or per_second <= 0:
        return None
    return now.now_utc() + timedelta(seconds=min(pending / per_second, 10 * 365 * 86_400.0))


def by_minute(project_id: str, run_id: UUID) -> list[MinuteCount]:
    """Return how many were decided in each minute in which anything was, oldest first; for a chart.

    Gone once the run's month was archived.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT date_trunc('minute', slot_at) AS minute, sum(sent), sum(others) FROM run_pace"
            " WHERE project_id = %s AND run_id = %s GROUP BY 1 ORDER BY 1",
            [project_id, run_id],
        )
        return [MinuteCount(minute, int(sent), int(others)) for minute, sent, others in cursor.fetchall()]


def names(
    project_id: str, run_id: UUID, state: RecipientState, *, limit: int = 100, after: str | None = None
) -> list[DeliveryRow]:
    """Return who is in that state, oldest first. after: the cursor of the last row of the page before."""
    return _page(project_id, run_id, (state,), limit, after)


def run_rows(
    project_id: str, run_id: UUID, states: Collection[RecipientState] = TERMINAL_STATES
) -> Iterator[DeliveryRow]:
    """Yield everybody of a run who is in one of the states; in constant memory, also for millions.

    Read in pages of 5,000 by key, so nothing is held open in the database between them, and a reader may be slow.
    Rows that come while it reads may be missed. Oldest first when `sent` is among the states, else state by state.
    """
    wanted = sorted(states)
    groups = [tuple(wanted)] if RecipientState.SENT in wanted else [(state,) for state in wanted]
    for group in groups:
        after: str | None = None
        while True:
            page = _page(project_id, run_id, group, ROWS_AT_ONCE, after)
            yield from page
            if len(page) < ROWS_AT_ONCE:
                break
            after = page[-1].cursor


def sent_to_guest(project_id: str, guest_id: UUID, limit: int = 50) -> list[DeliveryRow]:
    """Return what became of the messages planned for one guest, newest first; also from archived months.

    Raises VaultUnavailable when archived rows are needed and the vault is away.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _ROW + "WHERE guest_id = %s AND project_id = %s ORDER BY at DESC LIMIT %s",
            [guest_id, project_id, limit],
        )
        found = [archive_reader.row_of(values) for values in cursor.fetchall()]
    return archive_reader.guest_page(project_id, guest_id, found, limit)


def _page(
    project_id: str, run_id: UUID, states: Sequence[RecipientState], limit: int, after: str | None
) -> list[DeliveryRow]:
    line, place = _cursor(after)
    # said in the words of the partial index, else PostgreSQL would not use it
    unusual = "" if RecipientState.SENT in states else "AND state <> 'sent' "
    with connection.cursor() as cursor:
        cursor.execute(
            _ROW + "WHERE run_id = %s AND state = ANY(%s) " + unusual + "AND (line, place) > (%s, %s) "
            "AND project_id = %s ORDER BY line, place LIMIT %s",
            [run_id, [state.value for state in states], line, place, project_id, limit],
        )
        found = [archive_reader.row_of(values) for values in cursor.fetchall()]
    keys = archive_reader.keys_of_run(project_id, run_id)
    if not keys:
        return found
    archived = archive_reader.run_page(keys, run_id, states, (line, place), limit)
    return archive_reader.merge(found, archived, limit)


def _cursor(after: str | None) -> tuple[int, int]:
    """Read a cursor; one that was not made here means the first page."""
    line, _, place = (after or "").partition(".")
    if line.isascii() and line.isdecimal() and place.isascii() and place.isdecimal() and len(line) < 19:
        return int(line), min(int(place), 2**31 - 1)
    return 0, -1
