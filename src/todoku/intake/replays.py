"""Replays that somebody asked for on the page: a table of them, and the worker that does one batch after the other.

Purpose     read thousands of mails again without anybody waiting for a page, and see how far it is from anywhere.
Reads       ReplayOrder, the vault, and what `replaying` reads.
Writes      ReplayOrder; with `apply` also what `amending` writes, and an event for open pages.
Guarantees  a project has one open replay (a unique index says so). After each batch the order says where the next one
            begins. A worker that dies is followed by another after TAKEN_OVER_AFTER; at most one batch is then read
            twice, which changes nothing, but what the dead one amended of it is counted as the same. Whoever was
            followed or stopped notices at its next batch, because every write asks for its own name (compare-and-set).
Limits      no schedule and no queue: one asks, one at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import structlog
from django.db import DatabaseError, IntegrityError, InterfaceError, transaction
from django.db.models import Q

from todoku.bus.connection import Bus
from todoku.bus.errors import BusError
from todoku.intake import database, replaying
from todoku.intake.differences import Difference
from todoku.intake.errors import BookUnavailable, ReplayMissing, ReplayUnderWay
from todoku.intake.models import ReplayOrder
from todoku.intake.replaying import Chosen, Place, Replay
from todoku.intake.types import MailState, ReplayState
from todoku.kernel.clock import Clock
from todoku.kernel.retry import BackOff
from todoku.kernel.waiting import rest
from todoku.vault.errors import VaultError
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0
TAKEN_OVER_AFTER: Final = timedelta(seconds=30)
MOST_KEPT: Final = 500
"""Differences kept one by one in a row: about 300 octets each, so that a row stays below 200 kB."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """An asked-for replay as the page shows it; `came_to.different` holds the first MOST_KEPT of `came_to.differing`.

    mails: chosen when it was asked for; more may arrive meanwhile. why: what it failed of, "" else.
    """

    replay_id: UUID
    chosen: Chosen
    apply: bool
    state: ReplayState
    mails: int
    came_to: Replay
    asked_by: str
    asked_at_utc: datetime
    ended_at_utc: datetime | None
    why: str

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will come of it."""
        return self.ended_at_utc is not None


def ask(project_id: str, chosen: Chosen, *, apply: bool, asked_by: str, clock: Clock) -> UUID:
    """Ask for a replay and return its id; a worker begins within a second or two. Raises ReplayUnderWay."""
    now_utc = clock.now_utc()
    order = ReplayOrder(
        replay_id=uuid4(),
        project_id=project_id,
        chosen=msgspec.to_builtins(chosen),
        apply=apply,
        state=ReplayState.ASKED.value,
        mails=replaying.count(project_id, chosen),
        asked_by=asked_by,
        asked_at=now_utc,
        touched_at=now_utc,
    )
    try:
        with transaction.atomic():
            order.save(force_insert=True)
    except IntegrityError as error:
        raise ReplayUnderWay("mails of this project are being read again", todo="wait for it, or stop it") from error
    log.info("replay.asked", project_id=project_id, replay_id=str(order.replay_id), apply=apply, mails=order.mails)
    return order.replay_id


def stop(project_id: str, replay_id: UUID, *, by: str, clock: Clock) -> bool:
    """End a replay where it is; what it amended stays amended. False when it had ended, or there is none."""
    now_utc = clock.now_utc()
    rows = ReplayOrder.objects.filter(project_id=project_id, replay_id=replay_id, ended_at=None)
    stopped = rows.update(state=ReplayState.STOPPED.value, ended_at=now_utc, touched_at=now_utc, why="")
    if stopped:
        log.info("replay.stopped", project_id=project_id, replay_id=str(replay_id), by=by)
    return bool(stopped)


def find(project_id: str, replay_id: UUID) -> ReplayReport:
    """Return one replay as far as it is; raises ReplayMissing."""
    row = ReplayOrder.objects.filter(project_id=project_id, replay_id=replay_id).first()
    if row is None:
        raise ReplayMissing(f"there is no replay {replay_id} in this project")
    return _report(row)


def recent(project_id: str, most: int = 10) -> list[ReplayReport]:
    """Return the last replays that were asked for, newest first, without their differences one by one."""
    rows = ReplayOrder.objects.filter(project_id=project_id).defer("different").order_by("-asked_at")
    return [_report(row, with_differences=False) for row in rows[:most]]


@dataclass(frozen=True, slots=True)
class _Work:
    """An order that this worker has, and where it goes on."""

    replay_id: UUID
    project_id: str
    chosen: Chosen
    apply: bool
    place: Place | None


class ReplayWorker:
    """Carry out replays; any number of workers may run, on any number of machines."""

    def __init__(self, bus: Bus, vault: Vault, clock: Clock) -> None:
        self._bus = bus
        self._vault = vault
        self._clock = clock
        self._name = str(uuid4())
        self._back_off = BackOff(base_seconds=0.5, cap_seconds=10.0)

    async def run(self, stopping: asyncio.Event) -> None:
        """Carry out what is asked for until `stopping` is set; a database or vault that is away is waited for.

        What is under way then is left behind at its last batch, for whoever comes next.
        """
        attempt = 0
        while not stopping.is_set():
            try:
                worked = await self.step()
                attempt = 0
            except (BookUnavailable, DatabaseError, InterfaceError, VaultError) as error:
                first_line = next(iter(str(error).splitlines()), "")
                log.warning("replay.waits", attempt=attempt, error=first_line)
                await rest(stopping, self._back_off.wait_seconds(attempt))
                attempt += 1
                continue
            if not worked:
                await rest(stopping, LOOK_EVERY_SECONDS)
        try:
            await database.ask(self._let_go)
        except (BookUnavailable, DatabaseError, InterfaceError) as error:
            log.warning("replay.not_let_go", error=next(iter(str(error).splitlines()), ""))

    async def step(self) -> bool:
        """Do one batch of an order, of this worker's own first; False when there is nothing to do.

        Raises BookUnavailable, DatabaseError, VaultError: the batch is done again at the next step. An order that
        fails by anything else ends as failed and says why; the worker goes on.
        """
        work = await database.ask(self._take)
        if work is None:
            return False
        try:
            batch, place = await replaying.replay_batch(
                self._vault, work.project_id, work.chosen, work.place, apply=work.apply
            )
        except (BookUnavailable, DatabaseError, InterfaceError, VaultError):
            raise
        except Exception as error:
            log.exception("replay.failed", project_id=work.project_id, replay_id=str(work.replay_id))
            await database.ask(self._end, work, ReplayState.FAILED, f"{type(error).__name__}: {error}"[:500])
            return True
        if place is None:
            await database.ask(self._end, work, ReplayState.DONE)
        else:
            await database.ask(self._note, work, batch, place)
            if batch.amended:
                await self._tell(work.project_id, batch)
        return True

    async def _tell(self, project_id: str, batch: Replay) -> None:
        """Let live pages know; a page that misses it sees the same at its next look."""
        moved = {"reservation_ids": [], "arrival_ids": [str(one.arrival_id) for one in batch.different]}
        try:
            await self._bus.publish_event(project_id, "reservation", moved)
        except BusError as error:
            log.warning("replay.event_not_published", project_id=project_id, error=str(error))

    def _take(self) -> _Work | None:
        """Return the order that is this worker's already, or else the oldest that is nobody's."""
        now_utc = self._clock.now_utc()
        mine = Q(owner=self._name)
        free = Q(owner="") | Q(touched_at__lt=now_utc - TAKEN_OVER_AFTER)
        with transaction.atomic():
            rows = ReplayOrder.objects.select_for_update(skip_locked=True).filter(mine | free, ended_at=None)
            row = rows.defer("different").order_by("asked_at").first()
            if row is None:
                return None
            if row.owner != self._name:
                log.info("replay.begun", project_id=row.project_id, replay_id=str(row.replay_id), after=row.owner)
            row.owner, row.state, row.touched_at = self._name, ReplayState.RUNNING.value, now_utc
            row.save(update_fields=["owner", "state", "touched_at"])
        place = None
        if row.place_arrived_at is not None and row.place_arrival_id is not None:
            place = (row.place_arrived_at, row.place_arrival_id)
        return _Work(row.replay_id, row.project_id, _chosen(row.chosen), row.apply, place)

    def _note(self, work: _Work, batch: Replay, place: Place) -> None:
        """Add what a batch came to, unless the order is this worker's no more."""
        with transaction.atomic():
            row = ReplayOrder.objects.select_for_update().filter(self._mine(work)).first()
            if row is None:
                log.info("replay.taken_away", project_id=work.project_id, replay_id=str(work.replay_id))
                return
            came_to = _came_to(row)
            came_to.add(batch)
            row.read, row.same, row.unread = came_to.read, came_to.same, came_to.unread
            row.differing, row.amended = came_to.differing, came_to.amended
            row.kinds = [[before.value, after.value, count] for (before, after), count in came_to.kinds.items()]
            row.different = msgspec.to_builtins(came_to.different[:MOST_KEPT])
            row.place_arrived_at, row.place_arrival_id = place
            row.touched_at = self._clock.now_utc()
            row.save()

    def _end(self, work: _Work, state: ReplayState, why: str = "") -> None:
        now_utc = self._clock.now_utc()
        ended = ReplayOrder.objects.filter(self._mine(work)).update(
            state=state.value, why=why, ended_at=now_utc, touched_at=now_utc
        )
        if ended:
            log.info("replay.ended", project_id=work.project_id, replay_id=str(work.replay_id), state=state.value)

    def _let_go(self) -> None:
        """Leave what is under way to whoever comes next, at once instead of after TAKEN_OVER_AFTER."""
        ReplayOrder.objects.filter(owner=self._name, ended_at=None).update(owner="")

    def _mine(self, work: _Work) -> Q:
        return Q(project_id=work.project_id, replay_id=work.replay_id, owner=self._name, ended_at=None)


def _report(row: ReplayOrder, *, with_differences: bool = True) -> ReplayReport:
    return ReplayReport(
        replay_id=row.replay_id,
        chosen=_chosen(row.chosen),
        apply=row.apply,
        state=ReplayState(row.state),
        mails=row.mails,
        came_to=_came_to(row, with_differences=with_differences),
        asked_by=row.asked_by,
        asked_at_utc=row.asked_at,
        ended_at_utc=row.ended_at,
        why=row.why,
    )


def _came_to(row: ReplayOrder, *, with_differences: bool = True) -> Replay:
    came_to = Replay(row.read, row.same, row.unread, row.differing, row.amended)
    came_to.kinds.update({(MailState(before), MailState(after)): count for before, after, count in row.kinds})
    if with_differences:
        came_to.different = msgspec.convert(row.different, list[Difference])
    return came_to


def _chosen(stored: dict[str, Any]) -> Chosen:
    return msgspec.convert(stored, Chosen)
