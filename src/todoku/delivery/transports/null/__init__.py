"""Null: take every message and send none; for rehearsals of a run without a relay."""

from __future__ import annotations

from collections.abc import Sequence

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope


class NullTransport:
    """Accept everything at once. Its answers say that nothing left, so no ledger can be misread."""

    eight_bit = True

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Answer ACCEPTED for each envelope that the sink lets pass, TEMPORARY for the others."""
        answers = []
        for envelope in envelopes:
            try:
                sink.about_to_complete(envelope.ref)
                answer = Answer(envelope.ref, AnswerKind.ACCEPTED, "250 2.0.0 rehearsal: nothing was sent")
            except HandOverForbidden as error:
                answer = Answer(envelope.ref, AnswerKind.TEMPORARY, error.what)
            sink.answered((answer,))
            answers.append(answer)
        return answers

    async def close(self) -> None:
        """Nothing is open."""
