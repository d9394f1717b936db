"""One message on its way through the SMTP transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope

LONGEST_TEXT: Final = 500
"""Characters of a relay's words that are kept."""


@dataclass(slots=True, eq=False)
class Handover:
    """One call of `send`: resolves `done` when each of its envelopes has its answer."""

    sink: AnswerSink
    waiting: int
    done: asyncio.Future[None]
    flow: str = ""
    answers: list[Answer] = field(default_factory=list)

    def take(self, answers: Sequence[Answer]) -> None:
        """Give these answers, one for each of so many envelopes, to sink and caller."""
        self.sink.answered(answers)
        self.answers += answers
        self.waiting -= len(answers)
        if not self.waiting and not self.done.done():
            self.done.set_result(None)


class Job(msgspec.Struct, eq=False):
    """One envelope and what was learnt about it. blame: grows with each connection lost under it."""

    envelope: Envelope
    handover: Handover
    blame: int = 0

    def answer(self, kind: AnswerKind, text: str, *, relay_failed: bool = False) -> None:
        """Give the one answer of this envelope to sink and caller."""
        self.handover.take((Answer(self.envelope.ref, kind, text[:LONGEST_TEXT], relay_failed),))


def handover_of(envelopes: Sequence[Envelope], sink: AnswerSink, flow: str = "") -> tuple[Handover, list[Job]]:
    """Return the handover of the envelopes and a job for each, in order."""
    handover = Handover(sink, len(envelopes), asyncio.get_running_loop().create_future(), flow)
    return handover, [Job(envelope, handover) for envelope in envelopes]
