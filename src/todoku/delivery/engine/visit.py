"""One sender's visit to one batch: the protocol of docs/delivery.md, step by step.

read the last line -> settle a predecessor's open window -> [intent -> hand over -> outcomes with next intent]* -> ack

Every line is fenced by the sequence of the line before it; a refused line ends the visit at once (BatchTaken).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

import structlog

from todoku.bus.consumers import Delivered
from todoku.bus.errors import BusError, SequenceConflict
from todoku.bus.streams import JOURNAL, journal_subject
from todoku.delivery.engine.codec import decode_journal, encode_journal
from todoku.delivery.engine.journal import (
    NOTHING_YET,
    Deferral,
    Intent,
    JournalMessage,
    last_deferrals,
    pack_settled,
    progress_after,
    settle,
    state_of,
)
from todoku.delivery.engine.lease import Lease
from todoku.delivery.engine.local_answers import BatchNotes
from todoku.delivery.engine.options import Ports
from todoku.delivery.engine.preparing import MessageMaker, Prepared
from todoku.delivery.engine.runs import GO, STOPPED
from todoku.delivery.engine.window import WindowSink
from todoku.delivery.errors import BatchTaken
from todoku.delivery.types import (
    Answer,
    Batch,
    Envelope,
    Outcome,
    RecipientState,
    RunOrder,
)
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_JOURNAL_WAIT = BackOff(base_seconds=0.1, cap_seconds=5.0)
_PAUSE_SECONDS = 1.0


class VisitEnd(Enum):
    """How a visit ended: all settled, put back for later, or owned by another."""

    DONE = auto()
    PUT_BACK = auto()
    TAKEN = auto()


@dataclass(slots=True)
class _Unwritten:
    """What the next journal line will say about the past."""

    window: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    deferred: list[Deferral] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.deferred)


class BatchVisit:
    """Work on one delivered batch until it is settled, put back or taken by another."""

    def __init__(
        self, ports: Ports, order: RunOrder, maker: MessageMaker | None, batch: Batch, stopping: asyncio.Event
    ) -> None:
        """maker None: the run's templates can't be compiled here; such a batch can only expire."""
        self._ports = ports
        self._options = ports.options
        self._order = order
        self._maker = maker
        self._batch = batch
        self._stopping = stopping
        self._name = str(batch.number)
        self._subject = journal_subject(batch.run_id, batch.seal, self._name)
        self._progress = NOTHING_YET
        self._settled: set[int] = set()
        self._unwritten = _Unwritten()

    async def work(self, delivered: Delivered) -> VisitEnd:
        """Go through the protocol; raises BusError when the bus is away, OSError when notes can't be written.

        After an exception nothing is lost: the lease runs out and the batch comes again.
        """
        await self._read_progress()
        if self._pending():
            self._settle_predecessor()
            notes = self._ports.answers.begin(self._batch.run_id, self._batch.seal, self._batch.number)
            lease = Lease(delivered, self._ports.clock, self._options.lease_seconds)
            try:
                async with lease:
                    delay_seconds = await self._windows(notes, lease)
            except BatchTaken:
                log.warning("delivery.batch_taken", run_id=self._batch.run_id, batch=self._name)
                return VisitEnd.TAKEN
            finally:
                notes.close()
            if delay_seconds is not None:
                await delivered.nak(delay_seconds)
                return VisitEnd.PUT_BACK
        self._ports.answers.forget(self._options.sender_id, self._batch.run_id, self._batch.seal, self._batch.number)
        await delivered.ack()
        return VisitEnd.DONE

    # --- where a predecessor stopped ---

    async def _read_progress(self) -> None:
        last = await self._ports.bus.last_message(JOURNAL, self._subject)
        if last is not None:
            self._progress = progress_after(decode_journal(last.payload), last.sequence)
        self._settled = set(self._progress.settled)

    def _settle_predecessor(self) -> None:
        """Decide about a window that has an intent and no outcomes."""
        intent = self._progress.intent
        if intent is None:
            return
        record = self._ports.answers.read(
            self._progress.sender_id, self._batch.run_id, self._batch.seal, self._batch.number, intent.window
        )
        settlement = settle(intent, record)
        now_utc = self._ports.clock.now_utc()
        self._unwritten.window = intent.window
        for answer in settlement.answers.values():
            self._note_answer(answer, now_utc)
        why = f"no answer is known: sender {self._progress.sender_id} ended while the message was on its way"
        for index in settlement.unknown:
            self._note_outcome(index, RecipientState.UNKNOWN, why, now_utc)
        log.warning(
            "delivery.window_settled_for_predecessor",
            run_id=self._batch.run_id,
            batch=self._name,
            window=intent.window,
            record=record.state.value,
            known=len(settlement.answers),
            unknown=len(settlement.unknown),
            free=len(settlement.free),
        )

    # --- windows ---

    async def _windows(self, notes: BatchNotes, lease: Lease) -> float | None:
        """Send window after window; return None when all is settled, else after how long to come back."""
        todo = self._pending()
        ahead: list[Prepared] = []
        again: list[int] = []
        rounds = 0
        while todo or again:
            delay_seconds = self._must_pause(lease)
            if delay_seconds is None and not todo:
                if rounds < self._options.immediate_retries and not self._ports.gate.failures:
                    await self._write_line(None)
                    await asyncio.sleep(self._wait_seconds(self._options.retry_wait, rounds))
                    rounds += 1
                    todo, again = again, []
                    continue
                delay_seconds = self._come_back_seconds()
            if delay_seconds is not None:
                await self._write_line(None, put_back=bool(again))
                return delay_seconds
            if self._ports.clock.now_utc() >= self._order.latest_finish_at_utc or self._maker is None:
                await self._expire()
                break
            window, todo = todo[: self._options.window], todo[self._options.window :]
            prepared = ahead or await self._prepare(window)
            ahead, deferred = await self._one_window(prepared, todo[: self._options.window], notes, lease)
            again += deferred
        await self._write_line(None)
        return None

    async def _one_window(
        self, prepared: Sequence[Prepared], following: Sequence[int], notes: BatchNotes, lease: Lease
    ) -> tuple[list[Prepared], list[int]]:
        """Hand one window over, prepare the next one meanwhile; return that one, and who was deferred."""
        sendable = self._sort_out(prepared)
        if not sendable:
            return await self._prepare(following), []
        intent = Intent(self._progress.windows + 1, tuple(one.place for one in sendable))
        await self._write_line(intent)
        recipients = self._batch.recipients
        envelopes = [
            Envelope(one.place, self._order.sender_address, recipients[one.place].address, one.content, one.dot_lines)
            for one in sendable
        ]
        sink = WindowSink(intent.window, notes, self._ports.clock, lease, self._is_stopped)
        sending = asyncio.create_task(self._ports.transport.send(envelopes, sink))
        try:
            ahead = await self._prepare(following)
        finally:
            answers = await sending
        self._unwritten.window = intent.window
        deferred = [answer.ref for answer in answers if self._note_answer(answer, sink.moment_of(answer.ref))]
        self._judge_relay(answers)
        return ahead, deferred

    async def _prepare(self, indexes: Sequence[int]) -> list[Prepared]:
        assert self._maker is not None, "a run without templates only expires"
        chosen = [self._batch.recipients[index] for index in indexes]
        eight_bit = self._options.eight_bit and self._ports.transport.eight_bit
        return await self._maker.make_all(self._batch.number, chosen, self._ports.clock.now_utc(), eight_bit=eight_bit)

    def _sort_out(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Take out who asked not to be mailed since the seal, and whose message could not be made."""
        sendable = []
        for one in prepared:
            reason = self._ports.stops.reason(self._batch.project_id, self._batch.recipients[one.place].address)
            if reason:
                self._note_outcome(one.place, RecipientState.SUPPRESSED, reason, self._ports.clock.now_utc())
            elif one.outcome is not None:
                self._unwritten.outcomes.append(one.outcome)
                self._settled.add(one.place)
            else:
                sendable.append(one)
        return sendable

    async def _expire(self) -> None:
        """Give everybody who is left `expired`, with the last temporary answer each had."""
        await self._write_line(None)
        stored = self._ports.bus.messages(JOURNAL, self._subject)
        last_answers = last_deferrals([decode_journal(message.payload) async for message in stored])
        now_utc = self._ports.clock.now_utc()
        for index in self._pending():
            why = last_answers.get(index, "the latest finish passed before the first attempt")
            self._note_outcome(index, RecipientState.EXPIRED, why, now_utc)

    # --- may we go on ---

    def _must_pause(self, lease: Lease) -> float | None:
        """Return after how many seconds to come back when this visit must not start another window."""
        order = self._ports.runs.get(self._batch.run_id)
        if order is None or order.state != GO or order.seal != self._batch.seal:
            return _PAUSE_SECONDS
        self._order = order
        if self._stopping.is_set() or lease.expired:
            return 0.0
        gate_is_closed = self._ports.gate.closed_until_seconds > self._ports.clock.monotonic_seconds()
        if gate_is_closed and self._ports.clock.now_utc() < order.latest_finish_at_utc:
            return self._come_back_seconds()
        return None

    def _is_stopped(self) -> bool:
        order = self._ports.runs.get(self._batch.run_id)
        return order is not None and order.state == STOPPED

    def _come_back_seconds(self) -> float:
        gate, now_seconds = self._ports.gate, self._ports.clock.monotonic_seconds()
        if gate.failures:
            wait = max(gate.closed_until_seconds - now_seconds, 0.1)
        else:
            wait = self._wait_seconds(self._options.deferral_wait, self._progress.deferrals)
        left = (self._order.latest_finish_at_utc - self._ports.clock.now_utc()).total_seconds()
        return max(0.1, min(wait, left + 0.1))

    def _judge_relay(self, answers: Sequence[Answer]) -> None:
        """Close the gate when the relay itself failed for a whole window; open it when anything was answered."""
        gate = self._ports.gate
        if not all(answer.relay_failed for answer in answers):
            if gate.failures:
                log.info("delivery.relay_back", failures=gate.failures)
            gate.failures, gate.closed_until_seconds = 0, 0.0
            return
        wait = self._wait_seconds(self._options.relay_wait, gate.failures)
        gate.failures += 1
        gate.closed_until_seconds = self._ports.clock.monotonic_seconds() + wait
        gate.last_answer = answers[0].text
        log.error(
            "delivery.relay_unreachable",
            run_id=self._batch.run_id,
            why=gate.last_answer,
            kept="every message waits in its batch; the run is late, nothing is lost",
            todo="start the relay or correct TODOKU_RELAY_URL",
            again_in_seconds=round(wait, 1),
        )

    def _wait_seconds(self, back_off: BackOff, attempt: int) -> float:
        return back_off.wait_seconds(attempt, randomness=self._options.randomness)

    # --- the journal ---

    def _pending(self) -> list[int]:
        return [index for index in range(len(self._batch.recipients)) if index not in self._settled]

    def _note_answer(self, answer: Answer, at_utc: datetime) -> bool:
        """Note a transport's word; return True when the recipient stays pending."""
        state = state_of(answer.kind)
        if state is None:
            self._unwritten.deferred.append(Deferral(answer.ref, answer.text))
            return True
        self._note_outcome(answer.ref, state, answer.text, at_utc)
        return False

    def _note_outcome(self, index: int, state: RecipientState, answer: str, at_utc: datetime) -> None:
        recipient = self._batch.recipients[index]
        message_id = self._maker.message_id(self._batch.number, index) if self._maker is not None else ""
        self._unwritten.outcomes.append(
            Outcome(index, recipient.guest_id, recipient.address, state, answer[:500], at_utc, message_id)
        )
        self._settled.add(index)

    async def _write_line(self, intent: Intent | None, *, put_back: bool = False) -> None:
        """Publish what is unwritten and the next intent as one fenced line; raises BatchTaken.

        A bus that is away is waited for, until this process is told to stop: then the notes tell a successor.
        """
        if not self._unwritten and intent is None and self._progress.intent is None:
            return
        said, self._unwritten = self._unwritten, _Unwritten()
        line = JournalMessage(
            project_id=self._batch.project_id,
            run_id=self._batch.run_id,
            seal=self._batch.seal,
            batch=self._name,
            sender_id=self._options.sender_id,
            window=said.window,
            outcomes=tuple(said.outcomes),
            deferred=tuple(said.deferred),
            settled=pack_settled(self._settled),
            intent=intent,
            windows=self._progress.windows + (intent is not None),
            deferrals=self._progress.deferrals + put_back,
        )
        sequence = await self._publish(encode_journal(line))
        self._progress = progress_after(line, sequence)

    async def _publish(self, payload: bytes) -> int:
        message_id = f"{self._options.sender_id}.{next(self._ports.line_numbers)}"
        attempt = 0
        while True:
            try:
                return await self._ports.bus.publish(
                    self._subject,
                    payload,
                    message_id=message_id,
                    expected_last_subject_sequence=self._progress.sequence,
                )
            except SequenceConflict as error:
                raise BatchTaken(
                    f"another sender wrote to {self._subject}", kept="its line", todo="nothing: it goes on"
                ) from error
            except BusError as error:
                if not error.transient or (self._stopping.is_set() and attempt >= 3):
                    raise
                log.warning("delivery.journal_waits", subject=self._subject, error=error.what)
            await asyncio.sleep(self._wait_seconds(_JOURNAL_WAIT, attempt))
            attempt += 1
