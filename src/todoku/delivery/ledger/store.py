"""Write journal lines into the ledger's tables: one transaction, two statements, whatever their number."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from todoku.delivery.ledger import months
from todoku.delivery.ledger.packing import COPY_BEGIN, COPY_END, STATES, PackedLine

SLOT_SECONDS = 10

_NAMES = ", ".join(STATES)

# new lines, their sums and their pace in one statement: what was applied before takes part in none of them
_APPLY = f"""
WITH lines AS (
    SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], {", ".join(["%s::int[]"] * len(STATES))},
                         %s::timestamptz[], %s::timestamptz[])
        AS given (run_id, line, project_id, {_NAMES}, first_at, last_at)
), fresh AS (
    INSERT INTO delivery_line (run_id, line) SELECT run_id, line FROM lines ORDER BY run_id, line
    ON CONFLICT DO NOTHING RETURNING run_id, line
), summed AS (
    INSERT INTO run_tally AS tally (run_id, project_id, {_NAMES}, first_at, last_at)
    SELECT run_id, min(project_id), {", ".join(f"sum({name})" for name in STATES)}, min(first_at), max(last_at)
    FROM lines JOIN fresh USING (run_id, line) GROUP BY run_id ORDER BY run_id
    ON CONFLICT (run_id) DO UPDATE SET
        {", ".join(f"{name} = tally.{name} + excluded.{name}" for name in STATES)},
        first_at = least(tally.first_at, excluded.first_at), last_at = greatest(tally.last_at, excluded.last_at)
), paced AS (
    INSERT INTO run_pace AS pace (run_id, slot_at, project_id, sent, others)
    SELECT run_id, date_bin('{SLOT_SECONDS} seconds', last_at, '2000-01-01 00:00:00+00') AS slot_at, min(project_id),
           sum(sent), sum(refused + unrenderable + expired + unknown)
    FROM lines JOIN fresh USING (run_id, line) WHERE last_at IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (run_id, slot_at) DO UPDATE SET sent = pace.sent + excluded.sent, others = pace.others + excluded.others
)
SELECT run_id, line FROM fresh
"""  # noqa: S608 - only our own column names are put in
_COPY = """
COPY delivery (run_id, line, place, project_id, guest_id, address, state, answer, at, message_id)
FROM STDIN (FORMAT binary)
"""


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

    def apply(self, lines: Sequence[PackedLine]) -> set[tuple[str, uuid.UUID]]:
        """Store the outcomes of lines that were not stored before; return (project, run) of those that were new.

        A line may come twice in one group: a NATS that was killed forgets what it delivered a moment ago (found by
        tests/chaos/everything, seed 1). All or nothing. Raises django.db.Error: apply the same lines again later.
        """
        telling = list({(line.run_id, line.identity): line for line in lines if line.recipients}.values())
        if not telling:
            return set()
        with transaction.atomic(), connection.cursor() as cursor:
            self._make_partitions({line.run_id for line in telling})
            cursor.execute(_APPLY, _columns(telling))
            fresh = set(cursor.fetchall())
            new = [line for line in telling if (line.run_id, line.identity) in fresh]
            if new:
                with cursor.copy(_COPY) as copy:
                    copy.write(COPY_BEGIN)
                    for line in new:
                        copy.write(line.rows)
                    copy.write(COPY_END)
        self.counts.statements += 3 + bool(new)  # BEGIN, the sums, COPY, COMMIT
        self.counts.transactions += 1
        self.counts.recipients += sum(line.recipients for line in new)
        self.counts.lines_seen_before += len(telling) - len(new)
        return {(line.project_id, line.run_id) for line in new}

    def close(self) -> None:
        """Close this thread's connection; the next apply opens it again."""
        self._partitions.clear()  # one that was made in a transaction that failed is not there
        connection.close()

    def _make_partitions(self, run_ids: set[uuid.UUID]) -> None:
        for run_id in run_ids:
            month = months.month_of(run_id)
            if month is None or month.isoformat() in self._partitions:
                continue
            name = months.partition_name(month)
            with connection.cursor() as cursor:
                # late lines of a month that was archived stay in the default partition, and leave with the next archive
                cursor.execute(
                    "SELECT to_regclass(%s) IS NOT NULL OR EXISTS (SELECT FROM archive_month WHERE month = %s)",
                    [name, month.date()],
                )
                self.counts.statements += 1
                if not cursor.fetchone()[0]:
                    # two projectors may come here at once; the lock lets one wait until the other has made it
                    cursor.execute("LOCK TABLE delivery IN SHARE UPDATE EXCLUSIVE MODE")
                    first, following = months.id_range(month)
                    cursor.execute(
                        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF delivery "
                        f"FOR VALUES FROM ('{first}') TO ('{following}')"
                    )
                    self.counts.statements += 2
            self._partitions.add(month.isoformat())


def _columns(lines: Sequence[PackedLine]) -> list[list[object]]:
    """Return the lines as columns, one array a column."""
    rows = [
        (line.run_id, line.identity, line.project_id, *line.sums, line.first_at_utc, line.last_at_utc) for line in lines
    ]
    return [list(column) for column in zip(*rows, strict=True)]
