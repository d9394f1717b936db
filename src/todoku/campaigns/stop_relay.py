"""Tell senders of everybody who said stop after a seal, and forget it when every seal knows.

The page that takes an unsubscribe tells the bus at once; this is the second way, for a bus that was away at that
moment and for stops that come by other doors (imports, bounces, commands).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import RevisionConflict
from todoku.bus.streams import STOPS_BUCKET
from todoku.bus.types import StoredMessage
from todoku.campaigns.database_thread import DatabaseThread
from todoku.delivery.engine.runs import put_stop
from todoku.guests import queries as guest_queries

log = structlog.get_logger(__name__)

BEFORE_SEAL = timedelta(hours=1)  # a seal of millions reads its audience long before it is sealed
OVERLAP = timedelta(seconds=30)  # a suppression's time is the writer's clock, its commit comes later
EVERY = timedelta(seconds=1)
SWEEP_EVERY = timedelta(minutes=10)
_MOST_SWEPT = 1_000  # at a time, so that the planner's other work waits for a second at most


class StopRelay:
    """Remembers for each project up to when stops were passed on; a new one begins an hour before its oldest seal."""

    def __init__(self, bus: Bus, database: DatabaseThread) -> None:
        self._bus = bus
        self._database = database
        self._looked_at: datetime | None = None
        self._swept_at: datetime | None = None
        self._known_since: dict[str, datetime] = {}
        self._passed_on: set[tuple[str, str]] = set()

    async def pass_on(self, frozen_at: Mapping[str, datetime], now_utc: datetime) -> None:
        """Put stops newer than the last look into KV `stops`; one statement a second for all projects.

        frozen_at: by project, when its oldest open seal was made. Raises BusError and database errors, for a next try.
        """
        if self._looked_at is not None and timedelta(0) <= now_utc - self._looked_at < EVERY:
            return
        since = {}
        for project_id, moment in frozen_at.items():
            known = self._known_since.get(project_id)
            looked_at = self._looked_at if known is not None and known <= moment else None
            since[project_id] = moment - BEFORE_SEAL if looked_at is None else looked_at - OVERLAP
        stops = await self._database(guest_queries.suppressed_lately, since)
        for project_id, address, reason in stops:
            if (project_id, address) not in self._passed_on:
                await put_stop(self._bus, project_id, address, reason)
                log.info("run.stop_passed_on", project_id=project_id, reason=reason)
        self._passed_on = {(project_id, address) for project_id, address, _reason in stops}
        self._known_since = dict(frozen_at)
        self._looked_at = now_utc

    async def sweep(self, frozen_at: Mapping[str, datetime], now_utc: datetime) -> None:
        """Remove stops that every open seal of their project knows of, so that KV `stops` does not grow for ever.

        One that was put again meanwhile stays. A stop of a project without an open seal is kept for an hour: a seal
        may be under way. Raises BusError.
        """
        if self._swept_at is not None and timedelta(0) <= now_utc - self._swept_at < SWEEP_EVERY:
            return
        bucket = self._bus.bucket(STOPS_BUCKET)
        old: list[tuple[str, int]] = []
        markers: list[StoredMessage] = []
        async for message, deleted in self._bus.messages_with_headers(bucket.stream, bucket.every_subject):
            key = bucket.key_of(message.subject)
            before = now_utc if deleted else frozen_at.get(key.partition(".")[0], now_utc)
            if message.published_at_utc >= before - BEFORE_SEAL:
                continue
            if deleted:
                markers.append(message)
            else:
                old.append((key, message.sequence))
            if len(old) + len(markers) >= _MOST_SWEPT:
                break
        for key, revision in old:
            with suppress(RevisionConflict):  # somebody said stop again just now
                await bucket.delete_revision(key, revision)
        for marker in markers:  # senders have heard long ago
            await self._bus.purge(bucket.stream, marker.subject, below_sequence=marker.sequence + 1)
        if old:
            log.info("run.stops_forgotten", number=len(old))
        if len(old) + len(markers) < _MOST_SWEPT:
            self._swept_at = now_utc
