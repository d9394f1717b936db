"""A limit on the size of one message, in front of any transport."""

from __future__ import annotations

from collections.abc import Sequence

from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope, Transport


class SizeLimited:
    """Refuse messages that are too long before anything is handed over; passes `check_transport` as what it wraps.

    The limit is the sender's own. A relay that takes less says so itself (SIZE, RFC 1870).
    """

    def __init__(self, transport: Transport, most_octets: int) -> None:
        """Prepare. most_octets: of one message with its headers."""
        self.transport = transport
        self._most_octets = most_octets

    @property
    def eight_bit(self) -> bool:
        """Tell what the transport behind takes."""
        return self.transport.eight_bit

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Answer PERMANENT for what is too long, hand over the rest."""
        if all(len(envelope.content) <= self._most_octets for envelope in envelopes):
            return await self.transport.send(envelopes, sink, flow=flow)
        answers = []
        fitting = []
        for envelope in envelopes:
            octets = len(envelope.content)
            if octets <= self._most_octets:
                fitting.append(envelope)
                continue
            words = f"552 5.3.4 not sent: the message has {octets} octets, at most {self._most_octets} are allowed"
            answer = Answer(envelope.ref, AnswerKind.PERMANENT, words)
            sink.answered((answer,))
            answers.append(answer)
        return [*answers, *await self.transport.send(fitting, sink, flow=flow)]

    async def close(self) -> None:
        """Close the transport behind."""
        await self.transport.close()
