"""Those whom a run may not mail: kept beside its batches while it is sealed, told to the journal once the seal counts.

The journal must hold lines of one seal only, or a planner that died half-way would count its people twice. So while
sealing they wait on SEND as `send.<run>-out.<seal>.<n>` (no sender reads that), and only after `sealed` stands in the
database they are copied to `journal.<run>.<seal>.ns-<n>`, each line once, however often the copying is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND, journal_subject, send_subject
from todoku.campaigns.packing import PackedOut
from todoku.delivery.types import RunOrder
from todoku.kernel.retry import BackOff

_TOGETHER = 32  # lines of 500 people, published in one go: 2 MB at most
_ATTEMPTS = 6
_BACK_OFF = BackOff(base_seconds=0.2, cap_seconds=3.0)


class LeftOut:
    """Store the lines of one seal as they come; `count` and `digest` when all were kept."""

    def __init__(self, bus: Bus, run_id: str, seal: int) -> None:
        self._bus = bus
        self._token = out_token(run_id)
        self._seal = seal
        self._waiting: list[tuple[str, bytes, str | None]] = []
        self._digest = hashlib.sha256()
        self.count = 0

    async def keep(self, line: PackedOut) -> None:
        """Take one line about up to 500 people; raises BusError."""
        subject = send_subject(self._token, self._seal, line.number)
        self._digest.update(line.payload)
        self._waiting.append((subject, line.payload, subject))
        self.count += line.people
        if len(self._waiting) >= _TOGETHER:
            await self._store()

    async def finish(self, sealed: RunOrder) -> RunOrder:
        """Store the rest; return the order with its not_sendable, and its hash over those too. Raises BusError."""
        await self._store()
        together = hashlib.sha256(sealed.content_hash.encode() + self._digest.digest()).hexdigest()
        return replace(sealed, not_sendable=self.count, content_hash=together)

    async def _store(self) -> None:
        waiting, self._waiting = self._waiting, []
        await _publish(self._bus, waiting)


async def tell_journal(bus: Bus, run_id: str, seal: int) -> None:
    """Copy the lines of the seal that counts to the journal; repeating it changes nothing. Raises BusError."""
    waiting: list[tuple[str, bytes, str | None]] = []
    async for message in bus.messages(SEND, f"send.{out_token(run_id)}.{seal}.*"):
        subject = journal_subject(run_id, seal, f"ns-{message.subject.rpartition('.')[2]}")
        waiting.append((subject, message.payload, subject))
        if len(waiting) >= _TOGETHER:
            await _publish(bus, waiting)
            waiting = []
    await _publish(bus, waiting)


async def _publish(bus: Bus, lines: list[tuple[str, bytes, str | None]]) -> None:
    """Store each line as the only message of its subject; its id makes doing so again harmless."""
    for attempt in range(_ATTEMPTS):
        try:
            await bus.publish_many(lines, expected_last_subject_sequence=0)
            return
        except BusError as error:
            if not error.transient or attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(_BACK_OFF.wait_seconds(attempt))


async def forget(bus: Bus, run_id: str, seal: int | None = None) -> None:
    """Remove what waits, of one seal or of all. Raises BusError."""
    await bus.purge(SEND, f"send.{out_token(run_id)}.>" if seal is None else f"send.{out_token(run_id)}.{seal}.*")


def out_token(run_id: str) -> str:
    """Return the token under which a run's left-out people wait."""
    return f"{run_id}-out"
