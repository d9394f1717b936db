"""Seal runs: a few at a time, each under a lease that is renewed while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from uuid import UUID

import structlog
from django.db import Error as DatabaseError

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.bus.streams import SEND
from todoku.campaigns import readiness, seal_claims
from todoku.campaigns.audience_feed import packed_audience
from todoku.campaigns.audience_sources import audience_of
from todoku.campaigns.database_thread import DatabaseThread, DatabaseTooSlow
from todoku.campaigns.errors import AudienceUnreadable
from todoku.campaigns.hold_reasons import HoldReason, why_hold
from todoku.campaigns.left_out import LeftOut, forget
from todoku.campaigns.packing import Packed, PackedBatch, PackedEnd, PackedOut
from todoku.campaigns.run_store import OpenRun
from todoku.campaigns.seal_claims import SealJob
from todoku.campaigns.types import Reason
from todoku.delivery.engine.sealing import EncodedBatch, Sealer
from todoku.delivery.engine.starts import read_start
from todoku.delivery.errors import SealConflict
from todoku.delivery.types import RunOrder
from todoku.kernel.clock import Clock

log = structlog.get_logger(__name__)

AT_ONCE = 4
PROVISIONAL_AT_ONCE = 2  # places that seals of the day before may take, so that what is due finds one
PROCESSES_AT_ONCE = 2  # 60 MB each
THREAD_PEOPLE = 5_000  # packed in a twentieth of a second


class SealingDesk:
    """Claim and seal runs beside everything else the planner does, so that a huge one delays nobody."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        *,
        unsubscribe_base_url: str,
        lease_seconds: float,
        thread_people: int = THREAD_PEOPLE,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        """thread_people: larger audiences, and those of unknown size, get a process of their own.

        on_free: called when a place is free again.
        """
        self._bus = bus
        self._clock = clock
        self._database = DatabaseThread("seal")
        self._unsubscribe_base_url = unsubscribe_base_url
        self._lease_seconds = lease_seconds
        self._thread_people = thread_people
        self._on_free = on_free
        self._processes = asyncio.Semaphore(PROCESSES_AT_ONCE)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._jobs: dict[UUID, SealJob] = {}

    async def take(self, run: OpenRun, sealer: str, now_utc: datetime, *, refresh_at: datetime | None = None) -> None:
        """Begin to seal the run, unless there is no place or somebody else has it; returns at once.

        refresh_at: the seal is one of the day before, to be replaced then. A sealed run gets a fresh seal.
        """
        for run_id in [run_id for run_id, task in self._tasks.items() if task.done()]:
            del self._tasks[run_id], self._jobs[run_id]
        if run.id in self._tasks or len(self._tasks) >= AT_ONCE:
            return
        if refresh_at is not None and sum(job.provisional for job in self._jobs.values()) >= PROVISIONAL_AT_ONCE:
            return
        if run.lease_until is not None and run.lease_until >= now_utc:
            return
        job = await self._database(seal_claims.claim, run, sealer, now_utc, self._lease_seconds, refresh_at=refresh_at)
        if job is not None:
            log.info("run.sealing", project_id=job.project_id, run_id=str(job.run_id), seal=job.seal)
            self._jobs[run.id] = job
            task = asyncio.create_task(self._seal_or_leave(job))
            self._tasks[run.id] = task
            task.add_done_callback(lambda _: self._on_free())

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
            with suppress(DatabaseError, DatabaseTooSlow):  # away: the claim runs out by itself
                await self._database(seal_claims.release, self._jobs[run_id], self._clock.now_utc())
        self._tasks.clear()
        self._jobs.clear()

    async def close(self) -> None:
        """Do `cancel` and end the thread; idempotent."""
        await self.cancel()
        await self._database.close()

    async def _seal_or_leave(self, job: SealJob) -> None:
        """Seal; after a failure leave the claim to run out, so that the next attempt comes a lease later."""
        names = {"project_id": job.project_id, "run_id": str(job.run_id), "seal": job.seal}
        sealing = asyncio.create_task(self._seal(job))
        alive = asyncio.create_task(self._keep_claim(job))
        try:
            await asyncio.wait((sealing, alive), return_when=asyncio.FIRST_COMPLETED)
            if not sealing.done():
                log.warning("run.seal_lost", **names)
                sealing.cancel()
            await sealing
        except asyncio.CancelledError:
            sealing.cancel()
            await asyncio.gather(sealing, return_exceptions=True)
            await self._purge_lost(job)
            if asyncio.current_task() is not None and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
        except (BusError, DatabaseError, DatabaseTooSlow, AudienceUnreadable, SealConflict) as error:
            log.warning("run.seal_failed", **names, error=str(error), kind=type(error).__name__)
        except Exception:
            # one run's trouble must not end the role; it is late and says so
            log.exception("run.seal_failed", **names)
        finally:
            alive.cancel()

    async def _seal(self, job: SealJob) -> None:
        if await self._has_begun(job):
            return
        for number in job.abandoned:  # what dead planners left; no sender ever had its order
            await self._purge(job.run_id.hex, number)
        found = await self._database(readiness.content_obstacles, job.project, job.content)
        if found:
            messages = "; ".join(obstacle.message for obstacle in found)
            await self._hold(job, Reason(messages, "、".join(obstacle.message_ja for obstacle in found)))
            return
        draft = self._draft(job)
        left_out = LeftOut(self._bus, draft.run_id, job.seal)
        audience = _Pass(left_out)
        source = await self._database(audience_of, job, self._unsubscribe_base_url, self._clock)
        own_process = source.people is None and (job.expected_planned or 10**9) > self._thread_people
        async with self._process_place(own_process), aclosing(packed_audience(source, own_process)) as packed:
            order = await Sealer(self._bus, self._clock).seal_encoded(draft, audience.batches(packed))
        order = await left_out.finish(order)
        reason = why_hold(audience.end, job.kind, job.plan.guard_factor, job.expected_planned)
        if reason is not None and not await self._let_go_before(job, reason):
            await self._hold(job, reason.reason, planned=audience.end.planned)
            return
        now_utc = self._clock.now_utc()
        if not await self._database(
            seal_claims.mark_sealed, job, order, now_utc, first_release_utc=audience.first_release_utc
        ):
            log.warning("run.seal_lost", project_id=job.project_id, run_id=str(job.run_id), seal=job.seal)
            await self._purge(job.run_id.hex, job.seal)

    async def _has_begun(self, job: SealJob) -> bool:
        """Adopt what senders were given when this run was started already: the database was restored from a copy."""
        start = await read_start(self._bus, job.run_id.hex)
        if start is None:
            return False
        log.warning("run.found_begun", project_id=job.project_id, run_id=str(job.run_id), seal=start.seal)
        await self._database(seal_claims.mark_sealed, job, start.order, self._clock.now_utc())
        return True

    async def _let_go_before(self, job: SealJob, reason: HoldReason) -> bool:
        return reason.word != "" and await self._database(seal_claims.was_held_for, job, reason.word)

    async def _hold(self, job: SealJob, reason: Reason, planned: int | None = None) -> None:
        now_utc = self._clock.now_utc()
        await self._database(seal_claims.hold_claimed, job, reason, now_utc, planned=planned)
        await self._purge(job.run_id.hex, job.seal)

    async def _purge(self, run_id: str, seal: int) -> None:
        await self._bus.purge(SEND, f"send.{run_id}.{seal}.*")
        await forget(self._bus, run_id, seal)

    async def _purge_lost(self, job: SealJob) -> None:
        with suppress(BusError):  # whoever seals next, or clears the run, removes it
            await self._purge(job.run_id.hex, job.seal)

    async def _keep_claim(self, job: SealJob) -> None:
        """Renew the claim; returns when it is lost."""
        held = True
        while held:
            await asyncio.sleep(self._lease_seconds / 3)
            with suppress(DatabaseError, DatabaseTooSlow):  # away: the claim may run out, and then `mark_sealed` fails
                held = await self._database(seal_claims.renew, job, self._clock.now_utc(), self._lease_seconds)

    def _process_place(self, own_process: bool) -> asyncio.Semaphore:
        return self._processes if own_process else asyncio.Semaphore(1)

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
            provisional=job.provisional,
        )


class _Pass:
    """One pass over a packed audience: batches go on, lines about who is left out are kept, the end is noted."""

    def __init__(self, left_out: LeftOut) -> None:
        self._left_out = left_out
        self.end = PackedEnd(0, 0, 0, {})
        self.first_release_utc: datetime | None = None

    async def batches(self, packed: AsyncGenerator[Packed, None]) -> AsyncIterator[EncodedBatch]:
        """Yield the batches."""
        async for one in packed:
            if isinstance(one, PackedBatch):
                if one.release_at_utc is not None:
                    self.first_release_utc = min(self.first_release_utc or one.release_at_utc, one.release_at_utc)
                yield EncodedBatch(one.number, one.people, one.payload)
            elif isinstance(one, PackedOut):
                await self._left_out.keep(one)
            elif isinstance(one, PackedEnd):
                self.end = one
