"""The transport over several others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.failover.circuit import Circuit, CircuitState
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope, Transport
from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

_PROBE_WAIT = BackOff(base_seconds=1.0, cap_seconds=60.0)


@dataclass(frozen=True, slots=True)
class Way:
    """One relay of the list. name: as logs and answers say it, without secrets."""

    name: str
    transport: Transport
    circuit: Circuit


class FailOverTransport:
    """Hand messages to the first relay that can be talked to; passes `check_transport`.

    A relay whose answers to one call were all `relay_failed` is passed over from then on; after 1 s, doubling up to
    60 s, one message tries it again, and if it answers, everything goes there again. When no relay is left, all are
    tried in order, so the caller learns at once when one is back.
    """

    def __init__(
        self, relays: Sequence[tuple[str, Transport]], clock: Clock, *, probe_wait: BackOff = _PROBE_WAIT
    ) -> None:
        """Prepare; raises ConfigurationError without any relay. relays: (name for logs, transport), best first."""
        if not relays:
            raise ConfigurationError("fail-over needs at least one relay")
        self._ways = [Way(name, transport, Circuit(probe_wait)) for name, transport in relays]
        self._clock = clock

    @property
    def transports(self) -> list[Transport]:
        """Return the relays' transports in order."""
        return [way.transport for way in self._ways]

    @property
    def eight_bit(self) -> bool:
        """Tell what the relay in use takes, and the one to be tried next; what does not fit is composed anew."""
        probe = self._due()
        return self._usable()[0].transport.eight_bit and (probe is None or probe.transport.eight_bit)

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes; returns one answer each, in the order in which they came. Never raises."""
        if not envelopes:
            return []
        probe = self._due()
        first = next((one for one in envelopes if probe is not None and _fits(one, probe)), None)
        if probe is None or first is None or self._state(self._usable()[0]) is not CircuitState.CLOSED:
            return await self._send_in_order(envelopes, sink, flow, self._usable())
        probe.circuit.begin_probe()
        others = self._usable()
        answers = await asyncio.gather(
            self._send_in_order([first], sink, flow, [probe, *others]),
            self._send_in_order([one for one in envelopes if one is not first], sink, flow, others),
        )
        return [answer for some in answers for answer in some]

    async def close(self) -> None:
        """Close all relays' connections politely."""
        await asyncio.gather(*(way.transport.close() for way in self._ways))

    def _state(self, way: Way) -> CircuitState:
        return way.circuit.state(self._clock.monotonic_seconds())

    def _usable(self) -> list[Way]:
        """Return the relays whose circuit is closed, in order; all of them when there is none."""
        return [way for way in self._ways if self._state(way) is CircuitState.CLOSED] or self._ways

    def _due(self) -> Way | None:
        """Return the first relay that one message should try again."""
        return next((way for way in self._ways if self._state(way) is CircuitState.DUE), None)

    async def _send_in_order(
        self, envelopes: Sequence[Envelope], sink: AnswerSink, flow: str, ways: Sequence[Way]
    ) -> list[Answer]:
        """Offer the envelopes to one relay after the other; what none took has the last one's answer."""
        answers: list[Answer] = []
        left = envelopes
        for place, way in enumerate(ways):
            fitting = [envelope for envelope in left if _fits(envelope, way)]
            if len(fitting) < len(left):
                answers.extend(_compose_anew((one for one in left if not _fits(one, way)), way, sink))
            watch = _Watch(sink, may_go_on=place + 1 < len(ways))
            heard = await way.transport.send(fitting, watch, flow=flow) if fitting else []
            self._judge(way, heard, watch)
            answers.extend(answer for answer in heard if answer.ref not in watch.go_on)
            left = [envelope for envelope in fitting if envelope.ref in watch.go_on]
            if not left:
                break
        return answers

    def _judge(self, way: Way, answers: Sequence[Answer], watch: _Watch) -> None:
        """Learn from one call's answers whether the relay can be talked to."""
        spoken = [answer for answer in answers if not (watch.took_back and answer.kind is AnswerKind.TEMPORARY)]
        if not spoken:
            way.circuit.nothing_learnt()
        elif all(answer.relay_failed for answer in spoken):
            if way.circuit.failed(self._clock.monotonic_seconds()):
                log.error("delivery.relay_passed_over", relay=way.name, why=spoken[0].text)
        elif way.circuit.succeeded():
            log.info("delivery.relay_recovered", relay=way.name)


def _fits(envelope: Envelope, way: Way) -> bool:
    return way.transport.eight_bit or envelope.content.isascii()


def _compose_anew(envelopes: Iterable[Envelope], way: Way, sink: AnswerSink) -> list[Answer]:
    """Answer TEMPORARY for 8-bit content that this relay is not known to take; the next attempt is composed for it."""
    answers = []
    for envelope in envelopes:
        answer = Answer(envelope.ref, AnswerKind.TEMPORARY, f"to be composed in 7 bits for {way.name}")
        answers.append(answer)
    sink.answered(answers)
    return answers


class _Watch:
    """Stands between a relay and the sink. go_on: messages whose answer the sink need not hear: the next relay's will.

    took_back: the caller forbade a hand-over, so a TEMPORARY answer may be its word and not the relay's. Only messages
    whose end was never written go on: their second hand-over is the first that can complete them.
    """

    def __init__(self, sink: AnswerSink, *, may_go_on: bool) -> None:
        self.go_on: set[int] = set()
        self.took_back = False
        self._sink = sink
        self._may_go_on = may_go_on
        self._marked: set[int] = set()

    def about_to_complete(self, ref: int) -> None:
        try:
            self._sink.about_to_complete(ref)
        except HandOverForbidden:
            self.took_back = True
            raise
        self._marked.add(ref)

    def answered(self, answers: Sequence[Answer]) -> None:
        lost = [answer for answer in answers if self._may_go_on and self._is_lost(answer)]
        self.go_on.update(answer.ref for answer in lost)
        heard = [answer for answer in answers if answer.ref not in self.go_on] if lost else answers
        if heard:
            self._sink.answered(heard)

    def _is_lost(self, answer: Answer) -> bool:
        return answer.kind is AnswerKind.TEMPORARY and answer.relay_failed and answer.ref not in self._marked
