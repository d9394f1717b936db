"""Reads of archived months, beside what PostgreSQL still holds of them. Sync; each within one project."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from todoku.delivery.ledger.archive_files import ArchiveFiles
from todoku.delivery.ledger.types import Amendment
from todoku.delivery.types import DeliveryRow, RecipientState

_OF_RUN = (
    "SELECT vault_key FROM archive_part WHERE counts AND project_id = %s AND %s BETWEEN first_run AND last_run"
    " AND EXISTS (SELECT FROM archive_run r WHERE r.part_id = archive_part.id AND r.run_id = %s) ORDER BY id"
)
_AMENDED = "SELECT run_id, line, place, state, answer FROM delivery_evidence WHERE archived AND run_id = ANY(%s)"


def keys_of_run(project_id: str, run_id: UUID) -> list[str]:
    """Return where archived rows of the run lie; [] when none are archived."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_RUN, [project_id, run_id, run_id])
        return [key for (key,) in cursor.fetchall()]


def run_page(
    keys: Sequence[str], run_id: UUID, states: Sequence[RecipientState], after: tuple[int, int], limit: int
) -> list[DeliveryRow]:
    """Return archived rows of a run in these states after (line, place), in order."""
    from todoku.delivery.ledger import parquet  # 60 MB of library, for few questions

    wanted = parquet.Wanted(run_id, [state.value for state in states], after[0], after[1], limit)
    return parquet.rows_of_run(ArchiveFiles().fetch(keys), wanted, _amendments([run_id]))


def guest_page(project_id: str, guest_id: UUID, found: Sequence[DeliveryRow], limit: int) -> list[DeliveryRow]:
    """Return the newest `limit` rows of a guest; found: what PostgreSQL says, newest first.

    Parts are looked at from the newest on, and only as long as they may hold something newer than what was found.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT vault_key, last_at FROM archive_part WHERE counts AND project_id = %s ORDER BY last_at DESC",
            [project_id],
        )
        parts: list[tuple[str, datetime]] = cursor.fetchall()
    rows = {(row.run_id, row.cursor): row for row in reversed(found)}
    for key, last_at_utc in parts:
        newest = sorted(rows.values(), key=lambda row: row.at_utc, reverse=True)
        if len(newest) >= limit and newest[limit - 1].at_utc > last_at_utc:
            break
        from todoku.delivery.ledger import parquet

        paths = ArchiveFiles().fetch([key])
        archived = parquet.rows_of_guest(paths, guest_id, limit)
        amendments = _amendments({row.run_id for row in archived})
        if amendments:
            archived = parquet.rows_of_guest(paths, guest_id, limit, amendments)
        rows = {(row.run_id, row.cursor): row for row in archived} | rows
    return sorted(rows.values(), key=lambda row: row.at_utc, reverse=True)[:limit]


def find_in_archive(project_id: str, run_id: UUID, message_id: str, address: str) -> list[DeliveryRow]:
    """Return archived rows of a run with this message id, or else this address, as they are shown today."""
    keys = keys_of_run(project_id, run_id)
    if not keys:
        return []
    from todoku.delivery.ledger import parquet

    return parquet.find(ArchiveFiles().fetch(keys), run_id, message_id, address, _amendments([run_id]))


def merge(ours: Sequence[DeliveryRow], archived: Sequence[DeliveryRow], limit: int) -> list[DeliveryRow]:
    """Return both in the order of their lines, each row once: a month may leave between the two reads."""
    rows = {row.cursor: row for row in archived} | {row.cursor: row for row in ours}
    return sorted(rows.values(), key=place_of)[:limit]


def row_of(values: tuple[UUID, UUID | None, str, str, str, datetime, str, int, int]) -> DeliveryRow:
    """Return the row that the columns run, guest, address, state, answer, at, message, line, place say."""
    run_id, guest_id, address, state, answer, at_utc, message_id, line, place = values
    return DeliveryRow(run_id, guest_id, address, state, answer, at_utc, message_id, f"{line}.{place}")


def place_of(row: DeliveryRow) -> tuple[int, int]:
    """Return (line, place) of a row."""
    line, _, place = row.cursor.partition(".")
    return int(line), int(place)


def _amendments(run_ids: set[UUID] | list[UUID]) -> list[Amendment]:
    with connection.cursor() as cursor:
        cursor.execute(_AMENDED, [list(run_ids)])
        return [Amendment(*values) for values in cursor.fetchall()]
