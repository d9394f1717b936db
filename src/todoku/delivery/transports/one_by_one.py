"""Messages that leave one request each: who goes next, how many at once, and one answer for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope

log = structlog.get_logger(__name__)

_ANSWER_LETTERS = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one request led to. everybody: the next message of the call would fare no better, so it is not tried."""

    kind: AnswerKind
    text: str
    relay_failed: bool = False
    everybody: bool = False


Mark = Callable[[], None]
"""Call it before the last octet is written; raises HandOverForbidden, then the message must stay incomplete."""

HandOver = Callable[[Envelope, Mark], Awaitable[Verdict]]
"""Hand one message over; raises HandOverForbidden when the mark did."""


class FairSlots:
    """So many requests at once; flows that wait take turns, so a small run goes beside a large one."""

    def __init__(self, slots: int) -> None:
        """Prepare. slots: at least 1."""
        self._free = slots
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def acquire(self, flow: str) -> None:
        """Wait for this flow's turn; `release` gives the slot back."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(flow, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give the slot to the next flow that waits."""
        while self._waiting:
            flow = next(iter(self._waiting))
            queue = self._waiting.pop(flow)
            turn = queue.popleft()
            if queue:
                self._waiting[flow] = queue  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class OneByOne:
    """Hand envelopes over with as many requests at once as there are slots."""

    def __init__(self, hand_over: HandOver, at_once: int) -> None:
        """Prepare. at_once: requests that may be under way together, 1-1000."""
        self._hand_over = hand_over
        self._at_once = at_once
        self._slots = FairSlots(at_once)

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, flow: str) -> list[Answer]:
        """Return one answer for each envelope, in the order in which they came; raises nothing."""
        call = _Call(iter(envelopes), sink, flow)
        await asyncio.gather(*(self._work(call) for _ in range(min(self._at_once, len(envelopes)))))
        return call.answers

    async def _work(self, call: _Call) -> None:
        for envelope in call.envelopes:
            if call.hopeless is None:
                await self._slots.acquire(call.flow)
                try:
                    verdict = call.hopeless or await self._one(envelope, call.sink)
                finally:
                    self._slots.release()
            else:
                verdict = call.hopeless
            call.answer(envelope, verdict)

    async def _one(self, envelope: Envelope, sink: AnswerSink) -> Verdict:
        announced = False

        def mark() -> None:
            nonlocal announced
            sink.about_to_complete(envelope.ref)
            announced = True

        try:
            return await self._hand_over(envelope, mark)
        except HandOverForbidden as error:
            return Verdict(AnswerKind.TEMPORARY, error.what)
        except Exception as error:  # a fault of ours or of a library: the books get the worst that is possible
            log.exception("delivery.request_broke", announced=announced)
            words = f"{type(error).__name__} in the sender"
            if announced:
                return Verdict(AnswerKind.UNKNOWN, words)
            return Verdict(AnswerKind.TEMPORARY, words, relay_failed=True)


class _Call:
    """One call of `send`. hopeless: the verdict that holds for all that have not begun."""

    def __init__(self, envelopes: Iterator[Envelope], sink: AnswerSink, flow: str) -> None:
        self.envelopes = envelopes
        self.sink = sink
        self.flow = flow
        self.answers: list[Answer] = []
        self.hopeless: Verdict | None = None

    def answer(self, envelope: Envelope, verdict: Verdict) -> None:
        answer = Answer(envelope.ref, verdict.kind, verdict.text[:_ANSWER_LETTERS], verdict.relay_failed)
        self.sink.answered((answer,))
        self.answers.append(answer)
        if verdict.everybody:
            self.hopeless = verdict
