"""The relay, which alone knows who got a message, and the transport of a process that talks to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Protocol

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.simulation.machines import Process
from todoku.delivery.simulation.world import World
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope

_DIALS = 2
_STEP = 1e-7  # seconds between two words on one connection, so that they keep their order


class Fate(Enum):
    """What became of one attempt, as the relay knows it."""

    ON_THE_WAY = auto()  # completed by the process; the relay may still take it
    ACCEPTED = auto()
    REFUSED = auto()  # a definite negative answer of the relay, whether or not it was heard
    LOST = auto()  # it never came, or came when nobody took it


@dataclass(slots=True)
class Attempt:
    """One message of which the end was written by a process. sender: that process's name."""

    process: Process
    envelope: Envelope
    asked_at: float  # when the sink was asked for leave; a pause may lie between that and the writing
    fate: Fate = Fate.ON_THE_WAY
    heard: AnswerKind | None = None


@dataclass(slots=True)
class Manners:
    """How the relay behaves just now; probabilities for one message."""

    latency_seconds: float = 0.002
    temporary: float = 0.0
    permanent: float = 0.0
    drop_before: float = 0.0  # the connection breaks, the message was not taken
    drop_after: float = 0.0  # the connection breaks, the message was taken
    door_before_end: float = 0.5  # share of negative answers that come before the end of the message
    slow: float = 0.0
    slow_seconds: float = 2.0


class Witness(Protocol):
    """Hears of attempts as they happen."""

    def completing(self, attempt: Attempt) -> None:
        """A process writes the end of a message."""
        ...

    def accepted(self, attempt: Attempt) -> None:
        """The relay took it."""
        ...

    def heard(self, attempt: Attempt, answer: Answer) -> None:
        """The process was answered."""
        ...


class Relay:
    """The one way out. down_until: nobody answers the door, and every connection breaks."""

    def __init__(self, world: World, witness: Witness) -> None:
        self.world = world
        self.witness = witness
        self.manners = Manners()
        self.down_until = 0.0

    @property
    def down(self) -> bool:
        """Tell whether nobody is at the door."""
        return self.down_until > self.world.now


@dataclass(slots=True)
class _Job:
    envelope: Envelope
    sink: AnswerSink
    answers: list[Answer]
    wanted: int
    done: asyncio.Future[None]
    tries: int = 0


@dataclass(slots=True)
class _Line:
    """One connection. number: grows with each dial, so that words of an old connection are not taken for the new."""

    number: int = 0
    open: bool = False
    dialling: bool = False
    closed_there: set[int] = field(default_factory=set)  # numbers of connections that the relay has closed
    in_flight: deque[tuple[_Job, Attempt]] = field(default_factory=deque)
    last_written: float = 0.0
    last_there: float = 0.0
    last_back: float = 0.0


class SimTransport:
    """Several connections, several messages in flight on each (pipelining), answers in order on each."""

    eight_bit = True

    def __init__(
        self, relay: Relay, process: Process, *, connections: int, depth: int, patience_seconds: float
    ) -> None:
        """patience_seconds: how long an answer is waited for before the connection is given up."""
        self._relay = relay
        self._process = process
        self._world = relay.world
        self._lines = [_Line() for _ in range(connections)]
        self._depth = depth
        self._patience_seconds = patience_seconds
        self._queue: deque[_Job] = deque()
        self._failed_dials = 0

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes; one answer each, never an exception."""
        self._process.step()
        answers: list[Answer] = []
        if not envelopes:
            return answers
        done: asyncio.Future[None] = self._process.loop.create_future()
        self._queue.extend(_Job(envelope, sink, answers, len(envelopes), done) for envelope in envelopes)
        self._failed_dials = 0
        self._pump()
        await done
        self._process.step()
        return answers

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            line.open = False

    # --- in the process ---

    def _pump(self) -> None:
        """Put as much on the wire as may be there."""
        for line in self._lines:
            while self._queue and line.open and len(line.in_flight) < self._depth:
                self._hand_over(line, self._queue.popleft())
            if self._queue and not line.open and not line.dialling:
                self._dial(line)

    def _dial(self, line: _Line) -> None:
        line.dialling = True
        line.number += 1
        cut = self._process.machine.cut_from_relay_until > self._process.now
        fails = cut or self._relay.down
        seconds = self._world.random.random() * self._relay.manners.latency_seconds * 4
        self._arrive(self._process.now + seconds, partial(self._dialled, line, line.number, not fails))

    def _dialled(self, line: _Line, number: int, success: bool) -> None:
        if number != line.number:
            return
        line.dialling = False
        line.open = success
        if success:
            self._failed_dials = 0
        else:
            self._failed_dials += 1
            nobody_there = not any(other.open or other.dialling for other in self._lines)
            if self._failed_dials >= _DIALS * len(self._lines) and nobody_there:
                self._failed_dials = 0
                jobs, self._queue = list(self._queue), deque()
                for job in jobs:
                    self._answer(job, AnswerKind.TEMPORARY, "the relay does not answer the door", relay_failed=True)
        self._pump()

    def _hand_over(self, line: _Line, job: _Job) -> None:
        chance, manners = self._world.random, self._relay.manners
        self._process.step()
        dice = chance.random()
        if dice < (manners.temporary + manners.permanent) * manners.door_before_end:
            kind = AnswerKind.TEMPORARY if chance.random() < 0.7 else AnswerKind.PERMANENT
            text = "450 4.2.0 come back later" if kind is AnswerKind.TEMPORARY else "550 5.1.1 no such person"
            self._arrive(
                self._process.now + manners.latency_seconds, partial(self._refused_at_the_door, job, kind, text)
            )
            return
        if chance.random() < manners.drop_before * 0.5:
            self._broken_before_the_end(line, job)
            return
        asked_at = self._process.now
        try:
            job.sink.about_to_complete(job.envelope.ref)
        except HandOverForbidden as error:
            self._answer(job, AnswerKind.TEMPORARY, error.what)
            return
        self._process.step()
        attempt = Attempt(self._process, job.envelope, asked_at)
        line.in_flight.append((job, attempt))
        self._relay.witness.completing(attempt)
        line.last_written = max(self._process.now, line.last_written + _STEP)
        self._process.then(line.last_written, partial(self._depart, line, line.number, attempt))
        self._process.step()

    def _refused_at_the_door(self, job: _Job, kind: AnswerKind, text: str) -> None:
        self._answer(job, kind, text)
        self._pump()

    def _broken_before_the_end(self, line: _Line, job: _Job) -> None:
        """The message costs nothing and takes the next connection, three times at most."""
        job.tries += 1
        if job.tries < 3:
            self._queue.appendleft(job)
        else:
            self._answer(job, AnswerKind.TEMPORARY, "the connection broke before the end", relay_failed=True)
        self._break(line)

    def _heard(self, line: _Line, number: int, kind: AnswerKind, text: str) -> None:
        if number != line.number or not line.in_flight:
            return
        job, attempt = line.in_flight.popleft()
        self._answer(job, kind, text, attempt=attempt)
        self._pump()

    def _dropped(self, line: _Line, number: int) -> None:
        if number == line.number and line.open:
            self._break(line)
            self._pump()

    def _lose_patience(self, line: _Line, number: int, attempt: Attempt) -> None:
        if number == line.number and line.in_flight and line.in_flight[0][1] is attempt:
            self._dropped(line, number)

    def _break(self, line: _Line) -> None:
        line.open = False
        line.number += 1
        line.dialling = False
        while line.in_flight:
            job, attempt = line.in_flight.popleft()
            self._answer(job, AnswerKind.UNKNOWN, "the connection broke after the end", attempt=attempt)

    def _answer(
        self, job: _Job, kind: AnswerKind, text: str, *, relay_failed: bool = False, attempt: Attempt | None = None
    ) -> None:
        answer = Answer(job.envelope.ref, kind, text, relay_failed)
        if attempt is not None:
            attempt.heard = kind
            self._relay.witness.heard(attempt, answer)
        self._process.step()
        job.sink.answered((answer,))
        self._process.step()
        job.answers.append(answer)
        if len(job.answers) == job.wanted and not job.done.done():
            job.done.set_result(None)

    # --- on the way and at the relay ---

    def _arrive(self, when: float, what: partial[None]) -> None:
        """Let words come in at this process."""
        self._world.at(when, lambda: self._process.loop.deliver_in_order(what))

    def _depart(self, line: _Line, number: int, attempt: Attempt) -> None:
        chance, manners = self._world.random, self._relay.manners
        now = self._world.now
        healed = self._process.machine.cut_from_relay_until
        self._world.at(
            now + self._patience_seconds,
            lambda: self._process.loop.deliver_in_order(partial(self._lose_patience, line, number, attempt)),
        )
        if healed > now:
            if chance.random() < 0.5:
                attempt.fate = Fate.LOST
                line.closed_there.add(number)
                return
            now = healed  # what the network kept arrives late, when nobody waits for it any more
        seconds = chance.random() * manners.latency_seconds
        line.last_there = max(now + seconds, line.last_there + _STEP)
        self._world.at(line.last_there, partial(self._at_relay, line, number, attempt))

    def _at_relay(self, line: _Line, number: int, attempt: Attempt) -> None:
        """Take or refuse a message; what follows on a connection that the relay has closed is never read."""
        chance, manners = self._world.random, self._relay.manners
        if attempt.fate is not Fate.ON_THE_WAY:
            return
        if self._relay.down or number in line.closed_there:
            attempt.fate = Fate.LOST
            self._close_from_there(line, number)
            return
        dice = chance.random()
        if dice < manners.drop_before * 0.5:
            attempt.fate = Fate.LOST
            self._close_from_there(line, number)
        elif dice < manners.drop_before * 0.5 + manners.temporary * (1 - manners.door_before_end):
            attempt.fate = Fate.REFUSED
            self._say(line, number, AnswerKind.TEMPORARY, "451 4.3.0 disk full")
        elif dice < manners.drop_before * 0.5 + (manners.temporary + manners.permanent) * (1 - manners.door_before_end):
            attempt.fate = Fate.REFUSED
            self._say(line, number, AnswerKind.PERMANENT, "554 5.7.1 not wanted")
        else:
            attempt.fate = Fate.ACCEPTED
            self._relay.witness.accepted(attempt)
            if chance.random() < manners.drop_after:
                self._close_from_there(line, number)
            else:
                self._say(line, number, AnswerKind.ACCEPTED, "250 2.0.0 queued")

    def _say(self, line: _Line, number: int, kind: AnswerKind, text: str) -> None:
        chance, manners = self._world.random, self._relay.manners
        seconds = chance.random() * manners.latency_seconds
        if chance.random() < manners.slow:
            seconds += chance.random() * manners.slow_seconds
        line.last_back = max(
            self._world.now + seconds, line.last_back + _STEP, self._process.machine.cut_from_relay_until
        )
        self._arrive(line.last_back, partial(self._heard, line, number, kind, text))

    def _close_from_there(self, line: _Line, number: int) -> None:
        line.closed_there.add(number)
        line.last_back = max(self._world.now, line.last_back + _STEP)
        self._arrive(line.last_back, partial(self._dropped, line, number))
