"""One message on its way through the SMTP transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope


@dataclass(slots=True, eq=False)
class Handover:
    """One call of `send`: resolves `done` when each of its envelopes has its answer."""

    sink: AnswerSink
    waiting: int
    done: asyncio.Future[None]
    flow: str = ""
    answers: list[Answer] = field(default_factory=list)


class Job(msgspec.Struct, eq=False):
    """One envelope and what was learnt about it. blame: grows with each connection lost under it."""

    envelope: Envelope
    handover: Handover
    blame: int = 0

    def answer(self, kind: AnswerKind, text: str, *, relay_failed: bool = False) -> None:
        """Give the one answer of this envelope to sink and caller."""
        answer = Answer(self.envelope.ref, kind, text[:500], relay_failed)
        handover = self.handover
        handover.sink.answered(answer)
        handover.answers.append(answer)
        handover.waiting -= 1
        if not handover.waiting and not handover.done.done():
            handover.done.set_result(None)


def handover_of(envelopes: Sequence[Envelope], sink: AnswerSink, flow: str = "") -> tuple[Handover, list[Job]]:
    """Return the handover of the envelopes and a job for each, in order."""
    handover = Handover(sink, len(envelopes), asyncio.get_running_loop().create_future(), flow)
    return handover, [Job(envelope, handover) for envelope in envelopes]
