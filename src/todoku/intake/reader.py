"""The reader: MAIL stream -> vault -> extraction -> one transaction -> acknowledgement.

STRATEGY  Two tasks with a short queue between them: while one batch is being committed, the next is fetched and read.
          A mail is acknowledged after its transaction, never before; whatever happens in between, it comes again and
          finds its row. Reading runs in an executor (a thread by default; a pool of processes reads on more cores),
          the database in one thread of its own, because Django's connections belong to threads.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from django.db import connections

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer, Delivered
from todoku.bus.errors import BusError
from todoku.bus.streams import MAIL
from todoku.intake.errors import BookUnavailable
from todoku.intake.extracting import ReadOutcome
from todoku.intake.fates import Received, undecodable_id
from todoku.intake.kept import portions, read_kept
from todoku.intake.recording import Recorded, record
from todoku.intake.statistics import FreshStatistics
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff
from todoku.kernel.waiting import rest
from todoku.sources.types import Arrival
from todoku.vault.types import Vault

__all__ = ["MailReader"]

log = structlog.get_logger(__name__)

DURABLE: Final = "reader"
BATCH_MAILS: Final = 500
MOST_OUT: Final = 10 * BATCH_MAILS  # each reader has three batches in hand: fetched, waiting, being committed
FETCH_WAIT_SECONDS: Final = 1.0
# Each batch costs about ten statements, whatever its size: at 90 mails that is 85 µs a mail, at 250 it is 30.
BUSY_MAILS: Final = 16
GATHER_SECONDS: Final = 0.2
# A killed reader's mails wait this long; work that takes longer says so (`extend`).
ACK_WAIT_SECONDS: Final = 10.0
NAK_SECONDS: Final = 2.0
DRAIN_ATTEMPTS: Final = 8


@dataclass(slots=True)
class _Batch:
    """Mails read and not yet recorded. messages: of the received ones, to acknowledge."""

    received: list[Received]
    messages: list[Delivered]


class MailReader:
    """Carry mails into the book; any number of readers may run, on any number of machines."""

    def __init__(self, bus: Bus, vault: Vault, clock: Clock, *, executor: Executor | None = None) -> None:
        """Prepare; nothing starts. executor: where mails are read, default one thread; it is not shut down here."""
        self._bus = bus
        self._vault = vault
        self._clock = clock
        self._given_executor = executor
        self._executor: Executor | None = executor
        self._database: ThreadPoolExecutor | None = None
        self._back_off = BackOff(base_seconds=0.2, cap_seconds=10.0)
        self._statistics = FreshStatistics()

    async def run(self, stop: asyncio.Event) -> None:
        """Read until stop is set, then finish what was begun. Outages of bus, vault and database are waited for."""
        queue: asyncio.Queue[_Batch | None] = asyncio.Queue(1)
        self._open()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fetch_until(stop, queue), name="reader-fetch")
                group.create_task(self._commit_all(queue, stop), name="reader-commit")
        finally:
            await self._close()

    async def drain(self) -> int:
        """Read until the bus has nothing pending; returns how many mails were recorded.

        Mails that another reader took and did not acknowledge are waited for (ACK_WAIT_SECONDS after its end).
        Raises BookUnavailable when the database stays away (about half a minute), BusUnavailable.
        """
        self._open()
        done = 0
        wait_seconds = 0.0
        try:
            consumer = await self._consumer()
            while True:
                messages = await consumer.fetch(BATCH_MAILS, wait_seconds)
                if messages:
                    batch = await self._prepare(messages)
                    await self._commit(batch)
                    done += len(batch.messages)
                elif await consumer.pending() == 0:
                    return done
                wait_seconds = 0.0 if messages else FETCH_WAIT_SECONDS
        finally:
            await self._close()

    async def _fetch_until(self, stop: asyncio.Event, queue: asyncio.Queue[_Batch | None]) -> None:
        attempt = 0
        consumer: Consumer | None = None
        while not stop.is_set():
            try:
                consumer = consumer or await self._consumer()
                messages = await consumer.fetch(BATCH_MAILS, FETCH_WAIT_SECONDS)
                if BUSY_MAILS <= len(messages) < BATCH_MAILS:
                    await rest(stop, GATHER_SECONDS)
                    messages += await consumer.fetch(BATCH_MAILS - len(messages), 0.0)
                if messages:
                    await queue.put(await self._prepare(messages))
                attempt = 0
            except BusError as error:
                log.warning("mail.bus_away", attempt=attempt, error=str(error))
                await self._pause(stop, attempt)
                attempt += 1
        await queue.put(None)

    async def _commit_all(self, queue: asyncio.Queue[_Batch | None], stop: asyncio.Event) -> None:
        while (batch := await queue.get()) is not None:
            await self._commit(batch, stop)

    async def _consumer(self) -> Consumer:
        return await self._bus.consumer(
            MAIL,
            durable=DURABLE,
            filter_subject="mail.>",
            ack_wait_seconds=ACK_WAIT_SECONDS,
            max_ack_pending=MOST_OUT,
        )

    async def _prepare(self, messages: Sequence[Delivered]) -> _Batch:
        """Fetch the bytes and read them; what the vault can't give now goes back to the bus."""
        arrivals = [_arrival(message) for message in messages]
        batch = _Batch([], [])
        for some in portions([arrival.size_bytes if arrival is not None else 0 for arrival in arrivals]):
            outcomes = await self._read(arrivals[some])
            for message, arrival, outcome in zip(messages[some], arrivals[some], outcomes, strict=True):
                if outcome is None:
                    await message.nak(NAK_SECONDS)
                else:
                    batch.received.append(_received(message, arrival, outcome))
                    batch.messages.append(message)
        return batch

    async def _read(self, arrivals: Sequence[Arrival | None]) -> list[ReadOutcome | None]:
        """Return what each mail says; None when only now is the wrong time."""
        known = [arrival for arrival in arrivals if arrival is not None]
        outcomes = iter(await read_kept(self._vault, known, self._executor))
        return [ReadOutcome(None, "arrival_undecodable") if arrival is None else next(outcomes) for arrival in arrivals]

    async def _commit(self, batch: _Batch, stop: asyncio.Event | None = None) -> None:
        """Record the batch, project by project, and acknowledge; waits for the database as long as it takes.

        When stop is set while the database is away, the rest is left to the bus, which hands it over again.
        """
        by_project: dict[str, list[int]] = defaultdict(list)
        for index, received in enumerate(batch.received):
            by_project[received.project_id].append(index)
        for project_id, indices in by_project.items():
            mails = [batch.received[index] for index in indices]
            recorded = await self._record(project_id, mails, batch.messages, stop)
            if recorded is None:
                return
            await self._tell(recorded, mails)
            await self._acknowledge([batch.messages[index] for index in indices])

    async def _record(
        self, project_id: str, mails: Sequence[Received], messages: Sequence[Delivered], stop: asyncio.Event | None
    ) -> Recorded | None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            try:
                return await loop.run_in_executor(self._database, self._record_and_count, project_id, mails)
            except BookUnavailable as error:
                log.warning("mail.book_away", project_id=project_id, attempt=attempt, error=str(error))
                if stop is None and attempt >= DRAIN_ATTEMPTS:
                    raise
            if stop is not None and stop.is_set():
                return None
            await self._keep(messages)
            await self._pause(stop, attempt)
            attempt += 1

    def _record_and_count(self, project_id: str, mails: Sequence[Received]) -> Recorded:
        recorded = record(project_id, mails)
        self._statistics.grown_by(len(mails))
        return recorded

    async def _keep(self, messages: Sequence[Delivered]) -> None:
        """Tell the bus that these are still being worked on."""
        try:
            for message in messages:
                await message.extend()
        except BusError as error:
            log.debug("mail.not_extended", error=str(error))

    async def _tell(self, recorded: Recorded, mails: Sequence[Received]) -> None:
        """Let live pages know; a page that misses it sees the same at its next look."""
        counted = Counter(state.value for state in recorded.states.values())
        log.info("mail.recorded", project_id=recorded.project_id, mails=len(mails), **counted)
        try:
            await self._bus.publish_event(
                recorded.project_id,
                "reservation",
                {
                    "reservation_ids": [str(reservation_id) for reservation_id in recorded.reservation_ids],
                    "arrival_ids": [str(mail.arrival.arrival_id) for mail in mails],
                },
            )
        except BusError as error:
            log.warning("mail.event_not_published", project_id=recorded.project_id, error=str(error))

    async def _acknowledge(self, messages: Sequence[Delivered]) -> None:
        try:
            for message in messages:
                await message.ack()
        except BusError as error:
            # they come again and find their rows
            log.warning("mail.not_acknowledged", mails=len(messages), error=str(error))

    async def _pause(self, stop: asyncio.Event | None, attempt: int) -> None:
        seconds = self._back_off.wait_seconds(attempt)
        await (asyncio.sleep(seconds) if stop is None else rest(stop, seconds))

    def _open(self) -> None:
        if self._given_executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._database = ThreadPoolExecutor(1, thread_name_prefix="reader-book")

    async def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await asyncio.get_running_loop().run_in_executor(database, connections.close_all)
            database.shutdown()
        if self._given_executor is None and self._executor is not None:
            self._executor.shutdown()


def _arrival(message: Delivered) -> Arrival | None:
    try:
        return msgspec.msgpack.decode(message.payload, type=Arrival)
    except msgspec.MsgspecError as error:
        log.error("mail.arrival_undecodable", subject=message.subject, sequence=message.sequence, error=str(error))
        return None


def _received(message: Delivered, arrival: Arrival | None, outcome: ReadOutcome) -> Received:
    _, project_id, source = message.subject.split(".")
    if arrival is None:
        arrival = Arrival(
            arrival_id=undecodable_id(message.subject, message.sequence),
            project_id=project_id,
            source=source,
            vault_key="",
            sha256="",
            size_bytes=0,
            received_at_utc=message.published_at_utc,
        )
    return Received(message.sequence, project_id, arrival, outcome)
