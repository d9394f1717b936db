"""The planner (role `plan`): due runs are sealed, orders passed on, finished runs closed.

Purpose     look at all open runs twice a second; seal those due within the lead; relay what people decided to the
            senders; see runs start and end; clear the bus behind them.
Reads       its tables, guests (one streaming COPY a run), JOURNAL (has it begun?), the ledger (is it over?).
Writes      its tables, SEND and JOURNAL through the sealer, KV `runs` and `stops`.
Guarantees  any number of planners; each step is a compare-and-set or may be repeated. Order of a seal: batches on the
            bus, then `sealed` in the database, then KV `runs`: a planner that lost its claim never reaches KV, so no
            sender ever works on its seal. Trouble of the software makes a run late, never stopped.
Settings    lead_seconds 900: how long before due to seal; PlannerPace.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID, uuid4

import structlog
from django.db import Error as DatabaseError
from django.db import connection

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError, KeyExists, RevisionConflict
from todoku.bus.streams import JOURNAL, RUNS_BUCKET
from todoku.campaigns import run_store
from todoku.campaigns.left_out import forget, tell_journal
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.sealing import SealingDesk
from todoku.campaigns.stop_relay import StopRelay
from todoku.campaigns.types import Reason, RunState
from todoku.delivery.engine.codec import decode_order, encode_order
from todoku.delivery.engine.sender import close_run
from todoku.delivery.ledger import queries as ledger
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

_STOPPED_STAYS = timedelta(seconds=60)  # long enough for every sender to have heard of the stop
_LATE_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class PlannerPace:
    """How often a planner looks (look_seconds), counts (balance_seconds), and how long a dead one's claim holds."""

    look_seconds: float = 0.5
    balance_seconds: float = 1.0
    lease_seconds: float = 10.0


class Planner:
    """One planner; `run` until told to stop, or `step` by step."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        wakeup: asyncio.Event | None = None,
        *,
        public_url: str = "http://127.0.0.1:8090",
        lead_seconds: float = 900.0,
        pace: PlannerPace | None = None,
    ) -> None:
        """public_url: where guests reach the page that stops the mails. wakeup: set it to be looked after at once."""
        self._bus = bus
        self._clock = clock
        self._wakeup = wakeup if wakeup is not None else asyncio.Event()
        self._lead = timedelta(seconds=lead_seconds)
        self._pace = pace or PlannerPace()
        self._name = f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid4().hex[:8]}"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plan")
        self._desk = SealingDesk(
            bus,
            clock,
            self.database,
            unsubscribe_base_url=f"{public_url.rstrip('/')}/unsubscribe/",
            lease_seconds=self._pace.lease_seconds,
        )
        self._stops = StopRelay(bus, self.database)
        self._closed = False
        self._balanced_at: dict[UUID, float] = {}
        self._told_late: set[UUID] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stop is set; waits out a database or bus that is away. Gives its claims back at the end."""
        back_off = BackOff(base_seconds=0.5, cap_seconds=5.0)
        attempt = 0
        swept = False
        try:
            while not stop.is_set():
                wait_seconds = self._pace.look_seconds
                try:
                    if not swept:
                        await self._sweep()
                        swept = True
                    await self._look()
                    attempt = 0
                except (BusError, DatabaseError) as error:
                    wait_seconds = back_off.wait_seconds(attempt)
                    attempt += 1
                    log.warning("plan.waiting", error=str(error), kind=type(error).__name__, wait_seconds=wait_seconds)
                await self._rest(stop, wait_seconds)
        finally:
            await self.close()

    async def step(self) -> None:
        """Do one whole pass and wait for the sealing it began; for tests and for jobs that run once."""
        await self._look()
        await self._desk.finish()
        await self._look()

    async def close(self) -> None:
        """Give claims back and end the thread; idempotent."""
        await self._desk.cancel()
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, _disconnect)
            self._thread.shutdown(wait=False)

    async def database(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a synchronous database call in the planner's one database thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(_call, call, *args, **kwargs))

    async def _look(self) -> None:
        now_utc = self._clock.now_utc()
        for run in await self.database(run_store.open_runs, now_utc + self._lead):
            try:
                await self._attend(run, now_utc)
            except (BusError, DatabaseError):
                raise
            except Exception:
                # one run's trouble must not make all others late
                log.exception("plan.run_failed", project_id=run.project_id, run_id=str(run.id))

    async def _attend(self, run: OpenRun, now_utc: datetime) -> None:
        self._tell_late(run, now_utc)
        if run.state in (RunState.PLANNED, RunState.SEALING):
            if now_utc > run.latest_start_at and run.state is RunState.PLANNED:
                await self._hold_late(run, now_utc)
            else:
                await self._desk.take(run, self._name, now_utc)
            return
        if not run.told_journal:
            await tell_journal(self._bus, run.id.hex, run.seal)
            await self.database(run_store.mark_told, run)
        if run.order_version < run.version:
            await self._pass_on(run)
        if run.sealed_at is not None and run.state in (RunState.SEALED, RunState.SENDING, RunState.PAUSED):
            await self._stops.pass_on(run.project_id, run.sealed_at, now_utc)
        if run.state is RunState.SEALED and now_utc >= run.due_at:
            await self._see_start(run, now_utc)
        elif run.state in (RunState.SENDING, RunState.PAUSED):
            await self._see_end(run, now_utc)
        elif run.state is RunState.FINISHED or (
            run.state is RunState.STOPPED and now_utc >= run.changed_at + _STOPPED_STAYS
        ):
            await self._clear(run, now_utc)

    async def _pass_on(self, run: OpenRun) -> None:
        """Write the order into KV `runs`.

        The entry is read before the row and written under its revision: whoever decides on an older row loses the
        write, and the row's version sees to it that the newest order is written in the end.
        """
        bucket = self._bus.bucket(RUNS_BUCKET)
        key = run.id.hex
        entry = await bucket.get(key)
        found = await self.database(run_store.order_of, run)
        if found is None:
            return
        order, version = found
        try:
            if entry is None:
                await bucket.create(key, encode_order(order))
            elif decode_order(entry.value) != order:
                await bucket.update(key, encode_order(order), entry.revision)
        except (KeyExists, RevisionConflict):
            return  # another planner was faster; the next look compares again
        await self.database(run_store.mark_ordered, run, version)
        log.info("run.ordered", project_id=run.project_id, run_id=str(run.id), wish=order.state, seal=order.seal)

    async def _see_start(self, run: OpenRun, now_utc: datetime) -> None:
        started_at = run.due_at if run.to_send == 0 else await self._first_intent_at(run)
        if started_at is not None:
            await self.database(run_store.mark_started, run, started_at, now_utc)
        elif now_utc > run.latest_start_at:
            await self._hold_late(run, now_utc)

    async def _first_intent_at(self, run: OpenRun) -> datetime | None:
        """Return when a sender first wrote about this seal; None when none did."""
        prefix = f"journal.{run.id.hex}.{run.seal}."
        counts = await self._bus.subject_counts(JOURNAL, prefix + "*")
        batches = sorted((name for name in (subject[len(prefix) :] for subject in counts) if name.isdigit()), key=int)
        if not batches:
            return None
        async for message in self._bus.messages(JOURNAL, prefix + batches[0]):
            return message.published_at_utc
        return None

    async def _see_end(self, run: OpenRun, now_utc: datetime) -> None:
        looked_at = self._balanced_at.get(run.id)
        monotonic_seconds = self._clock.monotonic_seconds()
        if looked_at is not None and 0 <= monotonic_seconds - looked_at < self._pace.balance_seconds:
            return
        self._balanced_at[run.id] = monotonic_seconds
        balance = await self.database(ledger.balance, run.project_id, run.id, run.planned)
        if balance.pending < 0:
            log.error("run.balance_broken", project_id=run.project_id, run_id=str(run.id), **balance.as_dict())
        if balance.pending == 0 and await self.database(run_store.mark_finished, run, balance, now_utc):
            self._balanced_at.pop(run.id, None)
            self._told_late.discard(run.id)

    async def _hold_late(self, run: OpenRun, now_utc: datetime) -> None:
        limit = f"{run.latest_start_at:%Y-%m-%d %H:%M} UTC"
        reason = Reason(f"could not start by {limit}", f"{limit} までに開始できませんでした")
        await self.database(run_store.hold, run, reason, now_utc)

    async def _clear(self, run: OpenRun, now_utc: datetime) -> None:
        found = await self.database(run_store.order_of, run)
        if found is not None:
            await close_run(self._bus, found[0])
            await forget(self._bus, run.id.hex)
        await self.database(run_store.mark_closed, run, now_utc)

    async def _sweep(self) -> None:
        """Remove orders of closed runs that a planner left by dying between a late write and its end."""
        bucket = self._bus.bucket(RUNS_BUCKET)
        ids = [UUID(key) for key in await bucket.keys() if _is_run_id(key)]
        for run_id in await self.database(run_store.closed_among, ids):
            await bucket.delete(run_id.hex)

    def _tell_late(self, run: OpenRun, now_utc: datetime) -> None:
        waiting = run.state in (RunState.PLANNED, RunState.SEALING, RunState.SEALED)
        if waiting and now_utc > run.due_at + _LATE_AFTER and run.id not in self._told_late:
            self._told_late.add(run.id)
            late_seconds = (now_utc - run.due_at).total_seconds()
            log.warning(
                "run.late",
                project_id=run.project_id,
                run_id=str(run.id),
                state=run.state.value,
                seconds_late=late_seconds,
                todo="look whether a sender runs and its relay answers",
            )

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(self._wakeup.wait())]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._wakeup.clear()


def _call(call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    try:
        return call(*args, **kwargs)
    except DatabaseError:
        connection.close()  # a connection that broke stays broken; the next call opens a new one
        raise


def _disconnect() -> None:
    connection.close()  # looked up here, because Django's connection is that of the thread that asks


def _is_run_id(key: str) -> bool:
    return len(key) == 32 and all(letter in "0123456789abcdef" for letter in key)
