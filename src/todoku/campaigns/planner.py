"""The planner (role `plan`): due runs are sealed, orders passed on, finished runs closed.

Purpose     look at all open runs twice a second; seal those due within the lead, and the next of each campaign a day
            ahead; relay what people decided to the senders; see runs start and end; clear the bus behind them.
Reads       its tables, guests (one streaming COPY a run), JOURNAL (has it begun?), the ledger (is it over?).
Writes      its tables, SEND and JOURNAL through the sealer, KV `runs` and `stops`.
Guarantees  any number of planners; each step is a compare-and-set or may be repeated. Order of a seal: batches on the
            bus, then the run in the database, then KV `runs`: a planner that lost its claim never reaches KV, so no
            sender ever works on its seal. Which seal was sent is said by the start record alone; the planner follows
            it. Trouble of the software makes a run late, never stopped.
Settings    lead_seconds 900: how long before due to seal; pre_seal_seconds 86400: how long before due to seal for the
            first time, 0 = never; PlannerPace.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import RUNS_BUCKET
from todoku.campaigns import occurrence_desk, run_store
from todoku.campaigns.database_thread import DatabaseThread, DatabaseTooSlow
from todoku.campaigns.run_care import RunCare
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.sealing import THREAD_PEOPLE, SealingDesk
from todoku.campaigns.stop_relay import StopRelay
from todoku.campaigns.types import RunState
from todoku.campaigns.zones import earliest_due
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_UNSEALED = (RunState.PLANNED, RunState.SEALING)
_ZONES_AHEAD = timedelta(hours=26)  # a due time by recipients' zones can be so much earlier than the project's


@dataclass(frozen=True, slots=True)
class PlannerPace:
    """How often a planner looks, counts, plans ahead and says that it lives; how long a dead one's claim holds."""

    look_seconds: float = 0.5
    balance_seconds: float = 1.0
    ahead_seconds: float = 5.0
    beat_seconds: float = 20.0
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
        pre_seal_seconds: float = 86_400.0,
        pace: PlannerPace | None = None,
        thread_people: int = THREAD_PEOPLE,
    ) -> None:
        """public_url: where guests reach the page that stops the mails. wakeup: set it to be looked after at once.

        thread_people: larger audiences are packed by a process of their own.
        """
        self._bus = bus
        self._clock = clock
        self._wakeup = wakeup if wakeup is not None else asyncio.Event()
        self._lead = timedelta(seconds=lead_seconds)
        self._pre_seal = timedelta(seconds=pre_seal_seconds)
        self._pace = pace or PlannerPace()
        self._name = f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid4().hex[:8]}"
        self.database = DatabaseThread("plan")
        """Run a synchronous database call in the planner's own thread."""
        self._desk = SealingDesk(
            bus,
            clock,
            unsubscribe_base_url=f"{public_url.rstrip('/')}/unsubscribe/",
            lease_seconds=self._pace.lease_seconds,
            thread_people=thread_people,
            on_free=self._place_is_free,
        )
        self._stops = StopRelay(bus, self.database)
        self._care = RunCare(bus, clock, self.database, self._name, balance_seconds=self._pace.balance_seconds)
        self._done_at: dict[str, float] = {}

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
                except (BusError, DatabaseError, DatabaseTooSlow) as error:
                    wait_seconds = back_off.wait_seconds(attempt)
                    attempt += 1
                    self._done_at.clear()  # what was away may have left much to sort out
                    log.warning("plan.waiting", error=str(error), kind=type(error).__name__, wait_seconds=wait_seconds)
                await self._rest(stop, wait_seconds)
        finally:
            await self.close()

    async def step(self) -> None:
        """Do one whole pass and wait for what it began; for tests and for jobs that run once."""
        self._done_at.clear()
        await self._look()
        await self._desk.finish()
        await self._care.finish()
        self._done_at.clear()
        await self._look()

    async def close(self) -> None:
        """Give claims back and end the threads; idempotent."""
        await self._care.cancel()
        await self._desk.close()
        await self.database.close()

    async def _look(self) -> None:
        now_utc = self._clock.now_utc()
        if self._is_time("beat", self._pace.beat_seconds):
            await self.database(occurrence_desk.beat, self._name, now_utc)
        if self._is_time("ahead", self._pace.ahead_seconds):
            await self.database(occurrence_desk.plan_ahead, now_utc)
            self._done_at.pop("seal ahead", None)
        runs = await self.database(run_store.open_runs, now_utc + self._lead)
        for run in runs:  # what people decided goes first: a stop must not wait behind a thousand starts
            if run.order_version < run.version and run.sealed:
                await self._attempt(run, self._care.pass_on)
        frozen_at = _oldest_seals(runs)
        await self._stops.pass_on(frozen_at, now_utc)
        for run in runs:
            await self._attempt(run, self._attend)
        if self._is_time("seal ahead", self._pace.ahead_seconds):
            await self._look_ahead(now_utc)
        if self._is_time("sweep", self._pace.ahead_seconds):
            await self._stops.sweep(frozen_at, now_utc)

    def _place_is_free(self) -> None:
        """Look again at once when a run is sealed: the next one may be waiting for its place."""
        self._done_at.pop("seal ahead", None)
        self._wakeup.set()

    async def _look_ahead(self, now_utc: datetime) -> None:
        """Seal what is due within a day, or by somebody's time zone within the lead."""
        reach = now_utc + max(self._pre_seal, self._lead) + _ZONES_AHEAD
        for ahead in await self.database(run_store.ahead, now_utc + self._lead, reach):
            run = ahead.run
            first_due = earliest_due(run.due_at, ahead.time_zone) if ahead.by_zone else run.due_at
            refresh_at = first_due - self._lead
            if now_utc >= refresh_at:
                await self._desk.take(run, self._name, now_utc)
            elif now_utc >= first_due - self._pre_seal:
                await self._desk.take(run, self._name, now_utc, refresh_at=refresh_at)

    async def _attempt(self, run: OpenRun, act: Callable[[OpenRun], Awaitable[None]]) -> None:
        try:
            await act(run)
        except (BusError, DatabaseError, DatabaseTooSlow):
            raise
        except Exception:
            # one run's trouble must not make all others late
            log.exception("plan.run_failed", project_id=run.project_id, run_id=str(run.id))

    async def _attend(self, run: OpenRun) -> None:
        now_utc = self._clock.now_utc()
        self._care.tell_late(run, now_utc)
        if await self._care.see_start(run, now_utc):
            return
        if run.started_at is None and await self._care.decide_late(run, now_utc):
            return
        if run.state in _UNSEALED or self._wants_refresh(run, now_utc):
            await self._desk.take(run, self._name, now_utc)
        else:
            await self._care.see_end(run, now_utc)

    def _wants_refresh(self, run: OpenRun, now_utc: datetime) -> bool:
        """Tell whether a seal of the day before should be replaced now."""
        if run.state is not RunState.SEALED or run.started_at is not None:
            return False
        older = run.pre_sealed_at is not None and run.sealed_at is None
        return older and (run.refresh_at is None or now_utc >= run.refresh_at)

    def _is_time(self, duty: str, every_seconds: float) -> bool:
        now_seconds = self._clock.monotonic_seconds()
        last = self._done_at.get(duty)
        if last is not None and 0 <= now_seconds - last < every_seconds:
            return False
        self._done_at[duty] = now_seconds
        return True

    async def _sweep(self) -> None:
        """Remove orders of closed runs that a planner left by dying between a late write and its end."""
        bucket = self._bus.bucket(RUNS_BUCKET)
        ids = [UUID(key) for key in await bucket.keys() if _is_run_id(key)]
        for run_id in await self.database(run_store.closed_among, ids):
            await bucket.delete(run_id.hex)

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(self._wakeup.wait())]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._wakeup.clear()


def _oldest_seals(runs: list[OpenRun]) -> dict[str, datetime]:
    """Return for each project when its oldest seal that is still open was made."""
    oldest: dict[str, datetime] = {}
    for run in runs:
        # until a run begins, the seal of the day before may still be the one that is sent
        moment = run.frozen_at if run.started_at is not None else run.pre_sealed_at or run.sealed_at
        if moment is not None and run.state is not RunState.FINISHED:
            oldest[run.project_id] = min(oldest.get(run.project_id, moment), moment)
    return oldest


def _is_run_id(key: str) -> bool:
    return len(key) == 32 and all(letter in "0123456789abcdef" for letter in key)
