"""The two sides of a source, day by day: what it lists itself, and what the books have of it.

A mail is known by the source's own name for it. Days are those of the source's clock in the project's time zone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Count, Max
from django.db.models.functions import TruncDate

from todoku.intake.models import IncomingMail, SourceCheck, SourceDay
from todoku.intake.types import MailState
from todoku.sources.types import Listed

ON_ITS_WAY: Final = timedelta(minutes=2)  # so young that the collector may have it in hand
MOST_NAMES: Final = 1_000
_LONGEST_CURSOR: Final = 600  # of up to 4 octets each: an index of PostgreSQL holds 2,704


@dataclass(slots=True)
class DayCount:
    """One day: seen = arrived + pending + len(missing). surplus: in the books, and not at the source any more."""

    seen: int = 0
    arrived: int = 0
    pending: int = 0
    missing: list[str] = field(default_factory=list)
    surplus: int = 0


@dataclass(frozen=True, slots=True)
class SourceDayRow:
    """One day as pages show it; states: of the mails in the books, those of the source's surplus among them."""

    day: date | None
    seen: int
    arrived: int
    pending: int
    missing: int
    surplus: int
    names: tuple[str, ...]
    reconciled_at_utc: datetime
    states: Mapping[MailState, int]


def cursor_text(key: str) -> str:
    """Return how a row keeps a source's name for a mail: long ones shortened, with a digest in place of the rest."""
    clean = key.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")
    if len(clean) <= _LONGEST_CURSOR:
        return clean
    return f"{clean[: _LONGEST_CURSOR - 65]}~{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def compare(
    listed: Iterable[Listed],
    on_bus: Iterable[bool],
    in_books: Mapping[str, datetime | None],
    now_utc: datetime,
    zone: str,
) -> dict[date | None, DayCount]:
    """Return the counts by day. Pure.

    listed: the source's whole listing, made before the other two were asked. on_bus: of each of these, whether its
    arrival is on the bus. in_books: each cursor with a row, and when the source got it.
    """
    days: dict[date | None, DayCount] = defaultdict(DayCount)
    here = ZoneInfo(zone)
    left = dict(in_books)
    for one, arrived in zip(listed, on_bus, strict=True):
        count = days[_day(one.at_utc, here)]
        count.seen += 1
        cursor = cursor_text(one.key)
        if cursor in in_books:
            count.arrived += 1
            left.pop(cursor, None)
        elif arrived or (one.at_utc is not None and now_utc - one.at_utc < ON_ITS_WAY):
            count.pending += 1
        else:
            count.missing.append(one.key)
    for at_utc in left.values():
        days[_day(at_utc, here)].surplus += 1
    return dict(days)


def cursors_in_books(project_id: str, source: str) -> dict[str, datetime | None]:
    """Return each of the source's mails that has a row, with the source's own time for it."""
    rows = IncomingMail.objects.filter(project_id=project_id, source=source).exclude(cursor="").order_by()
    return dict(rows.values_list("cursor").annotate(at=Max("at_source")).iterator())


def claim(project_id: str, source: str, seen_utc: datetime | None, now_utc: datetime) -> bool:
    """Let this process reconcile the source now, when nobody began since seen_utc; compare-and-set."""
    if seen_utc is None:
        _, made = SourceCheck.objects.get_or_create(
            project_id=project_id, source=source, defaults={"tried_at": now_utc, "why": "under way"}
        )
        return made
    rows = SourceCheck.objects.filter(project_id=project_id, source=source, tried_at=seen_utc)
    return rows.update(tried_at=now_utc) == 1


def save(project_id: str, source: str, days: Mapping[date | None, DayCount], now_utc: datetime) -> None:
    """Write what a reconciliation found; days that neither side knows any more stay as they were."""
    rows = [
        SourceDay(
            project_id=project_id,
            source=source,
            day=day,
            seen=count.seen,
            arrived=count.arrived,
            pending=count.pending,
            missing=len(count.missing),
            surplus=count.surplus,
            names=[cursor_text(name) for name in count.missing[:MOST_NAMES]],
            reconciled_at=now_utc,
        )
        for day, count in days.items()
    ]
    with transaction.atomic():
        mine = SourceDay.objects.filter(project_id=project_id, source=source)
        mine.filter(day__in=[row.day for row in rows if row.day is not None]).delete()
        mine.filter(day=None).delete()
        SourceDay.objects.bulk_create(rows, batch_size=1_000)
        SourceCheck.objects.filter(project_id=project_id, source=source).update(succeeded_at=now_utc, why="")


def save_failure(project_id: str, source: str, why: str) -> None:
    """Write why a reconciliation was not possible; the days before stay as they were."""
    SourceCheck.objects.filter(project_id=project_id, source=source).update(why=why[:2_000])


def checks(project_id: str) -> dict[str, tuple[datetime, datetime | None, str]]:
    """Return of each source when it was last tried, when that last succeeded, and why not."""
    rows = SourceCheck.objects.filter(project_id=project_id)
    return {row.source: (row.tried_at, row.succeeded_at, row.why) for row in rows}


def totals(project_id: str) -> dict[str, DayCount]:
    """Return the sums over all days of each source; missing: names of them, newest days first."""
    sums: dict[str, DayCount] = defaultdict(DayCount)
    for row in SourceDay.objects.filter(project_id=project_id).order_by("-day"):
        one = sums[row.source]
        one.seen += row.seen
        one.arrived += row.arrived
        one.pending += row.pending
        one.surplus += row.surplus
        one.missing.extend(row.names)
    return dict(sums)


def days(project_id: str, source: str, zone: str, *, limit: int = 60) -> list[SourceDayRow]:
    """Return the newest days of a source with the states of their mails; two statements."""
    kept = list(SourceDay.objects.filter(project_id=project_id, source=source).order_by("-day")[:limit])
    mails = IncomingMail.objects.filter(project_id=project_id, source=source).exclude(cursor="").order_by()
    by_day = mails.annotate(day=TruncDate("at_source", tzinfo=ZoneInfo(zone)))
    states: dict[date | None, dict[MailState, int]] = defaultdict(dict)
    for day, state, count in by_day.values_list("day", "state").annotate(count=Count("arrival_id")):
        states[day][MailState(state)] = count
    return [
        SourceDayRow(
            day=row.day,
            seen=row.seen,
            arrived=row.arrived,
            pending=row.pending,
            missing=row.missing,
            surplus=row.surplus,
            names=tuple(row.names),
            reconciled_at_utc=row.reconciled_at,
            states=states.get(row.day, {}),
        )
        for row in kept
    ]


def _day(at_utc: datetime | None, zone: ZoneInfo) -> date | None:
    return at_utc.astimezone(zone).date() if at_utc is not None else None
