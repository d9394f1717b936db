"""Old months leave PostgreSQL for Parquet files in the vault, and stay readable.

A month goes in two steps, and a kill between any two statements leaves it whole in one place:

1. its rows are exported under one snapshot, checked against `run_tally`, put in the vault, read back and compared;
   the files are noted, and do not count yet;
2. in one transaction the rows are compared once more with the files, with writers held off, and then the files begin
   to count and the rows are dropped.

Rows that are written between the steps make the comparison fail, and the export begins again. Lines that come after
the second step go to the default partition, are shown with the archived ones, and leave with the next archive.
"""

# ruff: noqa: S608 - only our own names of tables and columns are put in, never what somebody gave
from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog
from django.db import OperationalError, connection, transaction

from todoku.delivery.ledger import months, parquet
from todoku.delivery.ledger.archive_files import ArchiveFiles
from todoku.delivery.ledger.errors import ArchiveBusy, ArchiveRefused
from todoku.delivery.ledger.packing import STATES
from todoku.delivery.ledger.types import ArchivedMonth
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

LEAST_MONTHS = 3  # the journal keeps lines for 60 days; older ones are never delivered again
QUIET = timedelta(days=75)
ROWS_A_FILE = 1_000_000  # about 40 MB of Parquet, held in memory once on its way to the vault
ATTEMPTS = 3
LOCK_SECONDS = 5
_LOCK_KEY = 7_064_001_017  # of the advisory lock: one archiver at a time

_NAMES = ", ".join(STATES)
_SUMS = ", ".join(f"count(*) FILTER (WHERE state = '{name}')" for name in STATES)

OnStep = Callable[[str], None]


class Archiver:
    """Moves months. Sync; uses Django's connection of its thread; at most one works at a time on an installation."""

    def __init__(self, files: ArchiveFiles, clock: Clock, *, on_step: OnStep = lambda step: None) -> None:
        """on_step: told after each step that a kill could follow; for progress and for tests."""
        self._files = files
        self._clock = clock
        self._step = on_step

    def archive(self, older_than_months: int) -> list[ArchivedMonth]:
        """Move every month that ended so long ago; return what was moved. Doing it again moves nothing twice.

        Raises ArchiveRefused (rows and sums differ; the month stays), ArchiveBusy, VaultError, django.db.Error.
        """
        if older_than_months < LEAST_MONTHS:
            raise ArchiveRefused(
                f"a month can leave after {LEAST_MONTHS} months, not after {older_than_months}",
                kept="everything",
                todo="the journal may deliver younger lines again, and their marks must be there then",
            )
        with self._alone():
            return [
                moved
                for month in months_with_rows()
                if self._is_due(month, older_than_months)
                for moved in [self._move(month)]
                if moved.rows or moved.files == 0
            ]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
            if not cursor.fetchone()[0]:
                raise ArchiveBusy("another process archives the ledger", kept="everything", todo="wait for it")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])

    def _is_due(self, month: datetime, older_than_months: int) -> bool:
        now = self._clock.now_utc()
        age = (now.year - month.year) * 12 + now.month - month.month
        if age <= older_than_months:
            return False
        first, following = months.id_range(month)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM run_tally WHERE run_id >= %s AND run_id < %s AND last_at > %s",
                [first, following, now - QUIET],
            )
            in_use = cursor.fetchone()[0]
        if in_use:
            log.info("ledger.month_in_use", month=f"{month:%Y-%m}", runs=in_use)
        return not in_use

    def _move(self, month: datetime) -> ArchivedMonth:
        for attempt in range(ATTEMPTS):
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM archive_part WHERE month = %s AND NOT counts", [month.date()])
            self._step("leftovers removed")
            self._export(month)
            self._step("exported")
            moved = self._drop(month)
            if moved is not None:
                self._step("dropped")
                log.info("ledger.month_archived", month=f"{month:%Y-%m}", rows=moved.rows, files=moved.files)
                return moved
            log.info("ledger.month_changed_meanwhile", month=f"{month:%Y-%m}", attempt=attempt)
        raise ArchiveBusy(f"{month:%Y-%m} is being written to", kept="everything", todo="try again later")

    def _export(self, month: datetime) -> None:
        """Put the month's rows in the vault, under one snapshot, and note the files without letting them count."""
        parts: list[tuple[str, str, int, parquet.FileFacts]] = []
        with transaction.atomic(), connection.cursor() as cursor, tempfile.TemporaryDirectory() as folder:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            check_sums(month)
            cursor.execute(f"SELECT DISTINCT project_id FROM {_source()} ORDER BY 1", _range(month))
            for (project_id,) in cursor.fetchall():
                for bounds in _cuts(month, project_id):
                    csv, target = Path(folder) / "rows.csv", Path(folder) / "rows.parquet"
                    _export_csv(csv, month, project_id, bounds)
                    if not csv.stat().st_size:
                        continue
                    parquet.write(csv, target)
                    facts = parquet.examine(target)
                    size = target.stat().st_size
                    parts.append((project_id, self._files.put(project_id, target), size, facts))
                    self._step("file in the vault")
        with transaction.atomic():
            for part in parts:
                self._note(month, *part)

    def _note(self, month: datetime, project_id: str, key: str, size: int, facts: parquet.FileFacts) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO archive_part (month, project_id, vault_key, size_bytes, rows, fingerprint, first_run,"
                " last_run, last_at, made_at, counts) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, false)"
                " RETURNING id",
                [
                    month.date(),
                    project_id,
                    key,
                    size,
                    facts.rows,
                    facts.fingerprint,
                    facts.first_run,
                    facts.last_run,
                    facts.last_at_utc,
                    self._clock.now_utc(),
                ],
            )
            part_id = cursor.fetchone()[0]
            cursor.executemany(
                f"INSERT INTO archive_run (part_id, run_id, {_NAMES}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [[part_id, run_id, *(sums.get(name, 0) for name in STATES)] for run_id, sums in facts.sums.items()],
            )

    def _drop(self, month: datetime) -> ArchivedMonth | None:
        """Let the files count and the rows go, when both still say the same; None when they do not."""
        name = months.partition_name(month)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                partitioned = _exists(name)
                # readers go on while the rows are compared; writers wait
                cursor.execute("LOCK TABLE delivery_other IN SHARE ROW EXCLUSIVE MODE")
                if partitioned:
                    cursor.execute(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
                if not self._same(month):
                    return None
                cursor.execute(
                    "UPDATE archive_part SET counts = true WHERE month = %s AND NOT counts RETURNING rows, size_bytes",
                    [month.date()],
                )
                moved = cursor.fetchall()
                cursor.execute(
                    "INSERT INTO archive_month VALUES (%s, %s) ON CONFLICT (month) DO UPDATE SET archived_at ="
                    " excluded.archived_at",
                    [month.date(), self._clock.now_utc()],
                )
                cursor.execute("DELETE FROM delivery_other WHERE run_id >= %s AND run_id < %s", _range(month))
                cursor.execute("DELETE FROM delivery_line WHERE run_id >= %s AND run_id < %s", _range(month))
                cursor.execute("DELETE FROM run_pace WHERE run_id >= %s AND run_id < %s", _range(month))
                self._step("about to drop")
                if partitioned:
                    cursor.execute(f"DROP TABLE {name}")
        except OperationalError as error:
            raise ArchiveBusy(
                f"{month:%Y-%m} could not be locked within {LOCK_SECONDS} s: {error}".strip(),
                kept="everything; its files are in the vault",
                todo="run it again at a quieter moment",
            ) from error
        return ArchivedMonth(month.date(), sum(rows for rows, _ in moved), len(moved), sum(size for _, size in moved))

    def _same(self, month: datetime) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*), {parquet.FINGERPRINT} FROM {_source()}", _range(month))
            in_database = cursor.fetchone()
            cursor.execute(
                "SELECT coalesce(sum(rows), 0), coalesce(sum(fingerprint), 0) FROM archive_part"
                " WHERE month = %s AND NOT counts",
                [month.date()],
            )
            return bool(in_database == cursor.fetchone())


def months_with_rows() -> list[datetime]:
    """Return the months whose rows are in PostgreSQL, oldest first: with a partition, or with late rows."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'delivery'::regclass AND c.relname ~ '^delivery_[0-9]{4}_[0-9]{2}$'"
        )
        for (name,) in cursor.fetchall():
            found.add(datetime(int(name[9:13]), int(name[14:16]), 1, tzinfo=UTC))
        cursor.execute("SELECT month FROM archive_month")
        for (month,) in cursor.fetchall():
            first = months.first_moment(month)
            cursor.execute(
                "SELECT EXISTS (SELECT FROM delivery_other WHERE run_id >= %s AND run_id < %s)", _range(first)
            )
            if cursor.fetchone()[0]:
                found.add(first)
    return sorted(found)


def check_sums(month: datetime) -> None:
    """Compare the rows of each run of the month, archived ones too, with `run_tally`; raises ArchiveRefused."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH counted AS (
                SELECT run_id, state, count(*) AS rows FROM {_source()} GROUP BY 1, 2
                UNION ALL
                SELECT run_id, one.state, one.rows FROM archive_run r JOIN archive_part p ON p.id = r.part_id
                CROSS JOIN LATERAL (VALUES {", ".join(f"('{name}', r.{name})" for name in STATES)}) one (state, rows)
                WHERE p.counts AND p.month = %s
                UNION ALL
                SELECT run_id, one.state, one.rows FROM delivery_evidence e
                CROSS JOIN LATERAL (VALUES ('unknown', -1), (e.state, 1)) one (state, rows)
                WHERE e.archived AND e.run_id >= %s AND e.run_id < %s
            ), told AS (
                SELECT run_id, one.state, one.rows FROM run_tally t
                CROSS JOIN LATERAL (VALUES {", ".join(f"('{name}', t.{name})" for name in STATES)}) one (state, rows)
                WHERE run_id >= %s AND run_id < %s
            ), summed AS (SELECT run_id, state, sum(rows) AS rows FROM counted GROUP BY 1, 2)
            SELECT run_id, state, coalesce(summed.rows, 0), coalesce(told.rows, 0)
            FROM summed FULL JOIN told USING (run_id, state)
            WHERE coalesce(summed.rows, 0) <> coalesce(told.rows, 0) ORDER BY 1, 2 LIMIT 5
            """,
            [*_range(month), month.date(), *_range(month), *_range(month)],
        )
        odd = cursor.fetchall()
    if odd:
        named = "; ".join(f"run {run_id}: {rows} rows {state}, {told} in the sums" for run_id, state, rows, told in odd)
        raise ArchiveRefused(
            f"{month:%Y-%m} does not add up: {named}", kept="the month in PostgreSQL", todo="see `todoku ledger audit`"
        )


def _source() -> str:
    """Every row of the month that PostgreSQL holds, late ones in the default partition included."""
    return "(SELECT * FROM delivery WHERE run_id >= %s AND run_id < %s) AS source"


def _range(month: datetime) -> list[UUID]:
    return list(months.id_range(month))


def _exists(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        return bool(cursor.fetchone()[0])


def _cuts(month: datetime, project_id: str) -> Iterator[tuple[UUID, int, UUID, int]]:
    """Yield (run, line, run, line): from after the first line to the second, with about ROWS_A_FILE rows between."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, line FROM (SELECT run_id, line, sum(count(*)) OVER (ORDER BY run_id, line) AS upto,"
            f" count(*) AS rows FROM {_source()} WHERE project_id = %s GROUP BY run_id, line) AS lines"
            f" WHERE div(upto, {ROWS_A_FILE}) <> div(upto - rows, {ROWS_A_FILE}) ORDER BY run_id, line",
            [*_range(month), project_id],
        )
        ends = cursor.fetchall()
    first, following = months.id_range(month)
    begin = (first, -1)
    for end in [*ends, (following, -1)]:
        yield (*begin, *end)
        begin = end


def _export_csv(path: Path, month: datetime, project_id: str, bounds: tuple[UUID, int, UUID, int]) -> None:
    with connection.cursor() as cursor, path.open("wb") as file:
        statement = (
            f"COPY (SELECT {parquet.EXPORT} FROM delivery WHERE run_id >= %s AND run_id < %s AND project_id = %s"
            " AND (run_id, line) > (%s, %s) AND (run_id, line) <= (%s, %s) ORDER BY run_id, line, place)"
            " TO STDOUT (FORMAT csv, FORCE_QUOTE (address, answer, message_id), NULL '')"
        )
        with cursor.copy(statement, [*_range(month), project_id, *bounds]) as copy:
            for block in copy:
                file.write(block)
