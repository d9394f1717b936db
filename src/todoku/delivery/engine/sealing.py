"""Seal a run: turn a streamed audience into batches on SEND, and say so in numbers and a hash.

Purpose     freeze who gets what, once; sealing the same again changes nothing, sealing something else is refused.
Reads       the audience as the planner streams it.
Writes      SEND `send.<run>.<seal>.<n>`, one message a subject.
Guarantees  each subject holds exactly one message (expected_last_subject_sequence=0); memory is constant: a few
            batches in flight. A crash half-way leaves whole batches; sealing again completes them, or raises
            SealConflict when the audience has changed, and the planner takes the next seal number.
Known limits  those who may not be mailed are told to the journal by the planner, and only once the seal counts:
            a line of a seal that was given up would count them twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import structlog

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import SEND, send_subject
from todoku.delivery.engine.codec import decode_batch, encode_batch
from todoku.delivery.errors import SealConflict, UnreadablePayload
from todoku.delivery.types import Batch, Recipient, RunOrder, SealChunk
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

BATCH_SIZE = 500
IN_FLIGHT = 8
_MOST_TRIES = 10


class EncodedBatch(NamedTuple):
    """One batch as it is stored. number: from 0, without a gap; people: how many recipients it holds."""

    number: int
    people: int
    payload: bytes


@dataclass(slots=True)
class _Tally:
    batches: int = 0
    to_send: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, batch: EncodedBatch) -> int:
        """Count the next batch and return its number; raises ValueError when one is missing."""
        if batch.number != self.batches:
            raise ValueError(f"batch {batch.number} comes where {self.batches} is next")
        self.digest.update(batch.payload)
        self.batches += 1
        self.to_send += batch.people
        return batch.number


class Sealer:
    """Publish one run's batches; made once, used for any number of runs."""

    def __init__(self, bus: Bus, clock: Clock, *, batch_size: int = BATCH_SIZE) -> None:
        if not 1 <= batch_size <= BATCH_SIZE:
            raise ValueError(f"batch_size must be 1-{BATCH_SIZE}, not {batch_size}")
        self._bus = bus
        self._clock = clock
        self._batch_size = batch_size

    async def seal(self, draft: RunOrder, audience: AsyncIterable[SealChunk] | Iterable[SealChunk]) -> RunOrder:
        """Publish every batch and return the draft with batches, to_send and content_hash filled in.

        `not_sendable` of the chunks is not looked at. The caller then puts the order into KV `runs`; before that no
        sender looks at these batches. Raises as `seal_encoded`.
        """
        return await self.seal_encoded(draft, self._encoded(draft, audience))

    async def seal_encoded(self, draft: RunOrder, batches: AsyncIterable[EncodedBatch]) -> RunOrder:
        """Publish batches that were encoded elsewhere (`encode_numbered`), in order of their numbers; as `seal`.

        Raises SealConflict when this seal number holds something else, BusUnavailable when the bus stays away,
        ValueError when the run id is not a UUID or a number is missing.
        """
        uuid.UUID(draft.run_id)
        began_seconds = self._clock.monotonic_seconds()
        tally = _Tally()
        tally.digest.update(_words_of(draft))
        publishing: set[asyncio.Task[None]] = set()
        try:
            async for batch in batches:
                if len(publishing) >= IN_FLIGHT:
                    await _collect(publishing, asyncio.FIRST_COMPLETED)
                subject = send_subject(draft.run_id, draft.seal, tally.take(batch))
                publishing.add(asyncio.create_task(self._store(subject, batch.payload)))
            while publishing:
                await _collect(publishing, asyncio.ALL_COMPLETED)
        finally:
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
        await self._require_nothing_else(draft, tally.batches)
        took_seconds = round(self._clock.monotonic_seconds() - began_seconds, 3)
        log.info("delivery.sealed", run_id=draft.run_id, seal=draft.seal, to_send=tally.to_send, seconds=took_seconds)
        return replace(
            draft,
            batches=tally.batches,
            to_send=tally.to_send,
            content_hash=tally.digest.hexdigest(),
        )

    async def _encoded(
        self, draft: RunOrder, audience: AsyncIterable[SealChunk] | Iterable[SealChunk]
    ) -> AsyncIterator[EncodedBatch]:
        recipients: list[Recipient] = []
        names = (draft.project_id, draft.run_id, draft.seal)
        number = 0
        async for chunk in _each(audience):
            recipients.extend(chunk.recipients)
            while len(recipients) >= self._batch_size:
                payload = encode_numbered(names, number, recipients[: self._batch_size])
                yield EncodedBatch(number, self._batch_size, payload)
                del recipients[: self._batch_size]
                number += 1
        if recipients:
            yield EncodedBatch(number, len(recipients), encode_numbered(names, number, recipients))

    async def _store(self, subject: str, payload: bytes) -> None:
        """Store the payload as the only message of its subject, however often this is tried."""
        back_off = BackOff(base_seconds=0.2, cap_seconds=5.0)
        for attempt in range(_MOST_TRIES):
            try:
                await self._bus.publish(subject, payload, expected_last_subject_sequence=0)
                return
            except SequenceConflict:
                await self._require_same(subject, payload)
                return
            except BusError as error:
                if not error.transient or attempt == _MOST_TRIES - 1:
                    raise
            await asyncio.sleep(back_off.wait_seconds(attempt))  # what may be stored by now is seen as a conflict

    async def _require_nothing_else(self, draft: RunOrder, batches: int) -> None:
        """Raise SealConflict when an earlier, longer sealing left batches behind ours.

        It published in order with IN_FLIGHT gaps at most, so one of the next IN_FLIGHT + 1 would be there; asking for
        all subjects would take memory that grows with the audience.
        """
        beyond = [
            self._bus.last_message(SEND, send_subject(draft.run_id, draft.seal, number))
            for number in range(batches, batches + IN_FLIGHT + 1)
        ]
        if any(found is not None for found in await asyncio.gather(*beyond)):
            raise SealConflict(
                f"seal {draft.seal} of run {draft.run_id} holds more than {batches} batches",
                kept="the stored batches were not touched",
                todo="seal this run again under the next seal number",
            )

    async def _require_same(self, subject: str, payload: bytes) -> None:
        """Raise SealConflict unless the stored batch means the same; another zstd may write other bytes."""
        stored = await self._bus.last_message(SEND, subject)
        if stored is None or stored.payload == payload:
            return
        try:
            same = decode_batch(stored.payload) == decode_batch(payload)
        except UnreadablePayload:
            same = False
        if not same:
            raise SealConflict(
                f"{subject} holds another batch already",
                kept="the stored batch was not touched",
                todo="seal this run again under the next seal number",
            )


def encode_numbered(
    names: tuple[str, str, int],
    number: int,
    recipients: Sequence[Recipient],
    *,
    time_zone: str = "",
    release_at_utc: datetime | None = None,
) -> bytes:
    """Return the bytes of one batch, its recipients numbered from 0. names: project, run and seal. Pure."""
    numbered = tuple(
        Recipient(index, one.guest_id, one.address, one.name, one.values) for index, one in enumerate(recipients)
    )
    return encode_batch(Batch(*names, number, numbered, time_zone, release_at_utc))


def _words_of(draft: RunOrder) -> bytes:
    parts = (
        draft.subject_template,
        draft.html_template,
        draft.text_template,
        draft.sender_name,
        draft.sender_address,
        draft.reply_to,
        draft.unsubscribe_base_url,
    )
    return b"\x00".join(part.encode() for part in parts)


async def _each(audience: AsyncIterable[SealChunk] | Iterable[SealChunk]) -> AsyncIterator[SealChunk]:
    if isinstance(audience, AsyncIterable):
        async for chunk in audience:
            yield chunk
    else:
        for chunk in audience:
            yield chunk


async def _collect(publishing: set[asyncio.Task[None]], when: str) -> None:
    done, _ = await asyncio.wait(publishing, return_when=when)
    publishing.difference_update(done)
    failures = [error for task in done if (error := task.exception()) is not None]
    if failures:
        raise failures[0]
