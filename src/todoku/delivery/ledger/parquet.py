"""Ledger rows as Parquet files, written and read with DuckDB. Knows no database of ours and no vault.

A row's fingerprint is the first 60 bits of the MD5 of all its words; a file's is their sum. PostgreSQL computes the
same (`FINGERPRINT`), so equal sums and counts mean equal contents, whatever conversions lie between. It guards against
mistakes, not against forgers.
"""

# ruff: noqa: S608 - only our own names of tables and columns are put in, never what somebody gave
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import duckdb

from todoku.delivery.ledger.errors import ArchiveDamaged
from todoku.delivery.ledger.types import Amendment
from todoku.delivery.types import DeliveryRow

MEMORY = "256MB"
ROW_GROUP = 100_000

# what PostgreSQL says of `delivery`, in the order of _COLUMNS
EXPORT = (
    "run_id, line, place, guest_id, address, state, answer, "
    "(extract(epoch from at) * 1000000)::bigint AS at_us, message_id"
)
FINGERPRINT = (
    "coalesce(sum(('x' || left(md5(concat_ws(chr(31), run_id, line, place, coalesce(guest_id::text, ''), address, "
    "state, answer, (extract(epoch from at) * 1000000)::bigint, message_id)), 15))::bit(60)::bigint), 0)"
)
_COLUMNS = {
    "run_id": "UUID",
    "line": "BIGINT",
    "place": "INTEGER",
    "guest_id": "UUID",
    "address": "VARCHAR",
    "state": "VARCHAR",
    "answer": "VARCHAR",
    "at_us": "BIGINT",
    "message_id": "VARCHAR",
}
_FINGERPRINT = (
    "coalesce(sum(('0x' || left(md5(concat_ws(chr(31), run_id, line, place, coalesce(guest_id::text, ''), address, "
    'state, answer, epoch_us("at"), message_id)), 15))::BIGINT), 0)'
)
_SHOWN = 'p.run_id, p.guest_id, p.address, {state}, {answer}, epoch_us(p."at"), p.message_id, p.line, p.place'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a Parquet file holds. sums: recipients by state, of each run."""

    rows: int
    fingerprint: int
    first_run: UUID
    last_run: UUID
    last_at_utc: datetime
    sums: dict[UUID, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of one run: in these states, after this place."""

    run_id: UUID
    states: Sequence[str]
    line: int
    place: int
    limit: int


def write(source_csv: Path, target: Path) -> None:
    """Turn PostgreSQL's CSV (NULL as nothing, words quoted) into a Parquet file; constant memory."""
    with _connect() as engine:
        engine.execute(
            'COPY (SELECT * EXCLUDE (at_us), make_timestamptz(at_us) AS "at" FROM read_csv(?, header=false, '
            "auto_detect=false, columns=" + str(_COLUMNS) + ", delim=',', quote='\"', escape='\"', nullstr='', "
            "allow_quoted_nulls=false, parallel=false)) "
            f"TO '{_quoted(target)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})",
            [str(source_csv)],
        )


def examine(path: Path) -> FileFacts:
    """Read the whole file and tell what is in it; raises ArchiveDamaged."""
    try:
        with _connect() as engine:
            whole = engine.execute(
                f'SELECT count(*), {_FINGERPRINT}, min(run_id), max(run_id), epoch_us(max("at")) FROM read_parquet(?)',
                [str(path)],
            ).fetchone()
            by_run = engine.execute(
                "SELECT run_id, state, count(*) FROM read_parquet(?) GROUP BY ALL", [str(path)]
            ).fetchall()
    except duckdb.Error as error:
        raise ArchiveDamaged(f"{path.name} can't be read: {error}", kept="the rows in PostgreSQL") from error
    if whole is None or not whole[0]:
        raise ArchiveDamaged(f"{path.name} holds no rows", kept="the rows in PostgreSQL")
    sums: dict[UUID, dict[str, int]] = {}
    for run_id, state, count in by_run:
        sums.setdefault(run_id, {})[state] = count
    rows, fingerprint, first_run, last_run, last_us = whole
    return FileFacts(rows, int(fingerprint), first_run, last_run, _moment(last_us), sums)


def rows_of_run(paths: Sequence[Path], wanted: Wanted, amendments: Sequence[Amendment]) -> list[DeliveryRow]:
    """Return rows of one run in the order of their lines; an amendment goes before what the files say."""
    return _select(
        paths,
        "p.run_id = ? AND list_contains(?, coalesce(a.state, p.state)) AND (p.line > ? OR (p.line = ? AND p.place > ?))"
        " ORDER BY p.line, p.place LIMIT ?",
        [wanted.run_id, list(wanted.states), wanted.line, wanted.line, wanted.place, wanted.limit],
        amendments,
    )


def rows_of_guest(
    paths: Sequence[Path], guest_id: UUID, limit: int, amendments: Sequence[Amendment] = ()
) -> list[DeliveryRow]:
    """Return what was sent to a guest, newest first."""
    return _select(paths, 'p.guest_id = ? ORDER BY p."at" DESC LIMIT ?', [guest_id, limit], amendments)


def find(
    paths: Sequence[Path], run_id: UUID, message_id: str, address: str, amendments: Sequence[Amendment]
) -> list[DeliveryRow]:
    """Return the rows of one run with this message id, or else with this address."""
    return _select(
        paths,
        "p.run_id = ? AND ((? <> '' AND p.message_id = ?) OR (? = '' AND p.address = ?))",
        [run_id, message_id, message_id, message_id, address],
        amendments,
    )


def _select(
    paths: Sequence[Path], condition: str, values: list[object], amendments: Sequence[Amendment]
) -> list[DeliveryRow]:
    shown = _SHOWN.format(state="coalesce(a.state, p.state)", answer="coalesce(a.answer, p.answer)")
    with _connect() as engine:
        engine.execute("CREATE TABLE amended (run_id UUID, line BIGINT, place INTEGER, state VARCHAR, answer VARCHAR)")
        for one in amendments:
            engine.execute(
                "INSERT INTO amended VALUES (?, ?, ?, ?, ?)", [one.run_id, one.line, one.place, one.state, one.answer]
            )
        try:
            found = engine.execute(
                f"SELECT {shown} FROM read_parquet(?) p LEFT JOIN amended a USING (run_id, line, place) "
                f"WHERE {condition}",
                [[str(path) for path in paths], *values],
            ).fetchall()
        except duckdb.Error as error:
            raise ArchiveDamaged(f"archived rows can't be read: {error}", kept="the files in the vault") from error
    return [_row(one) for one in found]


def _row(values: tuple[UUID, UUID | None, str, str, str, int, str, int, int]) -> DeliveryRow:
    run_id, guest_id, address, state, answer, microseconds, message_id, line, place = values
    moment = _moment(microseconds)
    return DeliveryRow(run_id, guest_id, address, state, answer, moment, message_id, f"{line}.{place}")


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
