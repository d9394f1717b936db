"""Names of those whom a stopped run left pending.

The ledger knows who got an outcome; the others stand only in the run's batches on the bus. So whoever clears the bus
of a stopped run writes them here first: `keep`, then close. Repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from uuid import UUID

from django.db import connection, transaction

from todoku.campaigns.models import Run, Undelivered
from todoku.delivery.ledger import queries as ledger

_CHUNK = 500
_PAGE = 5_000


def keep(project_id: str, run_id: UUID, people: Iterable[tuple[UUID, str]]) -> int:
    """Write everybody of the counting seal's batches (guest id, address) whom the ledger does not have; the number.

    Call it after the projector has caught up with the run. One COPY into a temporary table, those whom the ledger has
    beside it, one anti-join; constant memory. All or nothing; a second time writes nothing and returns 0. Raises
    database errors.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        row = Run.objects.filter(project_id=project_id, id=run_id, undelivered_kept=False)
        if not row.exists():
            return 0
        cursor.execute("CREATE TEMPORARY TABLE left_over (guest_id uuid, address text) ON COMMIT DROP")
        with cursor.copy("COPY left_over FROM STDIN") as copy:
            for guest_id, address in people:
                copy.write_row((guest_id, address))
        cursor.execute("CREATE TEMPORARY TABLE decided (guest_id uuid) ON COMMIT DROP")
        known = (str(row.guest_id) for row in ledger.run_rows(project_id, run_id) if row.guest_id is not None)
        while page := list(islice(known, _PAGE)):
            cursor.execute("INSERT INTO decided SELECT unnest(%s::uuid[])", [page])
        if row.update(undelivered_kept=True) != 1:  # locks the run only now: collecting millions takes a while
            return 0
        cursor.execute(
            "INSERT INTO campaigns_undelivered (project_id, run_id, guest_id, address) "
            "SELECT %s, %s, l.guest_id, l.address FROM left_over l "
            "WHERE NOT EXISTS (SELECT 1 FROM decided d WHERE d.guest_id = l.guest_id)",
            [project_id, run_id],
        )
        return int(cursor.rowcount)


def stream(project_id: str, run_id: UUID) -> Iterator[list[tuple[UUID, str]]]:
    """Yield (guest id, address) of those left pending, in chunks of 500, in the order of the batches."""
    rows = Undelivered.objects.filter(project_id=project_id, run_id=run_id).order_by("id")
    last = 0
    while chunk := list(rows.filter(id__gt=last).values_list("id", "guest_id", "address")[:_CHUNK]):
        last = chunk[-1][0]
        yield [(guest_id, address) for _id, guest_id, address in chunk]


def is_kept(run: Run) -> bool:
    """Tell whether the names of those left pending are known."""
    return run.undelivered_kept
