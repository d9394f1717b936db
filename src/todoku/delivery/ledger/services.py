"""What others may change in the ledger: settle an `unknown` by evidence, and move old months to the archive."""

# ruff: noqa: S608 - only our own names of tables and columns are put in, never what somebody gave
from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction

from todoku.delivery.ledger.archive import Archiver, OnStep
from todoku.delivery.ledger.archive_files import ArchiveFiles
from todoku.delivery.ledger.archive_reader import find_in_archive, place_of, row_of
from todoku.delivery.ledger.errors import NotSettled
from todoku.delivery.ledger.types import ArchivedMonth
from todoku.delivery.types import DeliveryRow, RecipientState
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

_PROVABLE = (RecipientState.SENT, RecipientState.REFUSED)


def settle_unknown(
    project_id: str,
    run_id: UUID,
    state: RecipientState,
    *,
    evidence: str,
    seen_at_utc: datetime,
    clock: Clock,
    message_id: str = "",
    address: str = "",
) -> bool:
    """Move one recipient from `unknown` to `sent` or `refused`, exactly once; return whether this call did it.

    message_id, or address when there is none: who. evidence: what proves it, for people ("opened 2026-11-21 12:04",
    "bounce 5.1.1 from mx.example.com", "the guest told the shop"); kept in the answer, beside what was there before.
    Row, sums and evidence change in one transaction. False when nobody of that name is unknown (any more), so the same
    event may come again. Raises NotSettled for another state, and when an address is unknown twice in the run.
    """
    if state not in _PROVABLE:
        raise NotSettled(f"evidence can prove sent or refused, not {state.value}", kept="the recipient as it is")
    if not message_id and not address:
        raise NotSettled("neither a message id nor an address was given", kept="the recipient as it is")
    with transaction.atomic():
        found, archived = _find(project_id, run_id, message_id, address)
        if found is None:
            return False
        line, place = place_of(found)
        answer = f"{found.answer} | {evidence}" if found.answer else evidence
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO delivery_evidence (run_id, line, place, project_id, state, answer, evidence, seen_at,"
                " settled_at, archived) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    run_id,
                    line,
                    place,
                    project_id,
                    state.value,
                    answer,
                    evidence,
                    seen_at_utc,
                    clock.now_utc(),
                    archived,
                ],
            )
            if not cursor.rowcount:
                return False
            if not archived:
                cursor.execute(
                    "UPDATE delivery SET state = %s, answer = %s WHERE run_id = %s AND line = %s AND place = %s",
                    [state.value, answer, run_id, line, place],
                )
            cursor.execute(
                f"UPDATE run_tally SET unknown = unknown - 1, {state.value} = {state.value} + 1"
                " WHERE project_id = %s AND run_id = %s",
                [project_id, run_id],
            )
    log.info("ledger.unknown_settled", run_id=str(run_id), line=line, place=place, state=state.value)
    return True


def archive(
    older_than_months: int, *, clock: Clock, files: ArchiveFiles | None = None, on_step: OnStep = lambda step: None
) -> list[ArchivedMonth]:
    """Move months that ended so long ago (3 at least) to the vault; see `archive.Archiver`. Not in an event loop."""
    return Archiver(files or ArchiveFiles(), clock, on_step=on_step).archive(older_than_months)


def _find(project_id: str, run_id: UUID, message_id: str, address: str) -> tuple[DeliveryRow | None, bool]:
    """Return the recipient, its row locked, and whether it is archived; None when nobody there is unknown."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, guest_id, address, state, answer, at, message_id, line, place FROM delivery"
            " WHERE run_id = %s AND state = 'unknown' AND state <> 'sent' AND project_id = %s AND "
            + ("message_id = %s" if message_id else "address = %s")
            + " ORDER BY line, place LIMIT 2 FOR UPDATE",
            [run_id, project_id, message_id or address],
        )
        rows = [row_of(values) for values in cursor.fetchall()]
    archived = not rows
    if archived:
        rows = [row for row in find_in_archive(project_id, run_id, message_id, address) if row.state == "unknown"]
    if len(rows) > 1:
        raise NotSettled(
            f"{len(rows)} recipients of run {run_id} at that address are unknown", kept="all of them", todo="name one"
        )
    return (rows[0] if rows else None), archived
