"""One sender's visit to one batch: the protocol of docs/delivery.md, step by step.

begin the run -> read the last line -> settle a predecessor's open window
-> [intent -> hand over -> outcomes with next intent]* -> ack

Every line is fenced by the sequence of the line before it; a refused line ends the visit at once (BatchTaken).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

import structlog

from todoku.bus.consumers import Delivered
from todoku.delivery.engine.active_run import ActiveRun
from todoku.delivery.engine.admission import Admission
from todoku.delivery.engine.agenda import Agenda, RetryRules
from todoku.delivery.engine.batch_journal import BatchJournal
from todoku.delivery.engine.codec import OpenBatch
from todoku.delivery.engine.journal import NOTHING_YET, Intent, Progress
from todoku.delivery.engine.lease import Lease
from todoku.delivery.engine.local_answers import BatchNotes
from todoku.delivery.engine.options import Ports
from todoku.delivery.engine.preparing import Prepared
from todoku.delivery.engine.quiet import quiet_until
from todoku.delivery.engine.runs import GO, wait_for_change
from todoku.delivery.engine.takeover import OpenWindow
from todoku.delivery.engine.turns import Turn
from todoku.delivery.engine.window import WindowSink
from todoku.delivery.errors import BatchTaken
from todoku.delivery.types import Answer, Envelope, Recipient, RecipientState, Transport

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0  # a batch that has to wait longer goes back to the bus
_LOOK_AGAIN_SECONDS = 10.0
_LONGEST_DELAY_SECONDS = 600.0  # then the batch is looked at again, in case a clock or a plan was changed


class VisitEnd(Enum):
    """How a visit ended: all settled, put back for later, owned by another, or of a seal that is not sent."""

    DONE = auto()
    PUT_BACK = auto()
    TAKEN = auto()
    OTHER_SEAL = auto()


class BatchVisit:
    """Work on one delivered batch until it is settled, put back or taken by another."""

    def __init__(self, ports: Ports, run: ActiveRun, batch: OpenBatch, turn: Turn, stopping: asyncio.Event) -> None:
        """stopping: end after the window under way."""
        self._ports = ports
        self._options = ports.options
        self._run = run
        self._batch = batch
        self._turn = turn
        self._stopping = stopping
        self._clock = ports.clock
        order = run.order(ports)
        if order is None:
            raise ValueError(f"run {batch.run_id} is off the board")
        self._order = order
        frame = run.maker.message_id_frame(batch.number) if run.maker is not None else ("", "")
        self._journal = BatchJournal(ports, batch, frame, stopping)
        self._rules = RetryRules(
            self._options.immediate_retries,
            self._options.retry_wait,
            self._options.deferral_wait,
            self._options.randomness,
        )
        self._agenda = Agenda((), (), self._rules, self._clock.now_utc())
        self._people: dict[int, Recipient] = {}  # of the windows in hand
        self._admission = self._make_limits()
        self._windows_done = 0
        self._went_away_empty = False

    async def work(self, delivered: Delivered) -> VisitEnd:
        """Go through the protocol; raises BusError when the bus is away, OSError when notes can't be written.

        After an exception nothing is lost: the lease runs out and the batch comes again.
        """
        lease = Lease(delivered, self._clock, self._options.lease_seconds)
        self._run.note_zone(self._batch)
        delay_seconds = self._too_early_seconds()
        if delay_seconds:
            await delivered.nak(min(delay_seconds, _LONGEST_DELAY_SECONDS))
            return VisitEnd.PUT_BACK
        if not await self._run.begin(self._ports):
            await delivered.nak(_PAUSE_SECONDS)
            return VisitEnd.OTHER_SEAL
        # who is the first to have a batch knows that nobody wrote about it; were it otherwise, the fence would say so
        progress = await self._journal.read() if delivered.redelivered else NOTHING_YET
        async with lease:
            end = await self._go_on_after(progress, delivered, lease) if self._journal.pending else VisitEnd.DONE
        if end is VisitEnd.DONE:
            self._ports.answers.forget(
                self._options.sender_id, self._batch.run_id, self._batch.seal, self._batch.number
            )
            await delivered.ack()
        return end

    async def _go_on_after(self, progress: Progress, delivered: Delivered, lease: Lease) -> VisitEnd:
        """Settle what a predecessor left open, and send to everybody who is left."""
        if progress.intent is not None:
            window = OpenWindow(self._ports, self._batch, progress, progress.intent)
            if await window.owner_may_live():
                return VisitEnd.TAKEN  # not given back: it comes again when its owner does not renew its lease
            window.settle(self._journal)
        self._agenda = Agenda(self._journal.pending, progress.resting, self._rules, self._clock.now_utc())
        notes = self._ports.answers.begin(self._batch.run_id, self._batch.seal, self._batch.number)
        try:
            put_back_seconds = await self._windows(notes, lease)
        except BatchTaken:
            log.warning("delivery.batch_taken", run_id=self._batch.run_id, batch=self._batch.number)
            if not delivered.redelivered:
                await delivered.nak()  # a place in SEND that was made anew: the journal is read next time
            return VisitEnd.TAKEN
        finally:
            notes.close()
        if put_back_seconds is None:
            return VisitEnd.DONE
        await delivered.nak(put_back_seconds)
        return VisitEnd.PUT_BACK

    # --- windows ---

    async def _windows(self, notes: BatchNotes, lease: Lease) -> float | None:
        """Send window after window; return None when all is settled, else after how long to come back."""
        ahead = self._made_beforehand()
        while ahead or self._agenda:
            now_utc = self._clock.now_utc()
            self._agenda.wake(now_utc)
            delay_seconds = self._must_pause(lease, now_utc)
            if delay_seconds is not None:
                await self._write(None)
                return delay_seconds
            if now_utc >= self._order.latest_finish_at_utc or self._run.maker is None:
                await self._expire()
                break
            ahead = ahead or await self._prepare(())
            await self._gather(len(ahead))
            admitted, later = self._admit(ahead)
            self._went_away_empty = not admitted
            if not admitted:
                come_back_seconds = await self._wait(ahead, now_utc)
                if come_back_seconds is not None:
                    return come_back_seconds
                continue
            ahead = await self._one_window(admitted, later, notes, lease)
        await self._write(None)
        return None

    def _made_beforehand(self) -> list[Prepared]:
        """Return the messages that were made before the run was due, of those who are ready."""
        made = self._run.take_first(self._batch.number)
        if not made or len(self._batch.recipients) != len(self._agenda.ready):
            return []
        for index in self._agenda.take(len(made)):
            self._people[index] = self._batch.recipient(index)
        return list(made)

    async def _gather(self, count: int) -> None:
        """Let a paced window gather so many, for at most a quarter of a second; the first one leaves at once.

        Who found nothing left gathers for a part of it: else two runs of one pace that wake up in step stay in step,
        and the one behind gets nothing, time and again.
        """
        limits = self._limits()
        if limits.limited and self._windows_done:
            seconds = limits.gather_seconds(count)
            if self._went_away_empty:
                seconds *= self._options.randomness.random()
            if seconds:
                with self._turn.idle(run_may_go_on=False):
                    await wait_for_change(self._stopping, seconds)

    def _admit(self, prepared: list[Prepared]) -> tuple[list[Prepared], list[Prepared]]:
        """Divide into those who may leave now by all paces, and those who may not yet."""
        limits = self._limits()
        if not limits.limited:
            return prepared, []
        admitted = set(limits.admit([one.place for one in prepared]))
        now = [one for one in prepared if one.place in admitted]
        return now, [one for one in prepared if one.place not in admitted]

    async def _wait(self, ahead: Sequence[Prepared], now_utc: datetime) -> float | None:
        """Wait until somebody may leave; return after how long to come back when that is too long to wait here."""
        await self._write(None)
        limits = self._limits()
        general_seconds = limits.general_wait_seconds()
        if general_seconds:  # another batch of this run would have to wait as well
            wait_seconds, come_back_seconds = general_seconds, general_seconds
            idle = self._turn.idle(run_may_go_on=False)
        else:
            blocked = [*(one.place for one in ahead), *self._agenda.ready]
            wait_seconds = limits.domain_wait_seconds(blocked) or self._agenda.seconds_until_next(now_utc)
            come_back_seconds = wait_seconds
            if not self._turn.may_idle:
                come_back_seconds = limits.queue_seconds(blocked) or wait_seconds
            idle = self._turn.idle(run_may_go_on=True)
        wait_seconds = self._until_latest_finish(wait_seconds, now_utc)
        if wait_seconds > _PATIENCE_SECONDS or (not general_seconds and not self._turn.may_idle):
            return self._until_latest_finish(come_back_seconds, now_utc)
        with idle:
            await wait_for_change(self._stopping, wait_seconds)
        return None

    async def _one_window(
        self, prepared: Sequence[Prepared], later: list[Prepared], notes: BatchNotes, lease: Lease
    ) -> list[Prepared]:
        """Hand one window over, prepare the next one meanwhile and return it. later: prepared, but not allowed yet."""
        sendable = self._sort_out(prepared)
        if not sendable:
            return later + await self._prepare(later)
        window = self._journal.next_window
        await self._write(Intent(window, tuple(one.place for one in sendable)))
        sender = self._order.sender_address
        envelopes = [
            Envelope(one.place, sender, self._people[one.place].address, one.content, one.dot_lines) for one in sendable
        ]
        sink = WindowSink(window, notes, self._clock, lease, self._batch.run_id, self._ports.runs.stopped)
        transport = self._transport()
        sending = asyncio.create_task(transport.send(envelopes, sink, flow=self._batch.run_id))
        try:
            ahead = await self._prepare(later)
        finally:
            answers = await sending
        self._take_answers(window, answers, sink)
        self._windows_done += 1
        return later + ahead

    def _take_answers(self, window: int, answers: Sequence[Answer], sink: WindowSink) -> None:
        gate = self._ports.gates[self._order.transport]
        relay_failed = gate.judge(answers, self._clock.monotonic_seconds())
        pending = self._journal.note_answers(window, answers, self._people, sink.moments)
        if relay_failed:
            self._agenda.put_back(pending)
        elif pending:
            now_utc = self._clock.now_utc()
            for index in pending:
                self._agenda.rest(index, now_utc)
        unsettled = set(pending)
        self._agenda.settle([answer.ref for answer in answers if answer.ref not in unsettled])
        for answer in answers:
            del self._people[answer.ref]

    async def _prepare(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Make the messages of the next window; [] when nobody is ready. prepared: what is in hand already."""
        maker = self._run.maker
        assert maker is not None, "a run without templates only expires"
        limits = self._limits()
        room = max(0, limits.window(self._turn.window) - len(prepared))
        if limits.limited:
            chosen = limits.choose(self._agenda.ready, room, [one.place for one in prepared])
            self._agenda.take_these(chosen)
        else:
            chosen = self._agenda.take(room)
        if not chosen:
            return []
        people = [self._batch.recipient(index) for index in chosen]
        self._people.update(zip(chosen, people, strict=True))
        eight_bit = self._options.eight_bit and self._transport().eight_bit
        return await maker.make_all(self._batch.number, people, self._clock.now_utc(), eight_bit=eight_bit)

    def _sort_out(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Take out who asked not to be mailed since the seal, and whose message could not be made."""
        if not self._ports.stops and not any(one.outcome for one in prepared):
            return list(prepared)
        sendable = []
        for one in prepared:
            person = self._people[one.place]
            reason = self._ports.stops.reason(self._batch.project_id, person.address)
            if reason:
                self._journal.note(person, one.place, RecipientState.SUPPRESSED, reason, self._clock.now_utc())
            elif one.outcome is not None:
                self._journal.note_outcome(one.outcome)
            else:
                sendable.append(one)
                continue
            self._agenda.settle((one.place,))
            del self._people[one.place]
        return sendable

    async def _expire(self) -> None:
        """Give everybody who is left `expired`, with the last temporary answer each had."""
        await self._write(None)
        last_answers = await self._journal.last_answers()
        now_utc = self._clock.now_utc()
        expired = self._journal.pending
        self._agenda.settle(expired)
        for index in expired:
            why = last_answers.get(index, "the latest finish passed before the first attempt")
            self._journal.note(self._person(index), index, RecipientState.EXPIRED, why, now_utc)

    async def _write(self, intent: Intent | None) -> None:
        await self._journal.write(intent, self._agenda.rests)

    # --- may we go on ---

    def _too_early_seconds(self) -> float:
        """Return how long this batch has to wait for its release or for the end of quiet hours; 0 when it may go."""
        now_utc = self._clock.now_utc()
        if now_utc >= self._order.latest_finish_at_utc:
            return 0.0  # it expires, and nothing leaves
        release_utc = self._batch.release_at_utc
        if release_utc is not None and release_utc > now_utc:
            return self._until_latest_finish((release_utc - now_utc).total_seconds(), now_utc)
        return self._quiet_seconds(now_utc)

    def _quiet_seconds(self, now_utc: datetime) -> float:
        if self._order.quiet is None:
            return 0.0
        until_utc = quiet_until(self._order.quiet, self._batch.time_zone or self._order.time_zone, now_utc)
        if until_utc is None:
            return 0.0
        # without zones of their own, no batch of the run is fetched meanwhile, so looking again costs little
        longest = _LONGEST_DELAY_SECONDS if self._batch.time_zone else _LOOK_AGAIN_SECONDS
        return self._until_latest_finish(min((until_utc - now_utc).total_seconds(), longest), now_utc)

    def _must_pause(self, lease: Lease, now_utc: datetime) -> float | None:
        """Return after how many seconds to come back when this visit must not start another window."""
        order = self._run.order(self._ports)
        if order is None or order.state != GO or order.transport not in self._ports.transports:
            return _PAUSE_SECONDS
        self._order = order
        if self._stopping.is_set() or lease.expired or (self._windows_done and self._turn.give_back()):
            return 0.0
        if now_utc >= order.latest_finish_at_utc:
            return None
        gate = self._ports.gates[order.transport]
        closed_seconds = gate.closed_until_seconds - self._clock.monotonic_seconds()
        if closed_seconds > 0:
            return self._until_latest_finish(closed_seconds, now_utc)
        return self._quiet_seconds(now_utc) or None

    def _until_latest_finish(self, seconds: float, now_utc: datetime) -> float:
        """Return the wait, cut to just after the latest finish, when the batch must be looked at again."""
        left = self._order.latest_finish_at_utc - now_utc + timedelta(seconds=0.1)
        return max(0.01, min(seconds, left.total_seconds(), _LONGEST_DELAY_SECONDS))

    # --- recipients ---

    def _limits(self) -> Admission:
        """Return the limits under the order in force."""
        if self._admission.order is not self._order:
            self._admission = self._make_limits()
        return self._admission

    def _make_limits(self) -> Admission:
        people, batch = self._people, self._batch  # not self: that would be a circle with all of the batch in it

        def address_of(index: int) -> str:
            return (people.get(index) or batch.recipient(index)).address

        return Admission(self._ports.paces, self._options, self._order, address_of)

    def _transport(self) -> Transport:
        return self._ports.transports[self._order.transport]

    def _person(self, index: int) -> Recipient:
        return self._people.get(index) or self._batch.recipient(index)
