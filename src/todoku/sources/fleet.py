"""Every source of every project, collected: the part of the role `intake` that goes out to fetch.

Purpose     `Fleet` keeps one task for each entry of KV `sources`; the task waits until this process owns the source,
            collects, and begins anew when the entry changes.
Reads       KV `sources`, `owners`, `arrived`, `looks`; the sources themselves.
Writes      vault, MAIL, KV `arrived`, `looks`, `owners`.
Guarantees  no source stops another: what nobody expected of one is logged and that one is tried again with back-off.
            Any number of processes may run a fleet; each source has one of them. No database.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.kernel.retry import BackOff
from todoku.kernel.waiting import rest
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.credentials import Keyring
from todoku.sources.errors import BadSource
from todoku.sources.kinds import open_source
from todoku.sources.ownership import LEASE_SECONDS, Owner, Ownership
from todoku.sources.registry import WEBHOOK, SourceBook, SourceEntry
from todoku.sources.standing import StandingWriter
from todoku.sources.types import Fetch, Look

log = structlog.get_logger(__name__)

KeyringOf = Callable[[SourceEntry], Keyring]

_PROGRESS_SECONDS: Final = 2.0
_BACK_OFF: Final = BackOff(base_seconds=1.0, cap_seconds=60.0)


@dataclass(slots=True)
class _Tended:
    """A source, the task that tends it, and how to end that."""

    stop: asyncio.Event
    task: asyncio.Task[None]


class Fleet:
    """The collectors of one process."""

    def __init__(
        self, bus: Bus, writer: ArrivalWriter, keyring_of: KeyringOf, *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """keyring_of: gives the credentials of a source as they stand at each login."""
        self._bus = bus
        self._writer = writer
        self._keyring_of = keyring_of
        self._lease_seconds = lease_seconds
        self._owner = Owner.this_process()
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._tended: dict[str, _Tended] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until stop is set; mails in hand are finished, then sources are given back."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            watch = await SourceBook(self._bus).follow(self._changed, stop)
            await stop.wait()
            if watch is not None:
                await watch.stop()
            for tended in self._tended.values():
                tended.stop.set()

    async def _changed(self, key: str, entry: SourceEntry | None) -> None:
        before = self._tended.pop(key, None)
        if before is not None:
            before.stop.set()
        if entry is None or entry.paused or entry.kind == WEBHOOK or self._group is None:
            return
        stop = asyncio.Event()
        previous = before.task if before is not None else None
        self._tended[key] = _Tended(stop, self._group.create_task(self._tend(entry, stop, previous), name=key))

    async def _tend(self, entry: SourceEntry, stop: asyncio.Event, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait({previous})
        randomness = random.Random()  # noqa: S311  # spreads retries, guards nothing
        attempt = 0
        while not stop.is_set():
            ownership = Ownership(
                self._bus, self._writer.clock, entry.key, self._owner, lease_seconds=self._lease_seconds
            )
            if not await ownership.acquire(stop):
                return
            try:
                async with _kept(ownership, stop) as end:
                    await self._collect(entry, end)
                attempt = 0
            except BusError as error:
                log.warning("source.bus_away", key=entry.key, error=error.what)
            except Exception:
                log.exception("source.failed", key=entry.key, todo="it is tried again; report this with the log")
            finally:
                await ownership.release()
            await rest(stop, _BACK_OFF.wait_seconds(attempt, randomness=randomness))
            attempt += 1

    async def _collect(self, entry: SourceEntry, end: asyncio.Event) -> None:
        """Collect until end is set."""
        writer = StandingWriter(self._bus, self._writer.clock, entry.key, self._name, poll_seconds=entry.poll_seconds)
        await writer.load()
        try:
            mails = open_source(entry, self._keyring_of(entry), self._writer.clock)
        except BadSource as error:
            while not end.is_set():  # until somebody changes it; said again, so that it doesn't look abandoned
                await writer.looked(self._unusable(entry, error))
                await rest(end, entry.poll_seconds)
            return
        keys = await ArrivedKeys.load(self._bus, entry.project_id, entry.source)
        place = Place(entry.project_id, entry.source, entry.shop_code, entry.site)
        collector = Collector(place, mails, self._writer, keys)
        telling = asyncio.create_task(_tell_progress(collector, writer, end))
        try:
            await collector.run(end, writer.looked, poll_seconds=entry.poll_seconds)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    def _unusable(self, entry: SourceEntry, error: BadSource) -> Look:
        now_utc = self._writer.clock.now_utc()
        return Look(
            project_id=entry.project_id,
            source=entry.source,
            began_at_utc=now_utc,
            ended_at_utc=now_utc,
            outcome=Fetch.COULD_NOT,
            why=f"settings: {error.what}",
        )


@asynccontextmanager
async def _kept(ownership: Ownership, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """Renew the ownership meanwhile; give an event that is set when stop is, or when another process is the owner."""
    end, lost = asyncio.Event(), asyncio.Event()
    helpers = [asyncio.create_task(ownership.keep(end, lost)), asyncio.create_task(_set_when_any(end, (stop, lost)))]
    try:
        yield end
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _set_when_any(end: asyncio.Event, causes: tuple[asyncio.Event, ...]) -> None:
    waits = [asyncio.create_task(cause.wait()) for cause in causes]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        end.set()
    finally:
        for wait in waits:
            wait.cancel()


async def _tell_progress(collector: Collector, writer: StandingWriter, end: asyncio.Event) -> None:
    while not end.is_set():
        await rest(end, _PROGRESS_SECONDS)
        if (progress := collector.progress) is not None:
            await writer.under_way(*progress)
