"""Bugs to plant, so that the simulator shows what it can find. Each changes one part of an otherwise real sender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from unittest.mock import patch

from todoku.bus.buckets import Bucket, OnChange, Watch
from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer, Delivered
from todoku.bus.streams import RUNS_BUCKET, SEND, STOPS_BUCKET
from todoku.delivery.engine import active_run, takeover, visit
from todoku.delivery.engine.agenda import Agenda, RetryRules
from todoku.delivery.engine.codec import decode_order, encode_order
from todoku.delivery.engine.journal import LocalRecord, RecordState, Rest, StartRecord
from todoku.delivery.engine.lease import Lease
from todoku.delivery.engine.local_answers import BatchNotes
from todoku.delivery.engine.starts import claim_start
from todoku.delivery.simulation.bus import SimBucket, SimBus
from todoku.delivery.simulation.notes import SimAnswers
from todoku.delivery.simulation.relay import SimTransport
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope, RunOrder


class Bug:
    """No bug: the parts as they are."""

    name = ""
    bus: type[SimBus] = SimBus
    transport: type[SimTransport] = SimTransport
    answers: type[SimAnswers] = SimAnswers

    def planted(self) -> AbstractContextManager[object]:
        """Change the engine itself for as long as the context lasts."""
        return nullcontext()


class _UnfencedBus(SimBus):
    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expected_last_subject_sequence: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> int:
        fence = None if subject.startswith("journal.") else expected_last_subject_sequence
        return await super().publish(
            subject,
            payload,
            message_id=message_id,
            expected_last_subject_sequence=fence,
            timeout_seconds=timeout_seconds,
        )


class SkipFence(Bug):
    """Journal lines are published without the sequence of the line before."""

    name = "skip-fence"
    bus = _UnfencedBus


class _HastyConsumer(Consumer):
    async def fetch(self, max_messages: int, wait_seconds: float) -> list[Delivered]:
        delivered = await super().fetch(max_messages, wait_seconds)
        for one in delivered:
            await one.ack()
        return delivered


class _HastyBus(SimBus):
    async def consumer(
        self,
        stream: str,
        *,
        durable: str,
        filter_subject: str,
        ack_wait_seconds: float = 30.0,
        max_ack_pending: int = 1000,
    ) -> Consumer:
        made = await super().consumer(
            stream,
            durable=durable,
            filter_subject=filter_subject,
            ack_wait_seconds=ack_wait_seconds,
            max_ack_pending=max_ack_pending,
        )
        if stream == SEND:
            made.__class__ = _HastyConsumer
        return made


class AcknowledgeEarly(Bug):
    """A batch is acknowledged when it is taken, not when it is settled."""

    name = "acknowledge-early"
    bus = _HastyBus


class _CarelessAnswers(SimAnswers):
    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        record = super().read(sender_id, run_id, seal, batch, window)
        known = {index: one for index, one in record.answers.items() if one.kind is not AnswerKind.UNKNOWN}
        return LocalRecord(RecordState.COMPLETE, frozenset(), known)


class _CarelessSink:
    def __init__(self, sink: AnswerSink) -> None:
        self._sink = sink

    def about_to_complete(self, ref: int) -> None:
        self._sink.about_to_complete(ref)

    def answered(self, answers: Sequence[Answer]) -> None:
        self._sink.answered([_as_temporary(answer) for answer in answers])


class _CarelessTransport(SimTransport):
    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        return [_as_temporary(answer) for answer in await super().send(envelopes, _CarelessSink(sink), flow=flow)]


class ResendUnknown(Bug):
    """Who may have the message already, nobody knows, is sent it again."""

    name = "resend-unknown"
    answers = _CarelessAnswers
    transport = _CarelessTransport


class _BelievingAnswers(SimAnswers):
    def read(self, sender_id: str, run_id: str, seal: int, batch: int, window: int) -> LocalRecord:
        record = super().read(sender_id, run_id, seal, batch, window)
        return LocalRecord(RecordState.COMPLETE, record.marks, record.answers)


class BelievePartial(Bug):
    """Notes of a sender that lives, or of before a restart of the machine, are taken for complete."""

    name = "believe-partial"
    answers = _BelievingAnswers


class _MarklessNotes:
    def __init__(self, notes: BatchNotes) -> None:
        self._notes = notes

    def mark(self, window: int, index: int) -> None:
        """Forget it."""

    def answer(self, window: int, index: int, answer: Answer) -> None:
        self._notes.answer(window, index, answer)

    def close(self) -> None:
        self._notes.close()


class _MarklessAnswers(SimAnswers):
    def begin(self, run_id: str, seal: int, batch: int) -> BatchNotes:
        return _MarklessNotes(super().begin(run_id, seal, batch))


class ForgetMarks(Bug):
    """Nothing is noted before a message is completed, only answers are."""

    name = "forget-marks"
    answers = _MarklessAnswers


class IgnoreLease(Bug):
    """A sender goes on after its lease is over."""

    name = "ignore-lease"

    def planted(self) -> AbstractContextManager[object]:
        """Let no lease end."""
        return patch.object(Lease, "expired", new=property(lambda _lease: False))


class _DeafBucket(SimBucket):
    async def watch(self, on_change: OnChange) -> Watch:
        def hear(key: str, value: bytes | None) -> None:
            if self.name == RUNS_BUCKET and value is not None:
                order = decode_order(value)
                if order.state == "paused":
                    return
                on_change(key, encode_order(order))
            elif self.name != STOPS_BUCKET:
                on_change(key, value)

        return await super().watch(hear)


class _DeafBus(SimBus):
    def bucket(self, name: str) -> Bucket:
        return _DeafBucket(self, name) if name == STOPS_BUCKET else super().bucket(name)


class ForgetStops(Bug):
    """Unsubscribes after the seal are not heard."""

    name = "forget-stops"
    bus = _DeafBus


class _RestlessBus(SimBus):
    def bucket(self, name: str) -> Bucket:
        return _DeafBucket(self, name) if name == RUNS_BUCKET else super().bucket(name)


class IgnorePause(Bug):
    """A pause is not heard."""

    name = "ignore-pause"
    bus = _RestlessBus


class TwoSeals(Bug):
    """A sender that finds the run begun with another seal goes on with its own."""

    name = "two-seals"

    def planted(self) -> AbstractContextManager[object]:
        """Let every sender believe that it was first."""
        return patch.object(active_run, "claim_start", new=_claim_blindly)


async def _claim_blindly(bus: Bus, order: RunOrder, sender_id: str, now_utc: datetime) -> StartRecord:
    await claim_start(bus, order, sender_id, now_utc)
    return StartRecord(order.run_id, order.seal, sender_id, order.due_at_utc, now_utc, order)


class _SleeplessAgenda(Agenda):
    def __init__(self, pending: Iterable[int], resting: Iterable[Rest], rules: RetryRules, now_utc: datetime) -> None:
        rests = list(resting)
        super().__init__({*pending, *(one.index for one in rests)}, rests, rules, now_utc)


class WakeSettled(Bug):
    """Who rested after a temporary answer is asked again although a successor has settled them since."""

    name = "wake-settled"

    def planted(self) -> AbstractContextManager[object]:
        """Let the agenda forget who is settled; the engine had this bug until a seed found it."""
        return patch.object(visit, "Agenda", new=_SleeplessAgenda)


class ImpatientHeir(Bug):
    """Whatever comes again is taken for a dead sender's, also when the bus forgot who has it."""

    name = "impatient-heir"

    def planted(self) -> AbstractContextManager[object]:
        """Let nobody wait for an owner's silence; the engine had this bug until a killed NATS showed it."""
        return patch.object(takeover, "SILENT_LEASES", new=0.0)


SOUND = Bug()
BUGS: dict[str, Bug] = {
    bug.name: bug
    for bug in (
        SkipFence(),
        AcknowledgeEarly(),
        ResendUnknown(),
        BelievePartial(),
        ForgetMarks(),
        IgnoreLease(),
        ForgetStops(),
        IgnorePause(),
        TwoSeals(),
        WakeSettled(),
        ImpatientHeir(),
    )
}


def _as_temporary(answer: Answer) -> Answer:
    if answer.kind is AnswerKind.UNKNOWN:
        return Answer(answer.ref, AnswerKind.TEMPORARY, answer.text)
    return answer
