"""Write journal lines into the ledger's tables: one transaction, two statements, whatever their number."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.types import RecipientState

_STATES = (
    RecipientState.SENT,
    RecipientState.REFUSED,
    RecipientState.SUPPRESSED,
    RecipientState.UNRENDERABLE,
    RecipientState.EXPIRED,
    RecipientState.UNKNOWN,
)
_NAMES = ", ".join(_STATES)

# new lines and their sums in one statement: what was applied before takes part in neither
_APPLY = f"""
WITH lines AS (
    SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], {", ".join(["%s::int[]"] * 6)},
                         %s::timestamptz[], %s::timestamptz[])
        AS given (run_id, line, project_id, {_NAMES}, first_at, last_at)
), fresh AS (
    INSERT INTO delivery_line (run_id, line) SELECT run_id, line FROM lines ORDER BY run_id, line
    ON CONFLICT DO NOTHING RETURNING run_id, line
), summed AS (
    INSERT INTO run_tally AS tally (run_id, project_id, {_NAMES}, first_at, last_at)
    SELECT run_id, min(project_id), {", ".join(f"sum({name})" for name in _STATES)}, min(first_at), max(last_at)
    FROM lines JOIN fresh USING (run_id, line) GROUP BY run_id ORDER BY run_id
    ON CONFLICT (run_id) DO UPDATE SET
        {", ".join(f"{name} = tally.{name} + excluded.{name}" for name in _STATES)},
        first_at = least(tally.first_at, excluded.first_at), last_at = greatest(tally.last_at, excluded.last_at)
)
SELECT run_id, line FROM fresh
"""  # noqa: S608 - only our own column names are put in
_COPY = "COPY delivery (run_id, line, place, project_id, guest_id, address, state, answer, at, message_id) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Line:
    """One journal line with its sequence in the stream."""

    sequence: int
    message: JournalMessage


@dataclass(slots=True)
class StoreCounts:
    """What the store did since it was made. statements: sent to PostgreSQL, BEGIN and COMMIT included."""

    statements: int = 0
    transactions: int = 0
    recipients: int = 0
    lines_seen_before: int = 0


class LedgerStore:
    """Apply lines; used by one thread, which owns the connection."""

    def __init__(self) -> None:
        self.counts = StoreCounts()
        self._partitions: set[str] = set()

    def apply(self, lines: Sequence[Line]) -> set[tuple[str, uuid.UUID]]:
        """Store the outcomes of lines that were not stored before; return (project, run) of those that were new.

        All or nothing. Raises django.db.Error: apply the same lines again later.
        """
        telling = [line for line in lines if line.message.outcomes]
        if not telling:
            return set()
        runs = {line.sequence: uuid.UUID(line.message.run_id) for line in telling}
        with transaction.atomic(), connection.cursor() as cursor:
            self._make_partitions(set(runs.values()))
            cursor.execute(_APPLY, _columns(telling, runs))
            fresh = {(run_id, line) for run_id, line in cursor.fetchall()}
            new = [line for line in telling if (runs[line.sequence], line.sequence) in fresh]
            if new:
                with cursor.copy(_COPY) as copy:
                    for line in new:
                        for row in _rows(line, runs[line.sequence]):
                            copy.write_row(row)
        statements = 3 + bool(new)  # BEGIN, the sums, COPY, COMMIT
        self.counts.statements += statements
        self.counts.transactions += 1
        self.counts.recipients += sum(len(line.message.outcomes) for line in new)
        self.counts.lines_seen_before += len(telling) - len(new)
        return {(line.message.project_id, runs[line.sequence]) for line in new}

    def close(self) -> None:
        """Close this thread's connection; the next apply opens it again."""
        self._partitions.clear()  # one that was made in a transaction that failed is not there
        connection.close()

    def _make_partitions(self, run_ids: set[uuid.UUID]) -> None:
        for run_id in run_ids:
            month = month_of(run_id)
            if month is None or month.isoformat() in self._partitions:
                continue
            name = f"delivery_{month:%Y_%m}"
            following = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
            with connection.cursor() as cursor:
                cursor.execute("SELECT to_regclass(%s)", [name])
                self.counts.statements += 1
                if cursor.fetchone()[0] is None:
                    # two projectors may come here at once; the lock lets one wait until the other has made it
                    cursor.execute("LOCK TABLE delivery IN SHARE UPDATE EXCLUSIVE MODE")
                    cursor.execute(
                        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF delivery "
                        f"FOR VALUES FROM ('{_first_id_of(month)}') TO ('{_first_id_of(following)}')"
                    )
                    self.counts.statements += 2
            self._partitions.add(month.isoformat())


def month_of(run_id: uuid.UUID) -> datetime | None:
    """Return the first moment of the month in which a UUIDv7 was made; None for another version."""
    if run_id.version != 7:
        return None
    made = datetime.fromtimestamp((run_id.int >> 80) / 1000, UTC)
    return made.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _first_id_of(month: datetime) -> uuid.UUID:
    return uuid.UUID(int=int(month.timestamp() * 1000) << 80)


def _columns(lines: Sequence[Line], runs: dict[int, uuid.UUID]) -> list[list[object]]:
    """Return the lines as columns, one array a column."""
    columns: list[list[object]] = [[] for _ in range(5 + len(_STATES))]
    for line in lines:
        sums = dict.fromkeys(_STATES, 0)
        moments = []
        for outcome in line.message.outcomes:
            sums[outcome.state] += 1
            if outcome.state is not RecipientState.SUPPRESSED:
                moments.append(outcome.at_utc)
        values = (
            runs[line.sequence],
            line.sequence,
            line.message.project_id,
            *sums.values(),
            min(moments, default=None),
            max(moments, default=None),
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return columns


def _rows(line: Line, run_id: uuid.UUID) -> list[tuple[object, ...]]:
    message = line.message
    return [
        (
            run_id,
            line.sequence,
            outcome.index,
            message.project_id,
            _uuid_or_none(outcome.guest_id),
            _storable(outcome.address),
            outcome.state.value,
            _storable(outcome.answer),
            outcome.at_utc,
            outcome.message_id,
        )
        for outcome in message.outcomes
    ]


def _uuid_or_none(text: str) -> str | None:
    if len(text) in (32, 36):
        try:
            uuid.UUID(text)
        except ValueError:
            return None
        return text
    return None


def _storable(text: str) -> str:
    """Return the text without what PostgreSQL can't hold: NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
