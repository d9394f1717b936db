"""Look at a source again and again, and let each of its mails arrive once.

STRATEGY  A look lists all that the source has; what has not arrived by its key is fresh and fetched, newest first, a
          few at once, and kept, more at once (`hands`). What has arrived is known from the bus, never from a flag or a
          position at the source, so whatever was lost, killed or put back there is seen at the next look. Nothing is
          removed at the source.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from todoku.bus.errors import BusError
from todoku.kernel.retry import BackOff
from todoku.kernel.waiting import rest
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.errors import CannotFetch, CannotLook, MailVanished, NotKept
from todoku.sources.hands import Hands
from todoku.sources.types import Fetch, Listed, Look, MailSource, NoticingSource

log = structlog.get_logger(__name__)

FETCHED_AT_ONCE: Final = 8
POLL_SECONDS: Final = 60.0
SAVE_AFTER_MAILS: Final = 1_000
_BACK_OFF: Final = BackOff(base_seconds=1.0, cap_seconds=60.0)
_NOT_KEPT_IN_A_ROW: Final = 3
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

OnLook = Callable[[Look], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose mails a source holds. source: a subject token, for ever the name of this one source."""

    project_id: str
    source: str
    shop_code: str | None = None
    site: str | None = None


@dataclass(slots=True)
class _Tally:
    arrived: int = 0
    vanished: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    not_kept_in_a_row: int = 0
    gone: CannotLook | None = None
    stopped: bool = False
    why: str = ""

    @property
    def must_end(self) -> bool:
        return self.stopped or self.gone is not None or self.not_kept_in_a_row >= _NOT_KEPT_IN_A_ROW

    @property
    def done(self) -> int:
        return self.arrived + self.vanished + len(self.failed)


class Collector:
    """The mails of one source, carried to vault and bus."""

    def __init__(self, place: Place, mails: MailSource, writer: ArrivalWriter, keys: ArrivedKeys) -> None:
        self._place = place
        self._mails = mails
        self._writer = writer
        self._keys = keys
        self._clock = writer.clock
        self._since_save = 0
        self._last_count = 0
        self._underway: tuple[int, _Tally] | None = None

    @property
    def progress(self) -> tuple[int, int] | None:
        """Return (fresh, done) of the look that is under way; None while nothing is fetched."""
        return (self._underway[0], self._underway[1].done) if self._underway is not None else None

    async def run(self, stop: asyncio.Event, on_look: OnLook, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Look until stop is set, and tell of each look; a source, vault or bus that is away is waited for."""
        randomness = random.Random()  # noqa: S311  # spreads retries, guards nothing
        troubles = 0
        while not stop.is_set():
            look = await self.look(stop)
            await on_look(look)
            if look.outcome is Fetch.FETCHED and not look.left and not look.failed:
                troubles = 0
                await self._until_changed(stop, poll_seconds)
                continue
            wait_seconds = _BACK_OFF.wait_seconds(troubles, randomness=randomness)
            troubles += 1
            if look.left or look.outcome is Fetch.COULD_NOT:
                await rest(stop, wait_seconds)
            else:  # what could not be fetched need not delay what comes
                await self._until_changed(stop, min(poll_seconds, wait_seconds))
        await self._save()
        await self._mails.close()

    async def look(self, stop: asyncio.Event | None = None) -> Look:
        """List the source, fetch what is fresh, and say what came of it. Raises nothing but what nobody expects.

        When stop is set meanwhile, the mails in hand are finished and the others are `left`.
        """
        began_at_utc = self._clock.now_utc()
        tally = _Tally()
        fresh: list[Listed] = []
        count: int | None = None
        try:
            fresh, count = await self._list()
            self._underway = (len(fresh), tally) if fresh else None
            await self._fetch_all(fresh, tally, stop or asyncio.Event())
        except CannotLook as error:
            tally.gone = error
        finally:
            self._underway = None
        if self._since_save >= SAVE_AFTER_MAILS:
            await self._save()
        return self._say(began_at_utc, count, len(fresh), tally)

    async def _list(self) -> tuple[list[Listed], int | None]:
        """Return what is fresh, newest first, and how many mails the source has, None when it told only of some.

        Raises CannotLook.
        """
        noticed = await self._mails.noticed() if isinstance(self._mails, NoticingSource) else None
        if noticed is not None:
            return _newest_first([one for one in noticed if one.key not in self._keys]), None
        fresh: list[Listed] = []
        count = 0
        # what somebody removed at the source is forgotten now and then, when it is more than what is still there
        all_keys: list[str] | None = [] if len(self._keys) > 2 * self._last_count + SAVE_AFTER_MAILS else None
        async for one in self._mails.list_mails():
            count += 1
            if one.key not in self._keys:
                fresh.append(one)
            elif all_keys is not None:
                all_keys.append(one.key)
        if all_keys:  # a source that suddenly has nothing at all may have it again tomorrow
            self._keys.forget_all_but(all_keys)
        self._last_count = count
        return _newest_first(fresh), count

    def _say(self, began_at_utc: datetime, listed: int | None, fresh: int, tally: _Tally) -> Look:
        look = Look(
            project_id=self._place.project_id,
            source=self._place.source,
            began_at_utc=began_at_utc,
            ended_at_utc=self._clock.now_utc(),
            outcome=Fetch.FETCHED if tally.gone is None else Fetch.COULD_NOT,
            listed=listed,
            fresh=fresh,
            arrived=tally.arrived,
            vanished=tally.vanished,
            failed=tuple(tally.failed),
            left=fresh - tally.done,
            why=tally.why if tally.gone is None else f"{tally.gone.cause}: {tally.gone.what}",
        )
        if fresh or tally.gone is not None:
            words = {"listed": listed, "fresh": fresh, "arrived": look.arrived, "left": look.left, "why": look.why}
            log.info("source.looked", source=look.source, outcome=look.outcome, **words)
        return look

    async def _fetch_all(self, fresh: list[Listed], tally: _Tally, stop: asyncio.Event) -> None:
        """Fetch a few at once; end early, with every mail in hand finished, when nothing more can be had or kept."""
        waiting = iter(fresh)
        hands = Hands()

        async def keep(one: Listed, raw: bytes, share: int) -> None:
            try:
                await self._keep(one, raw, tally)
            finally:
                hands.give_back(share)

        async def carry() -> None:
            for one in waiting:
                raw = await self._fetch(one, tally)
                if raw is not None:
                    group.create_task(keep(one, raw, await hands.take(len(raw))))
                tally.stopped = stop.is_set()
                if tally.must_end:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(min(FETCHED_AT_ONCE, len(fresh))):
                group.create_task(carry())

    async def _fetch(self, one: Listed, tally: _Tally) -> bytes | None:
        """Return the mail; None when the tally says why there is none."""
        try:
            return await self._mails.fetch(one.key)
        except CannotLook as error:
            tally.gone = error
        except MailVanished:
            tally.vanished += 1
        except CannotFetch as error:
            tally.failed.append((one.key, error.what))
            log.warning("source.could_not_fetch", source=self._place.source, key=one.key, error=error.what)
        return None

    async def _keep(self, one: Listed, raw: bytes, tally: _Tally) -> None:
        place = self._place
        try:
            await self._writer.accept(
                raw,
                project_id=place.project_id,
                source=place.source,
                shop_code=place.shop_code,
                site=place.site,
                cursor=one.key,
                at_source_utc=one.at_utc,
            )
        except NotKept as error:
            tally.not_kept_in_a_row += 1
            tally.why = error.what
            return
        tally.not_kept_in_a_row = 0
        tally.arrived += 1
        self._keys.add(one.key)
        self._since_save += 1

    async def _save(self) -> None:
        try:
            await self._keys.save()
            self._since_save = 0
        except BusError as error:
            log.warning("source.arrived_keys_not_saved", source=self._place.source, error=error.what)

    async def _until_changed(self, stop: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._mails.until_changed(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _newest_first(mails: list[Listed]) -> list[Listed]:
    return sorted(mails, key=lambda one: one.at_utc or _LONG_AGO, reverse=True)
