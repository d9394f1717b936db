"""Read mails again that are in the books already: after a rule was mended, say what would change, then do it.

STRATEGY  The bytes come from the vault, the reading is today's, and the difference is taken against the row. Applying
          is compare-and-set on the row's state, in one transaction with book and guests: replaying anything, any number
          of times, changes nothing that is right. What a person or the book has settled (quarantined, applied, stale,
          duplicate, held) is read and told of, and never moved by this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from django.db import close_old_connections

from todoku.intake import recording
from todoku.intake.extracting import RawMail, ReadOutcome, read_one
from todoku.intake.fates import Fate, Received, decide
from todoku.intake.models import IncomingMail
from todoku.intake.types import MailState
from todoku.sources.types import Arrival
from todoku.vault.errors import VaultCorrupt, VaultError, VaultMissing
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

BATCH: Final = 100
MOVED: Final = (MailState.UNKNOWN_LAYOUT, MailState.UNREADABLE, MailState.NOT_A_RESERVATION)  # states that reading gave


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which mails to read again; None = whatever. until_utc: exclusive."""

    since_utc: datetime | None = None
    until_utc: datetime | None = None
    source: str | None = None
    site: str | None = None
    shop_code: str | None = None
    state: MailState | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A mail that would end otherwise today. reference: of the booking that it is about, when it is about one."""

    arrival_id: UUID
    subject: str
    before: MailState
    reason_before: str
    after: MailState
    reason_after: str
    reference: str = ""


@dataclass(slots=True)
class Replay:
    """read = len(different) + same + unread. applied: rows that were moved; 0 in a dry run."""

    read: int = 0
    same: int = 0
    unread: int = 0
    different: list[Difference] = field(default_factory=list)
    applied: int = 0


async def replay(
    vault: Vault, project_id: str, chosen: Chosen, *, apply: bool, progress: Callable[[int], None] | None = None
) -> Replay:
    """Read the chosen mails again, oldest first; raises BookUnavailable. What the vault can't give now is `unread`."""
    report = Replay()
    after: tuple[datetime, UUID] | None = None
    while True:
        rows = await asyncio.to_thread(_page, project_id, chosen, after)
        if not rows:
            return report
        after = rows[-1].arrived_at, rows[-1].arrival_id
        again = []
        for row in rows:
            report.read += 1
            outcome = await _read(vault, row)
            if outcome is None:
                report.unread += 1
                continue
            received = Received(row.stream_sequence, project_id, _arrival(row), outcome)
            fate = decide(received, project_known=True)
            if _same(row, fate):
                report.same += 1
                continue
            report.different.append(_difference(row, fate))
            again.append(received)
        if apply and again:
            report.applied += await asyncio.to_thread(recording.record_again, project_id, again, MOVED)
        if progress is not None:
            progress(report.read)


async def _read(vault: Vault, row: IncomingMail) -> ReadOutcome | None:
    try:
        content = await vault.get(row.vault_key)
    except (VaultMissing, VaultCorrupt) as error:
        return ReadOutcome(None, "bytes_missing" if isinstance(error, VaultMissing) else "bytes_corrupt")
    except (VaultError, OSError, ValueError) as error:
        log.warning("mail.not_read_again", arrival_id=str(row.arrival_id), error=str(error))
        return None
    return await asyncio.to_thread(read_one, RawMail(str(row.arrival_id), content, row.arrived_at))


def _page(project_id: str, chosen: Chosen, after: tuple[datetime, UUID] | None) -> list[IncomingMail]:
    close_old_connections()
    states = (chosen.state,) if chosen.state is not None else MOVED
    rows = IncomingMail.objects.filter(project_id=project_id, state__in=[state.value for state in states])
    given = {
        "arrived_at__gte": chosen.since_utc,
        "arrived_at__lt": chosen.until_utc,
        "source": chosen.source,
        "site": chosen.site,
        "shop_code": chosen.shop_code,
    }
    rows = rows.filter(**{name: value for name, value in given.items() if value is not None})
    if after is not None:
        rows = rows.filter(arrived_at__gte=after[0]).exclude(arrived_at=after[0], arrival_id__lte=after[1])
    try:
        return list(rows.order_by("arrived_at", "arrival_id")[:BATCH])
    finally:
        close_old_connections()


def _arrival(row: IncomingMail) -> Arrival:
    return Arrival(
        arrival_id=row.arrival_id,
        project_id=row.project_id,
        source=row.source,
        vault_key=row.vault_key,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        received_at_utc=row.arrived_at,
        rcpt_to=row.rcpt_to,
        shop_code=row.shop_code,
        cursor=row.cursor,
        at_source_utc=row.at_source,
    )


def _same(row: IncomingMail, fate: Fate) -> bool:
    """Tell whether the mail would end as it did. A notification belongs to the book: its row says how it took it."""
    state = MailState(row.state)
    if fate.notification is not None:
        return state not in MOVED
    return state is fate.state and row.reason == fate.reason[:200]


def _difference(row: IncomingMail, fate: Fate) -> Difference:
    notification = fate.notification
    return Difference(
        arrival_id=row.arrival_id,
        subject=row.subject,
        before=MailState(row.state),
        reason_before=row.reason,
        after=MailState.APPLIED if notification is not None else fate.state,
        reason_after="" if notification is not None else fate.reason,
        reference=notification.facts.reference if notification is not None else "",
    )
