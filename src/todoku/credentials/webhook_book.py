"""Whose token it is, from the sources that projects name; no database, and the bus only to follow changes.

A source of the kind `webhook` is one address that a provider calls. Its secrets are credentials of the inventory. What
cannot be proven is written as the source's standing, so that pages and alerts show it while the provider tries again.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, BusUnavailable
from todoku.credentials.keyrings import KeyringDesk
from todoku.kernel.clock import Clock
from todoku.sources.collecting import Place
from todoku.sources.errors import BadSource
from todoku.sources.kinds import webhook_settings
from todoku.sources.registry import WEBHOOK, SourceBook, SourceEntry
from todoku.sources.standing import StandingWriter
from todoku.sources.types import Fetch, Look
from todoku.sources.webhook.types import WebhookPlace

log = structlog.get_logger(__name__)

_NOTED_EVERY_SECONDS: Final = 30.0


class BusWebhookBook:
    """A WebhookBook whose places are the sources on the bus; `run` must be running."""

    def __init__(self, bus: Bus, desk: KeyringDesk, clock: Clock) -> None:
        self._bus = bus
        self._desk = desk
        self._clock = clock
        self._entries: dict[str, SourceEntry] = {}  # by key
        self._keys: dict[str, str] = {}  # by token
        self._loaded = False
        self._notes: asyncio.Queue[tuple[SourceEntry, str]] = asyncio.Queue(maxsize=1_000)
        self._noted: dict[str, tuple[str, float]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the sources and write what became of calls until stop is set; a bus that is away is waited for."""
        await self._desk.until_loaded()
        watch = await SourceBook(self._bus).follow(self._changed, stop)
        self._loaded = True
        writing = asyncio.create_task(self._write_notes())
        try:
            await stop.wait()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if watch is not None:
                await watch.stop()

    async def find(self, token: str) -> WebhookPlace | None:
        """Return the place of a token; raises BusUnavailable until every source is known."""
        if not self._loaded:
            raise BusUnavailable("the sources are not loaded yet", todo="the provider tries again")
        key = self._keys.get(token)
        return self._place(self._entries[key]) if key is not None else None

    def used(self, place: WebhookPlace, credential_id: str) -> None:
        """Note that a secret proved a call."""
        entry = self._entry(place)
        self._desk.tell(f"{place.place.project_id}.{credential_id}", credential_id, "")
        if entry is not None:
            self._note(entry, "")

    def refused(self, place: WebhookPlace, why: str) -> None:
        """Note that a call was not proven."""
        entry = self._entry(place)
        if entry is not None:
            self._note(entry, f"credential: {why}")

    def _entry(self, place: WebhookPlace) -> SourceEntry | None:
        return self._entries.get(f"{place.place.project_id}.{place.place.source}")

    def _place(self, entry: SourceEntry) -> WebhookPlace:
        settings = webhook_settings(entry)
        keys = [f"{entry.project_id}.{credential_id}" for credential_id in entry.credential_ids]
        return WebhookPlace(
            Place(entry.project_id, entry.source, entry.shop_code, entry.site),
            settings.provider,
            tuple(self._desk.credentials_of(keys)),
            tuple(settings.topics.split()),
        )

    async def _changed(self, key: str, entry: SourceEntry | None) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            self._keys.pop(webhook_settings(before).token, None)
        if entry is None or entry.kind != WEBHOOK:
            return
        try:
            token = webhook_settings(entry).token
        except BadSource as error:
            log.error("source.unusable", key=key, error=error.what)
            return
        self._entries[key] = entry
        self._keys[token] = key

    def _note(self, entry: SourceEntry, why: str) -> None:
        """Queue what is to be written, at most every half minute for the same thing: a flood must cost nothing."""
        now_seconds = self._clock.monotonic_seconds()
        before, noted_seconds = self._noted.get(entry.key, ("?", 0.0))
        if (before == why and now_seconds - noted_seconds < _NOTED_EVERY_SECONDS) or self._notes.full():
            return
        self._noted[entry.key] = (why, now_seconds)
        self._notes.put_nowait((entry, why))

    async def _write_notes(self) -> None:
        writers: dict[str, StandingWriter] = {}
        while True:
            entry, why = await self._notes.get()
            writer = writers.get(entry.key)
            if writer is None:
                writer = writers[entry.key] = StandingWriter(self._bus, self._clock, entry.key, "web")
            now_utc = self._clock.now_utc()
            look = Look(
                project_id=entry.project_id,
                source=entry.source,
                began_at_utc=now_utc,
                ended_at_utc=now_utc,
                outcome=Fetch.COULD_NOT if why else Fetch.FETCHED,
                arrived=0 if why else 1,
                fresh=0 if why else 1,
                why=why,
            )
            try:
                await writer.load()
            except BusError as error:
                log.info("source.standing_not_read", key=entry.key, error=error.what)
            await writer.looked(look)
