"""The projector: carries the journal into the ledger, group by group."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer, Delivered
from todoku.bus.errors import BusError
from todoku.bus.streams import JOURNAL
from todoku.delivery.engine.codec import decode_journal
from todoku.delivery.errors import UnreadablePayload
from todoku.delivery.ledger.packing import PackedLine, pack_line
from todoku.delivery.ledger.store import LedgerStore, StoreCounts
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

DURABLE = "ledger"
LINES_AT_ONCE = 300  # of up to 100 recipients, 210 bytes each: 6 MB in memory
GATHER_SECONDS = 1.0  # a page may wait so long for a number; it saves most of the transactions
DRAIN_GATHER_SECONDS = 0.1
NICENESS = 10  # on a machine that also sends, the ledger may lag and a start may not
START_KIND = b"ST"  # the record that a run began: it has no outcomes, and is no line
_LEASE_SECONDS = 10.0  # what a killed projector had in hand comes again after so long
_UNREADABLE_WAIT_SECONDS = 60.0
_BACK_OFF = BackOff(base_seconds=0.5, cap_seconds=15.0)


Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Group:
    """What came together. done: to be acknowledged once the lines are stored, start records among them."""

    lines: list[PackedLine]
    done: list[Delivered]
    unreadable: list[tuple[Delivered, str]]


class Projector:
    """Feed the ledger until told to stop. Several may run; each line is applied once."""

    def __init__(self, bus: Bus, clock: Clock, *, durable: str = DURABLE, filter_subject: str = "journal.>") -> None:
        """durable and filter_subject: other than the default only where several installations share a stream."""
        self._bus = bus
        self._clock = clock
        self._durable = durable
        self._filter_subject = filter_subject
        self._store = LedgerStore()
        self._thread: ThreadPoolExecutor | None = None

    @property
    def counts(self) -> StoreCounts:
        """Return what was written so far, with the number of SQL statements it took."""
        return self._store.counts

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A bus or database that is away is waited for; raises nothing for them."""
        attempt = 0
        try:
            while not stop.is_set():
                try:
                    consumer = await self._open()
                    try:
                        while not stop.is_set():
                            await self._one_group(consumer, stop, 1.0)
                            attempt = 0
                    finally:
                        await consumer.close()
                except BusError as error:
                    log.warning("ledger.waits_for_bus", error=error.what)
                    await _pause(stop, _BACK_OFF.wait_seconds(attempt))
                    attempt += 1
        finally:
            await self._end_thread()

    async def drain(self) -> int:
        """Apply what the journal holds until nothing is pending; return how many lines there were."""
        consumer = await self._open()
        never = asyncio.Event()
        lines = 0
        try:
            while await consumer.pending():
                lines += await self._one_group(consumer, never, 0.2, DRAIN_GATHER_SECONDS)
        finally:
            await consumer.close()
            await self._end_thread()
        return lines

    async def _open(self) -> Consumer:
        return await self._bus.consumer(
            JOURNAL,
            durable=self._durable,
            filter_subject=self._filter_subject,
            ack_wait_seconds=_LEASE_SECONDS,
            max_ack_pending=10 * LINES_AT_ONCE,
        )

    async def _one_group(
        self, consumer: Consumer, stop: asyncio.Event, wait_seconds: float, gather_seconds: float = GATHER_SECONDS
    ) -> int:
        delivered = await consumer.fetch(LINES_AT_ONCE, wait_seconds)
        if not delivered:
            return 0
        gather_until = self._clock.monotonic_seconds() + gather_seconds
        while len(delivered) < LINES_AT_ONCE and not stop.is_set():
            left = gather_until - self._clock.monotonic_seconds()
            if left <= 0:
                break
            delivered += await consumer.fetch(LINES_AT_ONCE - len(delivered), left)
        group = await self._in_thread(_pack, delivered)
        for one, why in group.unreadable:
            log.error("ledger.line_unreadable", subject=one.subject, sequence=one.sequence, error=why)
            await one.nak(_UNREADABLE_WAIT_SECONDS)
        async with _kept(group.done):
            changed = await self._apply_until_done(group.lines, stop)
        if changed is None:
            return 0
        for one in group.done:
            await one.ack()
        await self._tell(changed)
        return len(delivered)

    async def _apply_until_done(self, lines: list[PackedLine], stop: asyncio.Event) -> set[tuple[str, UUID]] | None:
        """Return which runs changed; None when told to stop before the database took the lines."""
        attempt = 0
        while True:
            try:
                return await self._in_thread(self._apply, lines)
            except DatabaseError as error:
                log.error(
                    "ledger.database_away",
                    error=str(error).strip(),
                    kept="every line is in the journal",
                    todo="bring PostgreSQL back; the ledger catches up by itself",
                )
            if stop.is_set():
                return None
            await _pause(stop, _BACK_OFF.wait_seconds(attempt))
            attempt += 1

    async def _in_thread(self, function: Callable[[Given], Result], given: Given) -> Result:
        """Use one thread for all, because Django's connection belongs to the thread that made it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger", initializer=_give_way)
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, given)

    def _apply(self, lines: list[PackedLine]) -> set[tuple[str, UUID]]:
        try:
            return self._store.apply(lines)
        except DatabaseError:
            self._store.close()  # a broken connection is not used again
            raise

    async def _end_thread(self) -> None:
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
            self._thread.shutdown()
            self._thread = None

    async def _tell(self, changed: set[tuple[str, UUID]]) -> None:
        for project_id, run_id in sorted(changed):
            try:
                await self._bus.publish_event(project_id, "run", {"run_id": str(run_id)})
            except BusError as error:
                log.warning("ledger.event_not_published", run_id=str(run_id), error=error.what)


@asynccontextmanager
async def _kept(delivered: Sequence[Delivered]) -> AsyncIterator[None]:
    """Keep these lines from others for as long as a slow database takes: given out again they would burden it twice."""
    keeping = asyncio.create_task(_keep(delivered))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(delivered: Sequence[Delivered]) -> None:
    while True:
        await asyncio.sleep(_LEASE_SECONDS / 3)
        try:
            for one in delivered:
                await one.extend()
        except BusError as error:
            log.warning("ledger.lines_not_kept", error=error.what)


def _pack(delivered: Sequence[Delivered]) -> _Group:
    """Read the lines and make rows of them; done where it does not hold up the event loop."""
    group = _Group([], [], [])
    for one in delivered:
        payload = one.payload
        if payload[:2] == START_KIND:
            group.done.append(one)
            continue
        try:
            group.lines.append(pack_line(one.sequence, decode_journal(payload), one.message_id))
        except (UnreadablePayload, ValueError) as error:
            group.unreadable.append((one, str(error)))
        else:
            group.done.append(one)
    return group


async def begin_anew(bus: Bus, *, durable: str = DURABLE) -> None:
    """Let projectors read the whole journal again; for a database that was restored from an older copy.

    What the ledger has is left as it is: each line is applied once. Idempotent. Raises BusUnavailable.
    """
    await bus.delete_consumer(JOURNAL, durable)
    log.info("ledger.begins_anew", durable=durable)


def _give_way() -> None:
    """Lower the priority of this one thread; on Linux niceness belongs to threads, not to processes."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
