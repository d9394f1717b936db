"""Reads of the ledger; sync, each one or two statements, each within one project."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from todoku.delivery.types import TERMINAL_STATES, DeliveryRow, RecipientState, RunBalance

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


def names(
    project_id: str, run_id: UUID, state: RecipientState, *, limit: int = 100, after: str | None = None
) -> list[DeliveryRow]:
    """Return who is in that state, oldest first. after: the cursor of the last row of the page before."""
    line, place = _cursor(after)
    with connection.cursor() as cursor:
        cursor.execute(
            _ROW + "WHERE run_id = %s AND state = %s AND (line, place) > (%s, %s) AND project_id = %s "
            "ORDER BY line, place LIMIT %s",
            [run_id, state.value, line, place, project_id, limit],
        )
        return [_row(values) for values in cursor.fetchall()]


def sent_to_guest(project_id: str, guest_id: UUID, limit: int = 50) -> list[DeliveryRow]:
    """Return what became of the messages planned for one guest, newest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            _ROW + "WHERE guest_id = %s AND project_id = %s ORDER BY at DESC LIMIT %s",
            [guest_id, project_id, limit],
        )
        return [_row(values) for values in cursor.fetchall()]


def _row(values: tuple[UUID, UUID | None, str, str, str, datetime, str, int, int]) -> DeliveryRow:
    run_id, guest_id, address, state, answer, at_utc, message_id, line, place = values
    return DeliveryRow(run_id, guest_id, address, state, answer, at_utc, message_id, f"{line}.{place}")


def _cursor(after: str | None) -> tuple[int, int]:
    """Read a cursor; one that was not made here means the first page."""
    line, _, place = (after or "").partition(".")
    if line.isascii() and line.isdecimal() and place.isascii() and place.isdecimal() and len(line) < 19:
        return int(line), min(int(place), 2**31 - 1)
    return 0, -1
