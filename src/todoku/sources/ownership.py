"""Who collects a source: one process at a time, and another when that one is silent.

STRATEGY  The owner writes the source's key in KV `owners` every third of the lease, compare-and-set. Another process
          takes over when the key's revision stood still for a lease and a half by its own monotonic clock, so clocks
          of two machines are never compared. It saves work and fences nothing: two collectors of one source make
          second arrivals with the same vault key, which the reader counts as `duplicate`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, KeyExists, RevisionConflict
from todoku.bus.streams import OWNERS_BUCKET
from todoku.kernel.clock import Clock
from todoku.kernel.waiting import rest

log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = 30.0


class Ownership:
    """The right to collect one source."""

    def __init__(self, bus: Bus, clock: Clock, key: str, owner: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """key: `<project>.<source>`. owner: a name of this process alone, for the log."""
        self._bucket = bus.bucket(OWNERS_BUCKET)
        self._clock = clock
        self._key = key
        self._value = msgspec.msgpack.encode(owner)
        self._lease_seconds = lease_seconds
        self._revision = 0
        self._seen_revision = -1
        self._seen_seconds = 0.0

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait until this process is the owner; False when stop came first. A bus that is away is waited for."""
        while not stop.is_set():
            try:
                if await self._try():
                    log.info("source.owned", key=self._key)
                    return True
            except (RevisionConflict, KeyExists):
                continue  # another was quicker: look at what it wrote
            except BusError as error:
                log.warning("source.owner_unknown", key=self._key, error=error.what)
            await rest(stop, self._lease_seconds / 3)
        return False

    async def keep(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Renew until stop; set lost when another process has taken the source."""
        while not stop.is_set():
            await rest(stop, self._lease_seconds / 3)
            try:
                self._revision = await self._bucket.update(self._key, self._value, self._revision)
            except RevisionConflict:
                log.warning("source.owner_lost", key=self._key, todo="nothing: another process collects it now")
                lost.set()
                return
            except BusError as error:
                log.warning("source.owner_not_renewed", key=self._key, error=error.what)

    async def release(self) -> None:
        """Let another process have it at once; a bus that is away makes it wait for the lease."""
        try:
            await self._bucket.delete_revision(self._key, self._revision)
        except BusError as error:
            log.info("source.owner_not_released", key=self._key, error=error.what)

    async def _try(self) -> bool:
        entry = await self._bucket.get(self._key)
        if entry is None:
            self._revision = await self._bucket.create(self._key, self._value)
            return True
        now_seconds = self._clock.monotonic_seconds()
        if entry.revision != self._seen_revision:
            self._seen_revision, self._seen_seconds = entry.revision, now_seconds
            return False
        if now_seconds - self._seen_seconds < 1.5 * self._lease_seconds:
            return False
        self._revision = await self._bucket.update(self._key, self._value, entry.revision)
        return True
