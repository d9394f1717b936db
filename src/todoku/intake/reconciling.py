"""Count from the other side: each source lists what it has, and each of its mails must be in the books.

STRATEGY  The listing comes first, then the bus, then the books: whatever arrives in between can only be too much on our
          side, never missing. Nothing is fetched and nothing is corrected here; the collector, which trusts neither
          flags nor positions, fetches what has not arrived at its next look.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import DatabaseError, InterfaceError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.credentials.errors import CredentialError
from todoku.credentials.inventory import CredentialBook
from todoku.intake import source_days
from todoku.intake.database import ask
from todoku.intake.errors import BookUnavailable
from todoku.intake.source_days import DayCount
from todoku.kernel.clock import Clock
from todoku.kernel.waiting import rest
from todoku.projects import queries as projects
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.credentials import Credential, NotedKeyring
from todoku.sources.errors import SourceError
from todoku.sources.kinds import open_source
from todoku.sources.registry import WEBHOOK, SourceBook, SourceEntry
from todoku.sources.standing import Standing, read_standings
from todoku.sources.types import Fetch, Listed

log = structlog.get_logger(__name__)

RECONCILE_EVERY: Final = timedelta(hours=1)
AFTER_TROUBLE: Final = timedelta(minutes=5)  # a reconciliation that failed is tried again
LOOK_EVERY_SECONDS: Final = 30.0


class Reconciler:
    """Reconciles every source of every project: hourly, and after each of its outages."""

    def __init__(self, bus: Bus, inventory: CredentialBook, clock: Clock) -> None:
        self._bus = bus
        self._inventory = inventory
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until stop is set; a database or a bus that is away is waited for."""
        while not stop.is_set():
            try:
                await self.reconcile_due(stop)
            except (BookUnavailable, DatabaseError, InterfaceError, BusError) as error:
                log.warning("source.reconciliation_waits", error=str(error).splitlines()[0] if str(error) else "")
            await rest(stop, LOOK_EVERY_SECONDS)

    async def reconcile_due(self, stop: asyncio.Event) -> int:
        """Reconcile what is due, one after the other; return how many were."""
        count = 0
        for project_id in await ask(projects.list_project_ids):
            checks = await ask(source_days.checks, project_id)
            standings = await read_standings(self._bus, project_id)
            for entry in await SourceBook(self._bus).list(project_id):
                tried_utc, succeeded_utc, why = checks.get(entry.source, (None, None, ""))
                now_utc = self._clock.now_utc()
                standing = standings.get(entry.source)
                if (
                    stop.is_set()
                    or entry.paused
                    or entry.kind == WEBHOOK
                    or not _due(standing, tried_utc, succeeded_utc, why, now_utc)
                ):
                    continue
                if await ask(source_days.claim, project_id, entry.source, tried_utc, now_utc):
                    await self.reconcile(entry)
                    count += 1
        return count

    async def reconcile(self, entry: SourceEntry) -> dict[str, int] | None:
        """Reconcile one source now; return the sums, None when the source could not be asked (which is kept)."""
        names = {"project_id": entry.project_id, "source": entry.source}
        try:
            listed = await self._listing(entry)
        except SourceError as error:
            await ask(source_days.save_failure, entry.project_id, entry.source, error.what)
            log.warning("source.not_reconciled", **names, error=error.what)
            return None
        keys = await ArrivedKeys.load(self._bus, entry.project_id, entry.source)
        on_bus = [one.key in keys for one in listed]
        in_books = await ask(source_days.cursors_in_books, entry.project_id, entry.source)
        zone = (await ask(projects.get_project, entry.project_id)).time_zone
        now_utc = self._clock.now_utc()
        days = await asyncio.to_thread(source_days.compare, listed, on_bus, in_books, now_utc, zone)
        await ask(source_days.save, entry.project_id, entry.source, days, now_utc)
        sums = _sums(list(days.values()))
        (log.error if sums["missing"] else log.info)("source.reconciled", **names, **sums)
        return sums

    async def _listing(self, entry: SourceEntry) -> list[Listed]:
        credentials: list[Credential] = []
        for credential_id in entry.credential_ids:
            try:
                credentials.append(await self._inventory.open(entry.project_id, credential_id))
            except CredentialError as error:
                log.warning("source.credential_left_out", source=entry.source, error=error.what)
        source = open_source(entry, NotedKeyring(credentials), self._clock)
        try:
            return [one async for one in source.list_mails()]
        finally:
            await source.close()


def _due(
    standing: Standing | None, tried_utc: datetime | None, succeeded_utc: datetime | None, why: str, now_utc: datetime
) -> bool:
    if tried_utc is None:
        return True
    if why:
        return now_utc - tried_utc >= AFTER_TROUBLE
    recovered_utc = standing.since_utc if standing is not None and _fetches(standing) else None
    if recovered_utc is not None and succeeded_utc is not None and recovered_utc > succeeded_utc:
        return True
    return now_utc - tried_utc >= RECONCILE_EVERY


def _fetches(standing: Standing) -> bool:
    return standing.look is not None and standing.look.outcome is Fetch.FETCHED


def _sums(days: list[DayCount]) -> dict[str, int]:
    return {
        "seen": sum(day.seen for day in days),
        "arrived": sum(day.arrived for day in days),
        "pending": sum(day.pending for day in days),
        "missing": sum(len(day.missing) for day in days),
        "surplus": sum(day.surplus for day in days),
    }
