"""From the seal to the closed books: what the planner does for one run at a time. Every step may be repeated."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.campaigns import occurrence_desk, run_store
from todoku.campaigns.database_thread import DatabaseThread, DatabaseTooSlow
from todoku.campaigns.left_out import forget, tell_journal
from todoku.campaigns.pending_names import keep_pending_names
from todoku.campaigns.policies import NOTEWORTHY_LATE, Verdict, late_decision
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.transitions import START_MARGIN
from todoku.campaigns.types import RunState
from todoku.delivery.engine.runs import pass_on_order
from todoku.delivery.engine.sender import close_run
from todoku.delivery.engine.starts import claim_start, read_start
from todoku.delivery.ledger import queries as ledger
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

_STOPPED_STAYS = timedelta(seconds=60)  # long enough for every sender to have heard of the stop
_LATE_AFTER = timedelta(seconds=30)
_DECIDE_SECONDS = 5.0  # between two questions whether a late run still leaves
_WAITING = (RunState.PLANNED, RunState.SEALING, RunState.SEALED)
_ENDED = (RunState.STOPPED, RunState.MISSED)


class RunCare:
    """Pass orders on, see runs start and end, clear the bus behind them."""

    def __init__(
        self, bus: Bus, clock: Clock, database: DatabaseThread, planner: str, *, balance_seconds: float
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._database = database
        self._planner = planner
        self._balance_seconds = balance_seconds
        self._looked_at: dict[tuple[str, UUID], float] = {}
        self._told_late: set[UUID] = set()
        self._clearing: dict[UUID, asyncio.Task[None]] = {}

    async def pass_on(self, run: OpenRun) -> None:
        """Tell the senders, by KV `runs`, what is decided about a run."""
        order = await pass_on_order(self._bus, run.id.hex, lambda: self._database(run_store.order_of, run))
        if order is None:
            return  # over, or another planner was faster; the next look compares again
        await self._database(run_store.mark_ordered, run, order.version)
        log.info("run.ordered", project_id=run.project_id, run_id=str(run.id), wish=order.state, seal=order.seal)

    async def see_start(self, run: OpenRun, now_utc: datetime) -> bool:
        """Note that a sender has begun the run, and tell the journal who was left out; True when something was new."""
        if run.started_at is not None and run.told_journal:
            return False
        if not run.sealed or now_utc < run.begins_at - START_MARGIN:
            return False
        start = await read_start(self._bus, run.id.hex)
        if start is None:
            await self._begin_without_senders(run, now_utc)
            return False
        if await self._database(run_store.mark_started, run, start, now_utc):
            if start.started_at_utc - run.begins_at > NOTEWORTHY_LATE:
                await self._database(occurrence_desk.note_cause, run.project_id, run.id, now_utc)
            return True  # the next look sees the run as it is now
        await tell_journal(self._bus, run.id.hex, start.seal)
        for number in range(1, run.attempt + 1):
            if number != start.seal:  # seals that were replaced before the start, or never finished
                await self._bus.purge(SEND, f"send.{run.id.hex}.{number}.*")
                await forget(self._bus, run.id.hex, number)
        await self._database(run_store.mark_told, run, start.seal)
        return True

    async def decide_late(self, run: OpenRun, now_utc: datetime) -> bool:
        """Hold a run, or let it go, that has not begun in time; False when it may still leave."""
        if run.state not in _WAITING or now_utc < run.due_at:
            return False
        plainly = late_decision(run, now_utc)
        if plainly.verdict is Verdict.GO and not self._is_time("late", run.id, _DECIDE_SECONDS):
            return False
        decision = await self._database(occurrence_desk.decision_for_unbegun, run.project_id, run.id, now_utc)
        if decision.verdict is Verdict.GO:
            return False
        changed = await self._database(occurrence_desk.apply, run.project_id, run.id, decision, now_utc)
        if changed:
            await self._database(occurrence_desk.note_cause, run.project_id, run.id, now_utc)
        return changed

    async def see_end(self, run: OpenRun, now_utc: datetime) -> None:
        """Close the books of a run whose recipients all have their state; clear the bus of one that is over."""
        if run.state in (RunState.SENDING, RunState.PAUSED) and run.started_at is not None and run.told_journal:
            await self._see_balance(run, now_utc)
        elif run.state is RunState.FINISHED:
            await self._clear(run, now_utc)
        elif run.state in _ENDED and now_utc >= run.changed_at + _STOPPED_STAYS:
            self._clear_stopped(run, now_utc)

    def tell_late(self, run: OpenRun, now_utc: datetime) -> None:
        """Say once in the log that a run is late."""
        if run.state in _WAITING and now_utc > run.begins_at + _LATE_AFTER and run.id not in self._told_late:
            self._told_late.add(run.id)
            late_seconds = (now_utc - run.begins_at).total_seconds()
            log.warning(
                "run.late",
                project_id=run.project_id,
                run_id=str(run.id),
                state=run.state.value,
                seconds_late=late_seconds,
                todo="look whether a sender runs and its relay answers",
            )

    async def finish(self) -> None:
        """Wait for the clearing under way."""
        await asyncio.gather(*self._clearing.values(), return_exceptions=True)

    async def cancel(self) -> None:
        """Stop the clearing under way; it is done again by whoever looks next."""
        for task in self._clearing.values():
            task.cancel()
        await self.finish()
        self._clearing.clear()

    async def _begin_without_senders(self, run: OpenRun, now_utc: datetime) -> None:
        """Begin a run that has nobody to send to: no sender has anything to do, but its books must be closed."""
        if run.to_send != 0 or run.state is not RunState.SEALED or now_utc < run.begins_at:
            return
        order = await self._database(run_store.order_of, run)
        if order is not None and order.state == "sealed":
            await claim_start(self._bus, order, self._planner, now_utc)

    async def _see_balance(self, run: OpenRun, now_utc: datetime) -> None:
        if not self._is_time("balance", run.id, self._balance_seconds):
            return
        balance = await self._database(ledger.balance, run.project_id, run.id, run.planned)
        if balance.pending < 0:
            log.error("run.balance_broken", project_id=run.project_id, run_id=str(run.id), **balance.as_dict())
        if balance.pending == 0 and await self._database(run_store.mark_finished, run, balance, now_utc):
            self._forget(run.id)

    async def _clear(self, run: OpenRun, now_utc: datetime) -> None:
        order = await self._database(run_store.order_of, run)
        if order is not None:
            await close_run(self._bus, order)
            await forget(self._bus, run.id.hex)
        await self._database(run_store.mark_closed, run, now_utc)
        self._forget(run.id)

    def _clear_stopped(self, run: OpenRun, now_utc: datetime) -> None:
        """Clear in the background: writing down a million names takes a while."""
        task = self._clearing.get(run.id)
        if task is not None and not task.done():
            return
        self._clearing = {run_id: task for run_id, task in self._clearing.items() if not task.done()}
        self._clearing[run.id] = asyncio.create_task(self._keep_names_and_clear(run, now_utc))

    async def _keep_names_and_clear(self, run: OpenRun, now_utc: datetime) -> None:
        names = {"project_id": run.project_id, "run_id": str(run.id)}
        try:
            if run.state is RunState.STOPPED and not run.undelivered_kept:
                kept = await keep_pending_names(self._bus, run.project_id, run.id, run.seal)
                log.info("run.pending_names_kept", **names, number=kept)
            await self._clear(run, now_utc)
        except (BusError, DatabaseError, DatabaseTooSlow) as error:
            log.warning("run.not_cleared", **names, error=str(error), kind=type(error).__name__)
        except Exception:
            # one run's trouble must not end the role
            log.exception("run.not_cleared", **names)

    def _is_time(self, duty: str, run_id: UUID, every_seconds: float) -> bool:
        now_seconds = self._clock.monotonic_seconds()
        last = self._looked_at.get((duty, run_id))
        if last is not None and 0 <= now_seconds - last < every_seconds:
            return False
        self._looked_at[duty, run_id] = now_seconds
        return True

    def _forget(self, run_id: UUID) -> None:
        self._looked_at = {key: value for key, value in self._looked_at.items() if key[1] != run_id}
        self._told_late.discard(run_id)
