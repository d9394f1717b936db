"""Seal runs: a few at a time, each under a lease that is renewed while it works."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.campaigns import readiness, run_store
from todoku.campaigns.audience_feed import packed_audience
from todoku.campaigns.errors import AudienceUnreadable
from todoku.campaigns.left_out import LeftOut, forget
from todoku.campaigns.packing import Packed, PackedBatch, PackedEnd, PackedOut, PackJob
from todoku.campaigns.run_store import OpenRun, SealJob
from todoku.campaigns.types import Reason, RunState
from todoku.campaigns.unsubscribe import installation_key
from todoku.delivery.engine.sealing import BATCH_SIZE, EncodedBatch, Sealer
from todoku.delivery.types import RunOrder
from todoku.guests import queries as guest_queries
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

AT_ONCE = 4
THREAD_PEOPLE = 20_000  # packed in a fifth of a second
_HOLD_ONE_IN = 10  # from this share of messages that can't be filled in on, a person should look first


class InDatabase(Protocol):
    """Run a synchronous database call off the event loop."""

    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]: ...


class SealingDesk:
    """Claim and seal runs beside everything else the planner does, so that a huge one delays nobody."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        in_database: InDatabase,
        *,
        unsubscribe_base_url: str,
        lease_seconds: float,
        thread_people: int = THREAD_PEOPLE,
    ) -> None:
        """thread_people: larger audiences, and those of unknown size, get a process of their own."""
        self._bus = bus
        self._clock = clock
        self._in_database = in_database
        self._unsubscribe_base_url = unsubscribe_base_url
        self._lease_seconds = lease_seconds
        self._thread_people = thread_people
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._jobs: dict[UUID, SealJob] = {}

    async def take(self, run: OpenRun, sealer: str, now_utc: datetime) -> None:
        """Begin to seal the run, unless there is no place or somebody else has it; returns at once."""
        for run_id in [run_id for run_id, task in self._tasks.items() if task.done()]:
            del self._tasks[run_id], self._jobs[run_id]
        if run.id in self._tasks or len(self._tasks) >= AT_ONCE:
            return
        if run.state is RunState.SEALING and run.lease_until is not None and run.lease_until >= now_utc:
            return
        job = await self._in_database(run_store.claim, run, sealer, now_utc, self._lease_seconds)
        if job is not None:
            log.info("run.sealing", project_id=job.project_id, run_id=str(job.run_id), seal=job.seal)
            self._jobs[run.id] = job
            self._tasks[run.id] = asyncio.create_task(self._seal_or_leave(job))

    async def finish(self) -> None:
        """Wait for all sealing under way."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def cancel(self) -> None:
        """Stop all sealing under way and give the claims back."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for run_id in self._tasks:
            with suppress(DatabaseError):  # away: the claim runs out by itself
                await self._in_database(run_store.release, self._jobs[run_id], self._clock.now_utc())
        self._tasks.clear()

    async def _seal_or_leave(self, job: SealJob) -> None:
        """Seal; after a failure leave the claim to run out, so that the next attempt comes a lease later."""
        alive = asyncio.create_task(self._keep_claim(job))
        names = {"project_id": job.project_id, "run_id": str(job.run_id), "seal": job.seal}
        try:
            await self._seal(job)
        except (BusError, DatabaseError, AudienceUnreadable) as error:
            log.warning("run.seal_failed", **names, error=str(error), kind=type(error).__name__)
        except Exception:
            # one run's trouble must not end the role; it is late and says so
            log.exception("run.seal_failed", **names)
        finally:
            alive.cancel()

    async def _seal(self, job: SealJob) -> None:
        if job.seal > 1:  # what a dead planner left under an older number; no sender ever had its order
            await self._purge(job.run_id.hex, None)
        found = await self._in_database(readiness.content_obstacles, job.project, job.content)
        if found:
            messages = "; ".join(obstacle.message for obstacle in found)
            await self._hold(job, Reason(messages, "、".join(obstacle.message_ja for obstacle in found)))
            return
        draft = self._draft(job)
        left_out = LeftOut(self._bus, draft.run_id, job.seal)
        pass_ = _Pass(left_out)
        pack_job = await self._in_database(self._pack_job, job)
        own_process = job.expected_planned is None or job.expected_planned > self._thread_people
        async with aclosing(packed_audience(pack_job, own_process=own_process)) as packed:
            order = await Sealer(self._bus, self._clock).seal_encoded(draft, pass_.batches(packed))
        order = await left_out.finish(order)
        reason = _why_hold(pass_.end)
        if reason is not None:
            await self._hold(job, reason)
        elif not await self._in_database(run_store.mark_sealed, job, order, self._clock.now_utc()):
            log.warning("run.seal_lost", project_id=job.project_id, run_id=str(job.run_id), seal=job.seal)
            await self._purge(job.run_id.hex, job.seal)

    def _pack_job(self, job: SealJob) -> PackJob:
        """Say how the audience is read; two statements."""
        today = self._clock.now_utc().astimezone(ZoneInfo(job.project.time_zone)).date()
        source = guest_queries.audience_copy(job.project_id, job.audience, today=today, clock=self._clock)
        return PackJob(
            project_id=job.project_id,
            run_id=job.run_id.hex,
            seal=job.seal,
            now_utc=self._clock.now_utc(),
            subject=job.content.subject,
            html=job.content.html,
            text=job.content.text,
            shared_values=readiness.project_values(job.project),
            unsubscribe_base_url=self._unsubscribe_base_url,
            token_key=installation_key(),
            batch_size=BATCH_SIZE,
            due_at_utc=job.due_at,
            time_zone=job.project.time_zone,
            connection=source.connection,
            statement=source.statement,
            shop_names=dict(source.shop_names),
        )

    async def _hold(self, job: SealJob, reason: Reason) -> None:
        await self._in_database(run_store.hold_claimed, job, reason, self._clock.now_utc())
        await self._purge(job.run_id.hex, job.seal)

    async def _purge(self, run_id: str, seal: int | None) -> None:
        await self._bus.purge(SEND, f"send.{run_id}.>" if seal is None else f"send.{run_id}.{seal}.*")
        await forget(self._bus, run_id, seal)

    async def _keep_claim(self, job: SealJob) -> None:
        held = True
        while held:
            await asyncio.sleep(self._lease_seconds / 3)
            with suppress(DatabaseError):  # away: the claim may run out, and then the compare-and-set at the end fails
                held = await self._in_database(run_store.renew, job, self._clock.now_utc(), self._lease_seconds)

    def _draft(self, job: SealJob) -> RunOrder:
        return RunOrder(
            project_id=job.project_id,
            run_id=job.run_id.hex,
            seal=job.seal,
            state="sealed",
            due_at_utc=job.due_at,
            latest_finish_at_utc=job.latest_finish_at,
            subject_template=job.content.subject,
            html_template=job.content.html,
            text_template=job.content.text,
            sender_name=job.project.sender_name,
            sender_address=job.project.sender_address,
            reply_to="",
            unsubscribe_base_url=self._unsubscribe_base_url,
            batches=0,
            to_send=0,
            not_sendable=0,
            content_hash="",
            shared_values=readiness.project_values(job.project),
            time_zone=job.project.time_zone,
        )


class _Pass:
    """One pass over a packed audience: batches go on, lines about who is left out are kept, the end is noted."""

    def __init__(self, left_out: LeftOut) -> None:
        self._left_out = left_out
        self.end = PackedEnd(0, 0, 0, {})

    async def batches(self, packed: AsyncGenerator[Packed, None]) -> AsyncIterator[EncodedBatch]:
        async for one in packed:
            if isinstance(one, PackedBatch):
                yield EncodedBatch(one.number, one.people, one.payload)
            elif isinstance(one, PackedOut):
                await self._left_out.keep(one)
            elif isinstance(one, PackedEnd):
                self.end = one


def _why_hold(end: PackedEnd) -> Reason | None:
    """Return why a person should look before this audience is mailed; None when nothing speaks against it."""
    if end.planned == 0:
        return Reason("nobody is in the audience any more", "条件に合うお客様が0人になりました")
    if end.to_send == 0:
        return Reason(
            f"none of the {end.planned} people in the audience may be mailed any more",
            f"条件に合う{end.planned}人のうち、配信できる方がいなくなりました",
        )
    faulty = sum(end.faults.values())
    if faulty * _HOLD_ONE_IN >= end.to_send:
        most = Counter(end.faults).most_common(3)
        blame = ", ".join(f"{variable} ({count})" for variable, count in most)
        return Reason(
            f"{faulty} of {end.to_send} messages can't be filled in: {blame}",
            f"{end.to_send}通のうち{faulty}通で差し込みができません: {blame}",
        )
    return None
