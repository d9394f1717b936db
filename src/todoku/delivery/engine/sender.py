"""The sender: takes batches from the runs that are due, in turn, and visits each.

Purpose     start every run at its due second, keep the relay busy, let no big run block a small one.
Reads       KV `runs` and `stops` (watched), SEND, JOURNAL.
Writes      JOURNAL, the relay, its local answers.
Guarantees  I1-I6 of docs/delivery.md; any number of senders may run, on any machines; needs no database.
Settings    SenderOptions
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer, Delivered
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.delivery.engine.codec import decode_batch
from todoku.delivery.engine.local_answers import AnswerStore, LocalAnswers
from todoku.delivery.engine.options import Ports, RelayGate, SenderOptions
from todoku.delivery.engine.preparing import MessageMaker
from todoku.delivery.engine.runs import GO, RunBook, StopBook, wait_for_change
from todoku.delivery.engine.visit import BatchVisit
from todoku.delivery.errors import DeliveryError
from todoku.delivery.types import Batch, RendererFactory, RunOrder, Transport
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_REST = BackOff(base_seconds=0.1, cap_seconds=2.0)  # a run whose batches are all done or with others
_TROUBLE = BackOff(base_seconds=0.5, cap_seconds=30.0)
_LONGEST_WAIT_SECONDS = 1.0
_MOST_BATCHES_OUT = 20_000  # batches put back for later count as out; a big run must not starve on them


@dataclass(slots=True)
class _Run:
    """What a sender keeps for one active run. maker: None when the templates can't be compiled here."""

    order: RunOrder
    consumer: Consumer
    maker: MessageMaker | None
    fetching: bool = False
    empty: int = 0
    rests_until_seconds: float = 0.0


class Sender:
    """Send all due runs until told to stop."""

    def __init__(
        self,
        bus: Bus,
        transport: Transport,
        renderer_factory: RendererFactory,
        clock: Clock,
        local_answers: Path | AnswerStore,
        options: SenderOptions | None = None,
    ) -> None:
        """Take the folder's lock for this sender id; raises ConfigurationError when another process holds it.

        local_answers: the folder of the notes, or a store of one's own (a simulator's); closed at the end of `run`.
        """
        self._options = options or SenderOptions()
        self._renderer_factory = renderer_factory
        self._clock = clock
        self._changed = asyncio.Event()
        self._work_came = asyncio.Event()
        self._answers: AnswerStore = (
            LocalAnswers(local_answers, self._options.sender_id) if isinstance(local_answers, Path) else local_answers
        )
        self._ports = Ports(
            bus=bus,
            transport=transport,
            clock=clock,
            answers=self._answers,
            runs=RunBook(self._note_change),
            stops=StopBook(),
            gate=RelayGate(),
            options=self._options,
        )
        self._runs: dict[str, _Run] = {}
        self._turn: list[str] = []
        self._working: set[tuple[str, int, int]] = set()
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; the windows under way are finished and journalled first.

        Raises nothing for a bus, relay or database that is away: all three are waited for.
        """
        await self._start_watching(stop)
        helpers = [asyncio.create_task(self._follow_stop(stop)), asyncio.create_task(self._keep_runs())]
        workers = [asyncio.create_task(self._work()) for _ in range(self._options.batches_at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (*helpers, *workers):
                task.cancel()
            await asyncio.gather(*helpers, *workers, return_exceptions=True)
            await self._ports.runs.stop()
            await self._ports.stops.stop()
            for run in self._runs.values():
                await _close_quietly(run.consumer)
            self._answers.close()

    async def _start_watching(self, stop: asyncio.Event) -> None:
        attempt = 0
        for book in (self._ports.stops, self._ports.runs):  # stops first: no message leaves before they are known
            while not stop.is_set():
                try:
                    await book.start(self._ports.bus)
                    break
                except BusError as error:
                    log.warning("delivery.sender_waits_for_bus", error=error.what)
                    await wait_for_change(stop, _TROUBLE.wait_seconds(attempt, randomness=self._options.randomness))
                    attempt += 1
        self._answers.sweep({order.run_id for order in self._ports.runs.orders()} | set(self._runs))

    async def _follow_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping.set()
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()
        self._work_came.set()

    # --- which runs ---

    async def _keep_runs(self) -> None:
        """Open a place in SEND for each run that is due, forget those that are off the board."""
        attempt = 0
        while True:
            self._changed.clear()
            now_utc = self._clock.now_utc()
            try:
                for order in self._ports.runs.orders():
                    known = self._runs.get(order.run_id)
                    if order.due_at_utc <= now_utc and (known is None or known.order.seal != order.seal):
                        await self._open(order)
                for run_id in tuple(self._runs):
                    if self._ports.runs.get(run_id) is None:
                        await self._forget(run_id)
                attempt = 0
                wait_seconds = self._until_next_due(now_utc)
            except BusError as error:
                log.warning("delivery.run_not_opened", error=error.what)
                wait_seconds = _TROUBLE.wait_seconds(attempt, randomness=self._options.randomness)
                attempt += 1
            await wait_for_change(self._changed, wait_seconds)

    async def _open(self, order: RunOrder) -> None:
        consumer = await self._ports.bus.consumer(
            SEND,
            durable=f"send-{order.run_id}-{order.seal}",
            filter_subject=f"send.{order.run_id}.{order.seal}.*",
            ack_wait_seconds=self._options.lease_seconds,
            max_ack_pending=_MOST_BATCHES_OUT,
        )
        old = self._runs.pop(order.run_id, None)
        if old is not None:
            await _close_quietly(old.consumer)
        self._runs[order.run_id] = _Run(order, consumer, self._make_maker(order))
        if order.run_id not in self._turn:
            self._turn.insert(0, order.run_id)  # who is new goes first
        self._work_came.set()
        late_seconds = (self._clock.now_utc() - order.due_at_utc).total_seconds()
        log.info("delivery.run_opened", run_id=order.run_id, seconds_late=round(late_seconds, 3), to_send=order.to_send)

    async def _forget(self, run_id: str) -> None:
        run = self._runs.pop(run_id)
        self._turn = [one for one in self._turn if one != run_id]
        await _close_quietly(run.consumer)
        self._answers.sweep({order.run_id for order in self._ports.runs.orders()})

    def _make_maker(self, order: RunOrder) -> MessageMaker | None:
        try:
            renderer = self._renderer_factory(order.subject_template, order.html_template, order.text_template)
            return MessageMaker(order, renderer)
        except Exception as error:
            # a factory may raise what it likes; the other runs go on, and this one waits for a sender that can
            log.exception(
                "delivery.run_not_compiled",
                run_id=order.run_id,
                error=str(error),
                todo="correct the campaign and send it again, or stop the run",
            )
            return None

    def _until_next_due(self, now_utc: datetime) -> float:
        next_due = self._ports.runs.next_due(now_utc)
        if next_due is None:
            return _LONGEST_WAIT_SECONDS
        return min((next_due - now_utc).total_seconds(), _LONGEST_WAIT_SECONDS)

    # --- whose turn ---

    async def _work(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                if not await self._one_turn():
                    self._work_came.clear()
                    await wait_for_change(self._work_came, self._until_next_turn())
                attempt = 0
            except (BusError, DeliveryError, OSError) as error:
                log.error("delivery.batch_interrupted", error=str(error), kept="the batch comes again")
                await wait_for_change(
                    self._stopping, _TROUBLE.wait_seconds(attempt, randomness=self._options.randomness)
                )
                attempt += 1

    async def _one_turn(self) -> bool:
        """Take one batch from the next run in turn and visit it; return False when there is nothing to do now."""
        run = self._next_run()
        if run is None:
            return False
        run.fetching = True
        try:
            delivered = await run.consumer.fetch(1, 0.0)
        finally:
            run.fetching = False
        if not delivered:
            wait = _REST.wait_seconds(run.empty, randomness=self._options.randomness)
            run.empty += 1
            run.rests_until_seconds = self._clock.monotonic_seconds() + wait
            return True
        run.empty = 0
        await self._visit(run, delivered[0])
        return True

    def _next_run(self) -> _Run | None:
        """Return the next run in turn that may be worked on, and move it to the end."""
        now_seconds = self._clock.monotonic_seconds()
        if self._ports.gate.closed_until_seconds > now_seconds:
            return None
        now_utc = self._clock.now_utc()
        for position, run_id in enumerate(self._turn):
            run = self._runs[run_id]
            order = self._ports.runs.get(run_id)
            if order is None or order.state != GO or order.due_at_utc > now_utc or run.fetching:
                continue
            if run.rests_until_seconds > now_seconds:
                continue
            if run.maker is None and now_utc < order.latest_finish_at_utc:
                continue
            self._turn.append(self._turn.pop(position))
            return run
        return None

    def _until_next_turn(self) -> float:
        now_seconds = self._clock.monotonic_seconds()
        gate = self._ports.gate.closed_until_seconds
        if gate > now_seconds:
            return min(gate - now_seconds, _LONGEST_WAIT_SECONDS)
        rests = [run.rests_until_seconds - now_seconds for run in self._runs.values()]
        return max(0.01, min(rests, default=_LONGEST_WAIT_SECONDS))

    async def _visit(self, run: _Run, delivered: Delivered) -> None:
        try:
            batch = decode_batch(delivered.payload)
        except DeliveryError:
            await delivered.nak(60.0)
            raise
        key = _key_of(batch)
        if key in self._working:  # our own lease ran out while we still work on it
            await delivered.nak(self._options.lease_seconds)
            return
        self._working.add(key)
        try:
            order = self._ports.runs.get(batch.run_id) or run.order
            await BatchVisit(self._ports, order, run.maker, batch, self._stopping).work(delivered)
        finally:
            self._working.discard(key)


def _key_of(batch: Batch) -> tuple[str, int, int]:
    return batch.run_id, batch.seal, batch.number


async def _close_quietly(consumer: Consumer) -> None:
    try:
        await consumer.close()
    except BusError as error:
        log.debug("delivery.consumer_not_closed", error=error.what)


async def close_run(bus: Bus, order: RunOrder) -> None:
    """Take a finished run off the board and drop its batches; the journal stays until it ages out.

    For the planner, when the ledger's balance has nothing pending. Idempotent; raises the bus's transient errors.
    """
    from todoku.delivery.engine.runs import remove_order

    await remove_order(bus, order.run_id)
    await bus.delete_consumer(SEND, f"send-{order.run_id}-{order.seal}")
    await bus.purge(SEND, f"send.{order.run_id}.>")
