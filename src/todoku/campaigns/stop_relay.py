"""Tell senders of everybody who said stop after a seal.

The page that takes an unsubscribe tells the bus at once; this is the second way, for a bus that was away at that
moment and for stops that come by other doors (imports, bounces, commands).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from todoku.bus.connection import Bus
from todoku.delivery.engine.runs import put_stop
from todoku.guests import queries as guest_queries

log = structlog.get_logger(__name__)

BEFORE_SEAL = timedelta(hours=1)  # a seal of millions reads its audience long before it is sealed
OVERLAP = timedelta(seconds=30)  # a suppression's time is the writer's clock, its commit comes later
EVERY = timedelta(seconds=1)


class _Database(Protocol):
    def __call__(
        self, call: Callable[[str, datetime], list[tuple[str, str]]], project_id: str, since_utc: datetime, /
    ) -> Awaitable[list[tuple[str, str]]]: ...


class StopRelay:
    """Remembers for each project up to when stops were passed on; a new one begins an hour before the seal."""

    def __init__(self, bus: Bus, database: _Database) -> None:
        self._bus = bus
        self._database = database
        self._looked_at: dict[str, datetime] = {}
        self._passed_on: dict[str, set[str]] = {}

    async def pass_on(self, project_id: str, sealed_at_utc: datetime, now_utc: datetime) -> None:
        """Put stops newer than the last look into KV `stops`; raises BusError and database errors, for a next try."""
        looked_at = self._looked_at.get(project_id)
        if looked_at is not None and timedelta(0) <= now_utc - looked_at < EVERY:
            return
        since_utc = sealed_at_utc - BEFORE_SEAL if looked_at is None else looked_at - OVERLAP
        stops = await self._database(guest_queries.suppressed_since, project_id, since_utc)
        known = self._passed_on.get(project_id, set())
        for address, reason in stops:
            if address not in known:
                await put_stop(self._bus, project_id, address, reason)
                log.info("run.stop_passed_on", project_id=project_id, reason=reason)
        self._passed_on[project_id] = {address for address, _reason in stops}
        self._looked_at[project_id] = now_utc
