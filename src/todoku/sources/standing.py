"""How each source stands: what its last look came to, since when, and what is under way.

Purpose     one answer to "do mails come in?", for pages, alerts and the terminal, also while the database is away.
Reads       KV `looks`.
Writes      KV `looks`, one key for each source, by the process that collects it.
Guarantees  three things are never mixed: *fetched* so many, *could not look* because, and *nobody has looked since*.
            The last is told from the time of the last look and not from anything that a dead process would write.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import LOOKS_BUCKET
from todoku.kernel.clock import Clock
from todoku.sources.outages import Outage, after_look
from todoku.sources.registry import WEBHOOK, SourceEntry
from todoku.sources.types import Fetch, Look

log = structlog.get_logger(__name__)

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
GRACE_SECONDS: Final = 90.0  # a lease and a half, and a look that takes its time


class Truth(StrEnum):
    """What can be said of a source at this moment."""

    FETCHING = "fetching"  # a look is under way, with mails to fetch
    FETCHED = "fetched"
    COULD_NOT = "could_not"
    NOBODY_LOOKED = "nobody_looked"
    PAUSED = "paused"
    NOT_YET = "not_yet"  # never looked at so far
    LISTENING = "listening"  # it is called by its provider, and the last call was fine or there was none


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What was last known of a source.

    look: the last that ended, None before the first. since_utc: since when looks come to what the last one came to.
    fetched_at_utc, mail_at_utc: when a look last succeeded, and when one last brought a mail. at_utc: when this was
    written. fresh, done, under_way_since_utc: of the look that is under way, 0 and 0 when none is. collector: which
    process. outages: the newest of them, oldest first.
    """

    at_utc: datetime
    look: Look | None = None
    since_utc: datetime | None = None
    fetched_at_utc: datetime | None = None
    mail_at_utc: datetime | None = None
    fresh: int = 0
    done: int = 0
    under_way_since_utc: datetime | None = None
    collector: str = ""
    outages: tuple[Outage, ...] = ()


class StandingWriter:
    """Writes the standing of one source; what the bus does not take now is written with the next look."""

    def __init__(self, bus: Bus, clock: Clock, key: str, collector: str, *, poll_seconds: float | None = None) -> None:
        """Know nothing yet. poll_seconds: between two looks; None where nobody looks, so that silence says nothing."""
        self._bucket = bus.bucket(LOOKS_BUCKET)
        self._clock = clock
        self._key = key
        self._standing = Standing(at_utc=clock.now_utc(), collector=collector)
        self._collector = collector
        self._patience_seconds = math.inf if poll_seconds is None else poll_seconds + GRACE_SECONDS

    async def load(self) -> None:
        """Go on from what the process before has written; raises the bus's transient errors."""
        entry = await self._bucket.get(self._key)
        if entry is not None:
            self._standing = msgspec.structs.replace(decode_standing(entry.value), collector=self._collector)

    async def looked(self, look: Look) -> None:
        """Write what a look came to, with one line of the log when it is another outcome than before."""
        before = self._standing
        same = before.look is not None and before.look.outcome is look.outcome
        unseen = (look.began_at_utc - before.at_utc).total_seconds() > self._patience_seconds
        outages = after_look(before.outages, look, before.fetched_at_utc, unseen=unseen)
        self._standing = Standing(
            at_utc=self._clock.now_utc(),
            look=look,
            since_utc=before.since_utc if same else look.began_at_utc,
            fetched_at_utc=look.ended_at_utc if look.outcome is Fetch.FETCHED else before.fetched_at_utc,
            mail_at_utc=look.ended_at_utc if look.arrived else before.mail_at_utc,
            collector=self._collector,
            outages=outages,
        )
        self._tell(outages, before.outages)
        if not same and look.outcome is Fetch.COULD_NOT:
            log.error("source.trouble_began", key=self._key, why=look.why, todo="nothing is lost; see the sources page")
        elif not same and before.look is not None:
            log.info("source.trouble_ended", key=self._key, since=str(before.since_utc), arrived=look.arrived)
        await self._put()

    def _tell(self, outages: tuple[Outage, ...], before: tuple[Outage, ...]) -> None:
        """Say once that an outage is caught up."""
        if not outages or outages[-1].caught_up_utc is None or (before and outages[-1] == before[-1]):
            return
        last = outages[-1]
        counts = {"missed": last.missed, "arrived": last.arrived, "vanished": last.vanished, "failed": last.failed}
        log.info("source.caught_up", key=self._key, since=str(last.began_utc), why=last.why, **counts)

    async def under_way(self, fresh: int, done: int) -> None:
        """Write how far a look is."""
        now_utc = self._clock.now_utc()
        since_utc = self._standing.under_way_since_utc or now_utc
        self._standing = msgspec.structs.replace(
            self._standing, at_utc=now_utc, fresh=fresh, done=done, under_way_since_utc=since_utc
        )
        await self._put()

    async def _put(self) -> None:
        try:
            await self._bucket.put(self._key, msgspec.msgpack.encode(self._standing))
        except BusError as error:
            log.warning("source.standing_not_written", key=self._key, error=error.what)


async def read_standings(bus: Bus, project_id: str) -> dict[str, Standing]:
    """Return what is known of a project's sources, by name; raises the bus's transient errors."""
    bucket = bus.bucket(LOOKS_BUCKET)
    beginning = f"{project_id}."
    found = {}
    for key in await bucket.keys():
        if key.startswith(beginning) and (entry := await bucket.get(key)) is not None:
            found[key.removeprefix(beginning)] = decode_standing(entry.value)
    return found


def decode_standing(value: bytes) -> Standing:
    """Read what the bus has; what can't be read counts as never looked at."""
    try:
        return msgspec.msgpack.decode(value, type=Standing)
    except msgspec.MsgspecError as error:
        log.error("source.standing_unreadable", error=str(error))
        return Standing(at_utc=_NEVER)


def truth_of(entry: SourceEntry, standing: Standing | None, now_utc: datetime) -> Truth:
    """Say how a source stands at this moment."""
    if entry.paused:
        return Truth.PAUSED
    if entry.kind == WEBHOOK:
        refused = standing is not None and standing.look is not None and standing.look.outcome is Fetch.COULD_NOT
        return Truth.COULD_NOT if refused else Truth.LISTENING
    if standing is None or (standing.look is None and not standing.fresh):
        return Truth.NOT_YET
    if (now_utc - standing.at_utc).total_seconds() > entry.poll_seconds + GRACE_SECONDS:
        return Truth.NOBODY_LOOKED
    if standing.fresh:
        return Truth.FETCHING
    look = standing.look
    return Truth.FETCHED if look is not None and look.outcome is Fetch.FETCHED else Truth.COULD_NOT
