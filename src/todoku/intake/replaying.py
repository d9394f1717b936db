"""Read mails again that are in the books already: after a rule was mended, say what would change, then do it.

STRATEGY  The bytes come from the vault, the reading is today's, and the difference is taken against the row and what
          the book holds of the mail, value by value. Amending is one transaction for each mail: replaying anything, any
          number of times, changes nothing that is right. What reading has no say in (quarantine, the same bytes as
          another mail) is read and never moved. A batch at a time, oldest first, so that whoever does it can stop and
          go on at a place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from todoku.intake import store
from todoku.intake.amending import amend
from todoku.intake.database import ask
from todoku.intake.differences import Difference, Known, difference
from todoku.intake.extracting import ReadOutcome
from todoku.intake.fates import Fate, Received, decide, site_of_address
from todoku.intake.kept import portions, read_kept
from todoku.intake.models import IncomingMail
from todoku.intake.types import MailState
from todoku.reservations import queries as reservation_queries
from todoku.reservations import services as reservation_services
from todoku.reservations.errors import ImpossibleFacts
from todoku.sources.types import Arrival
from todoku.vault.types import Vault

BATCH: Final = 100
MOST_TOLD: Final = 1_000
"""How many differences are kept one by one; of more, the counts by kind say how many there are."""

OLDER: Final = "older"
"""Chosen.rules: whatever today's rules have not read."""

Place = tuple[datetime, UUID]
"""Where a replay stands: behind the mail that arrived at this moment under this id."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which mails to read again; None = whatever. until_utc: exclusive.

    rules: OLDER, or the version by which they were read; its first characters are enough.
    """

    since_utc: datetime | None = None
    until_utc: datetime | None = None
    source: str | None = None
    site: str | None = None
    shop_code: str | None = None
    state: MailState | None = None
    rules: str | None = None


@dataclass(slots=True)
class Replay:
    """read = differing + same + unread. amended: mails that were changed, 0 in a dry run.

    kinds: how many went from which state to which. different: the first MOST_TOLD.
    """

    read: int = 0
    same: int = 0
    unread: int = 0
    differing: int = 0
    amended: int = 0
    kinds: Counter[tuple[MailState, MailState]] = field(default_factory=Counter)
    different: list[Difference] = field(default_factory=list)

    def add(self, other: Replay) -> None:
        """Add what another part of the same replay came to."""
        self.read += other.read
        self.same += other.same
        self.unread += other.unread
        self.differing += other.differing
        self.amended += other.amended
        self.kinds += other.kinds
        self.different += other.different[: MOST_TOLD - len(self.different)]


async def replay(
    vault: Vault, project_id: str, chosen: Chosen, *, apply: bool, progress: Callable[[int], None] | None = None
) -> Replay:
    """Read the chosen mails again, oldest first; raises BookUnavailable. What the vault can't give now is `unread`."""
    report = Replay()
    place: Place | None = None
    while True:
        batch, place = await replay_batch(vault, project_id, chosen, place, apply=apply)
        if place is None:
            return report
        report.add(batch)
        if progress is not None:
            progress(report.read)


async def replay_batch(
    vault: Vault, project_id: str, chosen: Chosen, place: Place | None, *, apply: bool
) -> tuple[Replay, Place | None]:
    """Read the next mails behind a place again (None = the first); return what came of them, and where that ends.

    The place is None when none is left. Doing a batch again changes nothing. Raises BookUnavailable.
    """
    rows = await ask(_page, project_id, chosen, place)
    report = Replay()
    for some in portions([row.size_bytes for row in rows]):
        arrivals = [_arrival(row) for row in rows[some]]
        outcomes = await read_kept(vault, arrivals)
        report.add(await ask(_compare, project_id, rows[some], outcomes, apply))
    return report, (rows[-1].arrived_at, rows[-1].arrival_id) if rows else None


def count(project_id: str, chosen: Chosen) -> int:
    """Return how many mails these are; one statement."""
    return _rows(project_id, chosen).count()


def _compare(
    project_id: str, rows: Sequence[IncomingMail], outcomes: Sequence[ReadOutcome | None], apply: bool
) -> Replay:
    report = Replay(read=len(rows), unread=sum(outcome is None for outcome in outcomes))
    stated = reservation_queries.stated_by(project_id, [row.arrival_id for row in rows])
    amended: list[tuple[Received, Fate]] = []
    same: dict[UUID, str] = {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome is None:
            continue
        received = Received(row.stream_sequence, project_id, _arrival(row), outcome)
        fate = _fate(received)
        known = Known(row.arrival_id, row.subject, MailState(row.state), row.reason, stated.get(row.arrival_id))
        found = difference(known, fate)
        if found is None:
            same[row.arrival_id] = outcome.rules
            continue
        report.differing += 1
        report.kinds[found.before, found.after] += 1
        report.different.append(found)
        amended.append((received, fate))
    report.same = len(same)
    if apply:
        report.amended = amend(project_id, amended) if amended else 0
        store.note_rules(project_id, same)
    return report


def _fate(received: Received) -> Fate:
    """Return where the mail would end today, with what it states as the book would hold it."""
    fate = decide(received, project_known=True)
    if fate.notification is None:
        return fate
    try:
        return Fate(fate.state, fate.reason, reservation_services.require_possible(fate.notification))
    except ImpossibleFacts as error:
        return Fate(MailState.UNREADABLE, f"impossible:{error.field}")


def _page(project_id: str, chosen: Chosen, place: Place | None) -> list[IncomingMail]:
    rows = _rows(project_id, chosen)
    if place is not None:
        rows = rows.filter(arrived_at__gte=place[0]).exclude(arrived_at=place[0], arrival_id__lte=place[1])
    return list(rows.order_by("arrived_at", "arrival_id")[:BATCH])


def _rows(project_id: str, chosen: Chosen) -> QuerySet[IncomingMail]:
    given = {
        "arrived_at__gte": chosen.since_utc,
        "arrived_at__lt": chosen.until_utc,
        "source": chosen.source,
        "site": chosen.site,
        "shop_code": chosen.shop_code,
        "state": chosen.state.value if chosen.state is not None else None,
    }
    rows = IncomingMail.objects.filter(project_id=project_id)
    rows = rows.filter(**{name: value for name, value in given.items() if value is not None})
    if chosen.rules == OLDER:
        return rows.exclude(rules__in=todays_rules())
    return rows.filter(rules__startswith=chosen.rules) if chosen.rules else rows


def todays_rules() -> tuple[str, ...]:
    """Return the versions of the rules that read mails today: one for each site, and one for mails of none."""
    from todoku.extraction import rules_version, sites  # here: pages use this room's queries and need no engine

    return (rules_version(None), *(rules_version(site.id) for site in sites()))


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
        site=site_of_address(row.reason),
        shop_code=row.shop_code,
        cursor=row.cursor,
        at_source_utc=row.at_source,
    )
