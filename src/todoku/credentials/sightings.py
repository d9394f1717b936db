"""What each process tells of the certificates and keys that it uses, kept on the bus so that other machines see it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.served_types import DnsAnswer, Report, Sighting
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

TOLD_EVERY_SECONDS: Final = 30.0
SEEN_WITHIN_SECONDS: Final = 90.0  # who has not told for three times as long is gone, or cut off
FORGOTTEN_AFTER: Final = timedelta(days=30)
_SEEN: Final = "_seen."
_DNS: Final = "_dns."


class SightingBook:
    """Reports by role and machine, and what DNS answered; in KV `credentials` beside the credentials themselves.

    Keys have two dots or more (`_seen.<role>.<place>`, `_dns.<name of the record>`), those of credentials one.
    """

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bucket = bus.bucket(CREDENTIALS_BUCKET)
        self._clock = clock

    async def tell(self, role: str, machine: str, home: str, sightings: list[Sighting]) -> None:
        """Write what a role sees. The last use that a process before or beside it told of is kept.

        home: so that two installations on one machine are two places. Raises the bus's transient errors.
        """
        place = hashlib.blake2b(f"{machine}\0{home}".encode(), digest_size=6).hexdigest()
        key = f"{_SEEN}{role}.{place}"
        entry = await self._bucket.get(key)
        before = _decoded(entry.value) if entry is not None else None
        used = {_identity(one): one.used_at_utc for one in before.sightings} if before is not None else {}
        merged = [
            msgspec.structs.replace(one, used_at_utc=_later(one.used_at_utc, used.get(_identity(one))))
            for one in sightings
        ]
        report = Report(role=role, machine=machine, at_utc=self._clock.now_utc(), sightings=merged)
        await self._bucket.put(key, msgspec.msgpack.encode(report))

    async def reports(self) -> list[Report]:
        """Return the last report of each role and machine; raises the bus's transient errors."""
        found = []
        for key in await self._bucket.keys():
            entry = await self._bucket.get(key) if key.startswith(_SEEN) else None
            report = _decoded(entry.value) if entry is not None else None
            if report is not None:
                found.append(report)
        return found

    async def forget_old(self) -> None:
        """Remove reports that nobody has renewed for FORGOTTEN_AFTER: containers have another name at each start."""
        for key in await self._bucket.keys():
            entry = await self._bucket.get(key) if key.startswith(_SEEN) else None
            report = _decoded(entry.value) if entry is not None else None
            if report is not None and report.at_utc < self._clock.now_utc() - FORGOTTEN_AFTER:
                await self._bucket.delete(key)
                log.warning(
                    "credential.unseen_forgotten", role=report.role, machine=report.machine, seen_at_utc=report.at_utc
                )

    async def note_dns(self, name: str, answer: DnsAnswer) -> None:
        """Keep what DNS answered. name: of the record."""
        await self._bucket.put(_DNS + name, msgspec.msgpack.encode(answer))

    async def dns_answers(self) -> dict[str, DnsAnswer]:
        """Return the last answer for each record's name."""
        found = {}
        for key in await self._bucket.keys():
            entry = await self._bucket.get(key) if key.startswith(_DNS) else None
            if entry is not None:
                try:
                    found[key.removeprefix(_DNS)] = msgspec.msgpack.decode(entry.value, type=DnsAnswer)
                except msgspec.MsgspecError as error:
                    log.error("credential.dns_answer_unreadable", key=key, error=str(error))
        return found


def _identity(one: Sighting) -> tuple[str, ...]:
    fingerprint = one.facts.fingerprint if one.facts is not None else ""
    return (one.kind.value, one.place.value, one.name, fingerprint, one.record)


def _later(first: datetime | None, second: datetime | None) -> datetime | None:
    if first is None or second is None:
        return first or second
    return max(first, second)


def _decoded(value: bytes) -> Report | None:
    try:
        return msgspec.msgpack.decode(value, type=Report)
    except msgspec.MsgspecError as error:
        log.error("credential.report_unreadable", error=str(error))
        return None
