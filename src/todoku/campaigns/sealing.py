"""Seal runs: a few at a time, each under a lease that is renewed while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg
import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.campaigns import readiness, run_store
from todoku.campaigns.audience_feed import AudienceFeed
from todoku.campaigns.left_out import LeftOut, forget
from todoku.campaigns.run_store import OpenRun, SealJob
from todoku.campaigns.types import Reason, RunState
from todoku.content.errors import TemplateInvalid
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.types import RunOrder, SealChunk
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

AT_ONCE = 4
_HOLD_ONE_IN = 10  # from this share of messages that can't be filled in on, a person should look first


class InDatabase(Protocol):
    """Run a synchronous database call off the event loop."""

    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]: ...


class SealingDesk:
    """Claim and seal runs beside everything else the planner does, so that a huge one delays nobody."""

    def __init__(
        self, bus: Bus, clock: Clock, in_database: InDatabase, *, unsubscribe_base_url: str, lease_seconds: float
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._in_database = in_database
        self._unsubscribe_base_url = unsubscribe_base_url
        self._lease_seconds = lease_seconds
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
        except (BusError, DatabaseError, psycopg.Error) as error:
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
        try:
            feed = AudienceFeed(job, self._clock, unsubscribe_base_url=self._unsubscribe_base_url)
        except TemplateInvalid as error:
            await self._hold(job, Reason(str(error), "、".join(problem.message_ja for problem in error.problems)))
            return
        draft = self._draft(job)
        left_out = LeftOut(self._bus, self._clock, draft)
        async with aclosing(feed.chunks()) as chunks:
            order = await Sealer(self._bus, self._clock).seal(draft, _only_sendable(chunks, left_out))
        order = await left_out.finish(order)
        reason = _why_hold(feed)
        if reason is not None:
            await self._hold(job, reason)
        elif not await self._in_database(run_store.mark_sealed, job, order, self._clock.now_utc()):
            log.warning("run.seal_lost", project_id=job.project_id, run_id=str(job.run_id), seal=job.seal)
            await self._purge(job.run_id.hex, job.seal)

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
        )


async def _only_sendable(chunks: AsyncGenerator[SealChunk, None], left_out: LeftOut) -> AsyncIterator[SealChunk]:
    async for chunk in chunks:
        if chunk.not_sendable:
            await left_out.keep(chunk.not_sendable)
        if chunk.recipients:
            yield SealChunk(recipients=chunk.recipients)


def _why_hold(feed: AudienceFeed) -> Reason | None:
    """Return why a person should look before this audience is mailed; None when nothing speaks against it."""
    if feed.planned == 0:
        return Reason("nobody is in the audience any more", "条件に合うお客様が0人になりました")
    if feed.to_send == 0:
        return Reason(
            f"none of the {feed.planned} people in the audience may be mailed any more",
            f"条件に合う{feed.planned}人のうち、配信できる方がいなくなりました",
        )
    unrenderable = sum(feed.unrenderable.values())
    if unrenderable and unrenderable * _HOLD_ONE_IN >= feed.to_send:
        blame = ", ".join(f"{variable} ({count})" for variable, count in feed.unrenderable.most_common(3))
        return Reason(
            f"{unrenderable} of {feed.to_send} messages can't be filled in: {blame}",
            f"{feed.to_send}通のうち{unrenderable}通で差し込みができません: {blame}",
        )
    return None
