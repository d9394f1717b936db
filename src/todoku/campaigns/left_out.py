"""Those whom a run may not mail: kept beside its batches while it is sealed, told to the journal once the seal counts.

The journal must hold lines of one seal only, or a planner that died half-way would count its people twice. So while
sealing they wait on SEND as `send.<run>-out.<seal>.<n>` (no sender reads that), and only after `sealed` stands in the
database they are copied to `journal.<run>.<seal>.ns-<n>`, each line once, however often the copying is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import SEND, journal_subject, send_subject
from todoku.delivery.engine.codec import encode_journal
from todoku.delivery.engine.journal import JournalMessage, pack_settled
from todoku.delivery.types import NotSendable, Outcome, RecipientState, RunOrder
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

GROUP = 500
_ATTEMPTS = 6
_BACK_OFF = BackOff(base_seconds=0.2, cap_seconds=3.0)


class LeftOut:
    """Collect them in groups of 500; `count` and `digest` when all were kept."""

    def __init__(self, bus: Bus, clock: Clock, draft: RunOrder) -> None:
        self._bus = bus
        self._clock = clock
        self._draft = draft
        self._waiting: list[NotSendable] = []
        self._groups = 0
        self._digest = hashlib.sha256()
        self.count = 0

    async def keep(self, people: Sequence[NotSendable]) -> None:
        """Take some more; raises BusError."""
        self._waiting.extend(people)
        while len(self._waiting) >= GROUP:
            await self._store(self._waiting[:GROUP])
            del self._waiting[:GROUP]

    async def finish(self, sealed: RunOrder) -> RunOrder:
        """Store the rest; return the order with its not_sendable, and its hash over those too. Raises BusError."""
        if self._waiting:
            await self._store(self._waiting)
            self._waiting = []
        together = hashlib.sha256(sealed.content_hash.encode() + self._digest.digest()).hexdigest()
        return replace(sealed, not_sendable=self.count, content_hash=together)

    async def _store(self, people: Sequence[NotSendable]) -> None:
        now_utc = self._clock.now_utc()
        message = JournalMessage(
            project_id=self._draft.project_id,
            run_id=self._draft.run_id,
            seal=self._draft.seal,
            batch=f"ns-{self._groups}",
            sender_id="planner",
            window=0,
            outcomes=tuple(
                Outcome(place, one.guest_id, one.address, RecipientState.SUPPRESSED, one.reason, now_utc, "")
                for place, one in enumerate(people)
            ),
            deferred=(),
            settled=pack_settled(range(len(people))),
            intent=None,
        )
        for one in people:
            self._digest.update(f"{one.guest_id} {one.address} {one.reason}\n".encode("utf-8", "surrogatepass"))
        subject = send_subject(out_token(self._draft.run_id), self._draft.seal, self._groups)
        await self._bus.publish(subject, encode_journal(message), message_id=subject, expected_last_subject_sequence=0)
        self._groups += 1
        self.count += len(people)

    async def _publish(self, subject: str, payload: bytes) -> None:
        """Store the only message of the subject; the message id makes trying again after a time-out harmless."""
        for attempt in range(_ATTEMPTS):
            try:
                await self._bus.publish(subject, payload, message_id=subject, expected_last_subject_sequence=0)
            except BusError as error:
                if not error.transient or attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_BACK_OFF.wait_seconds(attempt))
            else:
                return


async def tell_journal(bus: Bus, run_id: str, seal: int) -> None:
    """Copy the lines of the seal that counts to the journal; repeating it changes nothing. Raises BusError."""
    async for message in bus.messages(SEND, f"send.{out_token(run_id)}.{seal}.*"):
        subject = journal_subject(run_id, seal, f"ns-{message.subject.rpartition('.')[2]}")
        try:
            await bus.publish(subject, message.payload, message_id=subject, expected_last_subject_sequence=0)
        except SequenceConflict:
            continue  # it is there already


async def forget(bus: Bus, run_id: str, seal: int | None = None) -> None:
    """Remove what waits, of one seal or of all. Raises BusError."""
    await bus.purge(SEND, f"send.{out_token(run_id)}.>" if seal is None else f"send.{out_token(run_id)}.{seal}.*")


def out_token(run_id: str) -> str:
    """Return the token under which a run's left-out people wait."""
    return f"{run_id}-out"
