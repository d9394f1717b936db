"""The sender: takes batches from the runs that are due, in turn, and visits each.

Purpose     start every run at its due second, keep the ways out busy, let no run block another.
Reads       KV `runs` and `stops` (watched), KV `paces`, SEND, JOURNAL.
Writes      JOURNAL, KV `paces`, the transports, its local answers.
Guarantees  I1-I6 of docs/delivery.md; any number of senders may run, on any machines; needs no database.
Settings    SenderOptions
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from todoku.bus.connection import Bus
from todoku.bus.consumers import Delivered
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.delivery.engine.active_run import ActiveRun, arm, drop_consumers
from todoku.delivery.engine.codec import OpenBatch, open_batch
from todoku.delivery.engine.gate import RelayGate
from todoku.delivery.engine.local_answers import AnswerStore, LocalAnswers
from todoku.delivery.engine.options import Ports, SenderOptions, SignerOf, unsigned
from todoku.delivery.engine.pace import Paces, forget_run_pace, run_limit
from todoku.delivery.engine.runs import RunBook, StopBook, remove_order, wait_for_change
from todoku.delivery.engine.turns import RunTurn, Turns
from todoku.delivery.engine.visit import BatchVisit, VisitEnd
from todoku.delivery.errors import DeliveryError
from todoku.delivery.types import RendererFactory, RunOrder, Transport
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_REST = BackOff(base_seconds=0.1, cap_seconds=2.0)  # a run whose batches are all done or with others
_TROUBLE = BackOff(base_seconds=0.5, cap_seconds=30.0)
_ARM_TROUBLE = BackOff(base_seconds=0.5, cap_seconds=3.0)  # a run may be due the moment that the trouble is over
_LONGEST_WAIT_SECONDS = 1.0
_ARM_AT_ONCE = 16
_ONE_VISIT_PACE = 500.0  # messages a second that one batch after the other can keep up with


@dataclass(slots=True)
class _Arming:
    """An order that is being made ready."""

    order: RunOrder
    task: asyncio.Task[None]


class Sender:
    """Send all due runs until told to stop."""

    def __init__(
        self,
        bus: Bus,
        transports: Mapping[str, Transport] | Transport,
        renderer_factory: RendererFactory,
        clock: Clock,
        local_answers: Path | AnswerStore,
        options: SenderOptions | None = None,
        *,
        signer_of: SignerOf = unsigned,
    ) -> None:
        """Take the folder's lock for this sender id; raises ConfigurationError when another process holds it.

        transports: by the names that orders give; "" is the default, and one alone is that. local_answers: the folder
        of the notes, or a store of one's own (a simulator's); closed at the end of `run`.
        """
        self._options = options or SenderOptions()
        self._renderer_factory = renderer_factory
        self._clock = clock
        self._changed = asyncio.Event()
        self._work_came = asyncio.Event()
        self._answers: AnswerStore = (
            LocalAnswers(local_answers, self._options.sender_id) if isinstance(local_answers, Path) else local_answers
        )
        ways = transports if isinstance(transports, Mapping) else {"": transports}
        self._ports = Ports(
            bus=bus,
            transports=ways,
            clock=clock,
            answers=self._answers,
            runs=RunBook(self._note_change),
            stops=StopBook(),
            gates={name: self._gate(name) for name in ways},
            paces=Paces(bus, clock),
            options=self._options,
            signer_of=signer_of,
        )
        self._runs: dict[str, ActiveRun] = {}
        self._arming: dict[str, _Arming] = {}
        self._arm_at_once = asyncio.Semaphore(_ARM_AT_ONCE)
        self._turns = Turns(self._options.batches_at_once, self._options.visits_at_once, self._options.window)
        self._visits: set[asyncio.Task[None]] = set()
        self._working: set[tuple[str, int, int]] = set()
        self._next_due_utc: datetime | None = None
        self._stopping = asyncio.Event()

    def _gate(self, name: str) -> RelayGate:
        return RelayGate(name, self._options.relay_wait, self._options.randomness)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; the windows under way are finished and journalled first.

        Raises nothing for a bus, relay or database that is away: all three are waited for.
        """
        await self._start_watching(stop)
        helpers = [asyncio.create_task(self._follow_stop(stop)), asyncio.create_task(self._keep_runs())]
        try:
            await self._hand_out_turns()
            if self._visits:
                await asyncio.wait(self._visits)
        finally:
            tasks = [*helpers, *self._visits, *(one.task for one in self._arming.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._ports.paces.close()
            await self._ports.runs.stop()
            await self._ports.stops.stop()
            for run in self._runs.values():
                await run.close()
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
        if not stop.is_set():  # who is sent away before the board was read knows no run, and would sweep everything
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
        """Arm each run shortly before it is due, or at once; forget those that are off the board."""
        while True:
            self._changed.clear()
            now_utc = self._clock.now_utc()
            self._next_due_utc = self._ports.runs.next_due(now_utc)
            horizon_utc = now_utc + timedelta(seconds=self._options.arm_seconds)
            orders = [order for order in self._ports.runs.orders() if order.due_at_utc <= horizon_utc]
            for order in sorted(orders, key=lambda one: one.due_at_utc):
                if self._must_arm(order):
                    self._begin_arming(order)
            for run_id in tuple(self._runs):
                if self._ports.runs.get(run_id) is None:
                    await self._forget(run_id)
            await wait_for_change(self._changed, self._until_next_arming(horizon_utc))

    def _must_arm(self, order: RunOrder) -> bool:
        arming = self._arming.get(order.run_id)
        if arming is not None:
            return arming.order.seal != order.seal
        known = self._runs.get(order.run_id)
        if known is None:
            return True
        if known.record is not None:
            return known.record.seal != known.seal
        return known.seal != order.seal

    def _begin_arming(self, order: RunOrder) -> None:
        earlier = self._arming.pop(order.run_id, None)
        if earlier is not None:
            earlier.task.cancel()
        task = asyncio.create_task(self._arm(order))
        self._arming[order.run_id] = _Arming(order, task)

    async def _arm(self, order: RunOrder) -> None:
        attempt = 0
        try:
            while not self._stopping.is_set():
                try:
                    async with self._arm_at_once:
                        run = await arm(self._ports, self._renderer_factory, order)
                    break
                except (BusError, DeliveryError, OSError) as error:  # OSError: nothing can be noted, the disk is full
                    log.warning("delivery.run_not_armed", run_id=order.run_id, error=str(error))
                    wait = _ARM_TROUBLE.wait_seconds(attempt, randomness=self._options.randomness)
                    await wait_for_change(self._stopping, wait)
                    attempt += 1
            else:
                return
        finally:
            arming = self._arming.get(order.run_id)
            if arming is not None and arming.task is asyncio.current_task():
                del self._arming[order.run_id]
        await self._take_up(run)

    async def _take_up(self, run: ActiveRun) -> None:
        old = self._runs.pop(run.run_id, None)
        self._runs[run.run_id] = run
        self._turns.add(run.run_id)
        self._work_came.set()
        if old is not None:
            await old.close()
        order = run.armed_order
        if order.transport not in self._ports.transports:
            log.error(
                "delivery.transport_not_known",
                run_id=run.run_id,
                transport=order.transport,
                kept="every message waits; the run is late, nothing is lost",
                todo="name this transport in TODOKU_TRANSPORTS and start the sender again",
            )
        log.info(
            "delivery.run_armed",
            run_id=run.run_id,
            seal=run.seal,
            due=order.due_at_utc.isoformat(),
            seconds_before=round((order.due_at_utc - self._clock.now_utc()).total_seconds(), 3),
        )

    async def _forget(self, run_id: str) -> None:
        run = self._runs.pop(run_id)
        self._turns.remove(run_id)
        self._ports.paces.forget(run_limit(run_id, 0.0))
        await run.close()
        self._answers.sweep({order.run_id for order in self._ports.runs.orders()})

    def _until_next_arming(self, horizon_utc: datetime) -> float:
        next_due = self._ports.runs.next_due(horizon_utc)
        if next_due is None:
            return _LONGEST_WAIT_SECONDS
        return min((next_due - horizon_utc).total_seconds(), _LONGEST_WAIT_SECONDS)

    # --- whose turn ---

    async def _hand_out_turns(self) -> None:
        while not self._stopping.is_set():
            self._work_came.clear()
            run_id = self._turns.next(self._way_of)
            if run_id is None:
                await wait_for_change(self._work_came, min(self._until_next_turn(), _LONGEST_WAIT_SECONDS))
                continue
            run = self._runs[run_id]
            run.fetching = True
            order = run.order(self._ports)
            turn = self._turns.begin(run_id, order.transport if order is not None else "")
            task = asyncio.create_task(self._one_turn(run, turn))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

    def _way_of(self, run_id: str) -> str | None:
        """Return the way out of a run that may be visited now, None for all others."""
        run = self._runs.get(run_id)
        now_seconds = self._clock.monotonic_seconds()
        if run is None or run.fetching or run.rests_until_seconds > now_seconds:
            return None
        order = run.order(self._ports)
        if order is None or not run.may_work(self._ports):
            return None
        if self._turns.visits(run_id) and 0 < order.pace_per_second < _ONE_VISIT_PACE:
            return None
        gate = self._ports.gates[order.transport]
        if gate.closed_until_seconds > now_seconds and self._clock.now_utc() < order.latest_finish_at_utc:
            return None
        return order.transport

    def _until_next_turn(self) -> float:
        """Return how long nothing changes by itself; rests wake us by timers of their own."""
        now_seconds, now_utc = self._clock.monotonic_seconds(), self._clock.now_utc()
        if self._next_due_utc is not None and self._next_due_utc <= now_utc:
            self._next_due_utc = self._ports.runs.next_due(now_utc)
        moments = [gate.closed_until_seconds - now_seconds for gate in self._ports.gates.values()]
        if self._next_due_utc is not None:
            moments.append((self._next_due_utc - now_utc).total_seconds())
        return min((moment for moment in moments if moment > 0), default=_LONGEST_WAIT_SECONDS)

    async def _one_turn(self, run: ActiveRun, turn: RunTurn) -> None:
        """Take one batch of the run and visit it."""
        try:
            try:
                delivered = await run.consumer.fetch(1, 0.0)
            finally:
                run.fetching = False
                self._work_came.set()
            if delivered:
                run.empty = 0
                await self._visit(run, turn, delivered[0])
            elif not run.has_no_batches or not await run.begin(self._ports):
                self._let_rest(run, _REST.wait_seconds(run.empty, randomness=self._options.randomness))
                run.empty += 1
            run.trouble = 0
        except (BusError, DeliveryError, OSError) as error:
            log.error("delivery.batch_interrupted", run_id=run.run_id, error=str(error), kept="the batch comes again")
            self._let_rest(run, _TROUBLE.wait_seconds(run.trouble, randomness=self._options.randomness))
            run.trouble += 1
        finally:
            turn.end()
            self._work_came.set()

    def _let_rest(self, run: ActiveRun, seconds: float) -> None:
        run.rests_until_seconds = self._clock.monotonic_seconds() + seconds
        asyncio.get_running_loop().call_later(seconds + 0.001, self._work_came.set)

    async def _visit(self, run: ActiveRun, turn: RunTurn, delivered: Delivered) -> None:
        try:
            batch = open_batch(delivered.payload)
        except DeliveryError:
            await delivered.nak(60.0)
            raise
        key = _key_of(batch)
        if key in self._working:  # our own lease ran out while we still work on it
            await delivered.nak(self._options.lease_seconds)
            return
        if run.order(self._ports) is None:
            await delivered.nak(_LONGEST_WAIT_SECONDS)
            return
        self._working.add(key)
        try:
            end = await BatchVisit(self._ports, run, batch, turn, self._stopping).work(delivered)
        finally:
            self._working.discard(key)
        if end is VisitEnd.OTHER_SEAL:
            self._changed.set()
            self._let_rest(run, _LONGEST_WAIT_SECONDS)


def _key_of(batch: OpenBatch) -> tuple[str, int, int]:
    return batch.run_id, batch.seal, batch.number


async def close_run(bus: Bus, order: RunOrder) -> None:
    """Take a finished run off the board and drop its batches; the journal stays until it ages out.

    For the planner, when the ledger's balance has nothing pending. Idempotent; raises the bus's transient errors.
    """
    await remove_order(bus, order.run_id)
    await drop_consumers(bus, order.run_id, order.seal)
    await forget_run_pace(bus, order.run_id)
    await bus.purge(SEND, f"send.{order.run_id}.>")
