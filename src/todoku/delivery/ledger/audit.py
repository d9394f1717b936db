"""One run's books from all sides: what the bus holds, what the sums say, what rows there are."""

# ruff: noqa: S608 - only our own names of tables and columns are put in, never what somebody gave
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connection

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL
from todoku.delivery.engine.codec import decode_journal
from todoku.delivery.ledger import months
from todoku.delivery.ledger.archive import months_with_rows
from todoku.delivery.ledger.packing import STATES, line_identity
from todoku.delivery.ledger.projector import START_KIND
from todoku.delivery.ledger.types import Difference, MonthStatus, RunAudit

_NAMES = [state.value for state in STATES]


async def audit_run(bus: Bus, project_id: str, run_id: UUID) -> RunAudit:
    """Count the run in the journal, in the sums and in the rows, and name what is not equal.

    Reads the run's whole journal (constant memory). Journal lines that the ledger has not applied are `waiting`, and no
    difference. Raises BusUnavailable, django.db.Error.
    """
    lines: dict[int, Counter[str]] = {}
    async for stored in bus.messages(JOURNAL, f"journal.{run_id.hex}.>"):
        if stored.payload[:2] == START_KIND:
            continue
        message = decode_journal(stored.payload)
        if message.outcomes and message.project_id == project_id:
            identity = line_identity(stored.sequence, stored.message_id or "")
            lines[identity] = Counter(outcome.state.value for outcome in message.outcomes)
    return await sync_to_async(_compare)(project_id, run_id, lines)


def _compare(project_id: str, run_id: UUID, lines: dict[int, Counter[str]]) -> RunAudit:
    with connection.cursor() as cursor:
        cursor.execute("SELECT line FROM delivery_line WHERE run_id = %s", [run_id])
        applied = {line for (line,) in cursor.fetchall()}
        cursor.execute(
            f"SELECT {', '.join(_NAMES)} FROM run_tally WHERE project_id = %s AND run_id = %s",
            [project_id, run_id],
        )
        tally = dict(zip(_NAMES, cursor.fetchone() or [0] * len(_NAMES), strict=True))
        cursor.execute(
            "SELECT state, archived, count(*) FROM delivery_evidence WHERE project_id = %s AND run_id = %s"
            " GROUP BY 1, 2",
            [project_id, run_id],
        )
        evidence = cursor.fetchall()
    rows = _rows(project_id, run_id, {state: count for state, archived, count in evidence if archived})
    settled: Counter[str] = Counter()
    for state, _, count in evidence:
        settled[state] += count
    known = {line: counts for line, counts in lines.items() if line in applied}
    journal = _sum(known.values()) if len(known) == len(applied) and lines else None
    if journal is not None:
        for state, count in settled.items():
            journal[state] += count
            journal["unknown"] -= count
    differences = tuple(
        Difference(name, None if journal is None else journal[name], tally[name], rows[name])
        for name in _NAMES
        if tally[name] != rows[name] or (journal is not None and journal[name] != tally[name])
    )
    waiting = sum(counts.total() for line, counts in lines.items() if line not in applied)
    return RunAudit(run_id, journal, tally, rows, dict(settled), waiting, differences)


def _rows(project_id: str, run_id: UUID, amended: dict[str, int]) -> dict[str, int]:
    """Count the run's rows by state, here and in the archive, as they are shown today."""
    rows = dict.fromkeys(_NAMES, 0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state, count(*) FROM delivery WHERE run_id = %s AND project_id = %s GROUP BY state",
            [run_id, project_id],
        )
        for state, count in cursor.fetchall():
            rows[state] += count
        cursor.execute(
            f"SELECT {', '.join(f'coalesce(sum(r.{name}), 0)' for name in _NAMES)} FROM archive_run r"
            " JOIN archive_part p ON p.id = r.part_id WHERE p.counts AND p.project_id = %s AND r.run_id = %s",
            [project_id, run_id],
        )
        for name, count in zip(_NAMES, cursor.fetchone(), strict=True):
            rows[name] += int(count)
    for state, count in amended.items():
        rows[state] += count
        rows["unknown"] -= count
    return rows


def _sum(counts: Iterable[Counter[str]]) -> dict[str, int]:
    total = dict.fromkeys(_NAMES, 0)
    for one in counts:
        for name, count in one.items():
            total[name] += count
    return total


def months_status() -> list[MonthStatus]:
    """Return where the rows of each month are, oldest first; all projects together, for operators."""
    here = {month.date() for month in months_with_rows()}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.month, coalesce(sum(p.rows), 0), coalesce(sum(p.size_bytes), 0) FROM archive_month m"
            " LEFT JOIN archive_part p ON p.month = m.month AND p.counts GROUP BY m.month"
        )
        archived: dict[date, tuple[int, int]] = {
            month: (int(rows), int(size)) for month, rows, size in cursor.fetchall()
        }
        found = []
        for month in sorted(here | set(archived)):
            first, following = months.id_range(months.first_moment(month))
            cursor.execute("SELECT count(*) FROM delivery WHERE run_id >= %s AND run_id < %s", [first, following])
            rows = cursor.fetchone()[0]
            state = "kept" if month not in archived else "late_rows" if rows else "archived"
            found.append(MonthStatus(month, state, rows, *archived.get(month, (0, 0))))
    return found
