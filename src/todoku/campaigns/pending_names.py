"""Who of a stopped run was never handed over, as the bus knows it: sealed, not settled, in no open intent."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import connection

from todoku.bus.connection import Bus
from todoku.bus.streams import JOURNAL, SEND, journal_subject
from todoku.campaigns import undelivered
from todoku.delivery.engine.codec import decode_batch, decode_journal
from todoku.delivery.engine.journal import unpack_settled

_CHUNKS = 4

People = list[tuple[UUID, str]]
_Chunk = People | BaseException | None  # an error: nothing may be kept; None: that was all


async def keep_pending_names(bus: Bus, project_id: str, run_id: UUID, seal: int) -> int:
    """Write down whom a stopped run left out, before its batches go; returns how many. Repeating it changes nothing.

    Whoever stands in an open intent may have been reached and is not among them. Constant memory; works in a thread of
    its own. Raises BusError, database errors.
    """
    chunks: queue.Queue[_Chunk] = queue.Queue(maxsize=_CHUNKS)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="undelivered") as thread:
        writing = loop.run_in_executor(thread, _write, project_id, run_id, chunks)
        last: _Chunk = None
        try:
            async for people in _pending(bus, run_id, seal):
                await _hand_over(chunks, people, writing)
        except BaseException as error:
            last = error
            raise
        finally:
            await _hand_over(chunks, last, writing)
        return await writing


async def _hand_over(chunks: queue.Queue[_Chunk], people: _Chunk, writing: asyncio.Future[int]) -> None:
    while not writing.done() and not await asyncio.to_thread(_offer, chunks, people):
        continue


async def _pending(bus: Bus, run_id: UUID, seal: int) -> AsyncIterator[People]:
    async for message in bus.messages(SEND, f"send.{run_id.hex}.{seal}.*"):
        batch = decode_batch(message.payload)
        line = await bus.last_message(JOURNAL, journal_subject(run_id.hex, seal, str(batch.number)))
        decided: set[int] = set()
        if line is not None:
            last = decode_journal(line.payload)
            decided = set(unpack_settled(last.settled))
            decided |= set(last.intent.indexes) if last.intent is not None else set()
        yield [(UUID(one.guest_id), one.address) for one in batch.recipients if one.index not in decided]


def _write(project_id: str, run_id: UUID, chunks: queue.Queue[_Chunk]) -> int:
    try:
        return undelivered.keep(project_id, run_id, _each(chunks))
    finally:
        connection.close()


def _each(chunks: queue.Queue[_Chunk]) -> Iterator[tuple[UUID, str]]:
    while (people := chunks.get()) is not None:
        if isinstance(people, BaseException):
            raise people
        yield from people


def _offer(chunks: queue.Queue[_Chunk], people: _Chunk) -> bool:
    try:
        chunks.put(people, timeout=1.0)
    except queue.Full:
        return False
    return True
