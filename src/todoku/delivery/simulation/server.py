"""A JetStream server as far as delivery uses one: streams, fences, duplicates, pull consumers. Pure; time is told.

Source: what `bus.conformance.check_bus` finds the real one to do (NATS 2.15): the expected sequence is compared
before duplicates are looked for, but in a cluster it is the other way round; acks, naks and extensions count for a
message as long as it is out, whichever delivery they answer; a nak with delay keeps the message out until then.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from todoku.bus.buckets import bucket_stream
from todoku.bus.streams import BUCKETS, STREAMS

_DUPLICATE_WINDOW_SECONDS = 120.0
_STREAM_OF_WORD = {spec.subjects[0].partition(".")[0]: spec.name for spec in STREAMS}


class WrongSequence(Exception):
    """The subject's last message is another one: `last` is its sequence. Stays inside the simulated bus."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


class NoSuchConsumer(Exception):
    """The durable was deleted. Stays inside the simulated bus."""


@dataclass(slots=True)
class Stored:
    """One message of a stream. gone: it marks a deleted key of a bucket."""

    subject: str
    payload: bytes
    sequence: int
    at: float
    message_id: str
    gone: bool = False


@dataclass(slots=True)
class _Out:
    """A message that was delivered and not acknowledged. until: then it comes again."""

    until: float
    delivered: int


@dataclass(slots=True)
class _Durable:
    stream: str
    matches: Callable[[str], object]
    ack_wait_seconds: float
    max_ack_pending: int
    next_sequence: int = 1
    consumer_sequence: int = 0
    out: dict[int, _Out] = field(default_factory=dict)
    done: list[tuple[float, int, int]] = field(default_factory=list)  # when, sequence, times delivered


@dataclass(slots=True)
class _Stream:
    last_sequence: int = 0
    messages: dict[int, Stored] = field(default_factory=dict)
    subjects: dict[str, list[Stored]] = field(default_factory=dict)
    ids: dict[str, tuple[float, int]] = field(default_factory=dict)


class BusServer:
    """The state of one server, or of a cluster. on_stored is told of each message that is stored, as it is."""

    def __init__(self, on_stored: Callable[[Stored], None], *, clustered: bool = False) -> None:
        self.clustered = clustered
        self._streams = {spec.name: _Stream() for spec in STREAMS} | {
            bucket_stream(name): _Stream() for name in BUCKETS
        }
        self._durables: dict[tuple[str, str], _Durable] = {}
        self._on_stored = on_stored

    # --- writing ---

    def publish(
        self, now: float, subject: str, payload: bytes, message_id: str, expected: int | None, *, gone: bool = False
    ) -> tuple[int, bool]:
        """Store one message; return its sequence and whether it was there already. Raises WrongSequence."""
        stream = self._streams[stream_of(subject)]
        history = stream.subjects.get(subject)
        last = history[-1].sequence if history else 0
        wrong = expected is not None and expected != last
        if wrong and not self.clustered:
            raise WrongSequence(last)
        if message_id:
            known = stream.ids.get(message_id)
            if known is not None and now - known[0] <= _DUPLICATE_WINDOW_SECONDS:
                return known[1], True
        if wrong:
            raise WrongSequence(last)
        stream.last_sequence += 1
        message = Stored(subject, payload, stream.last_sequence, now, message_id, gone)
        if message_id:
            stream.ids[message_id] = (now, message.sequence)
        if history is None:
            history = stream.subjects[subject] = []
        elif subject.startswith("$KV."):
            del stream.messages[history.pop().sequence]
        history.append(message)
        stream.messages[message.sequence] = message
        self._on_stored(message)
        return message.sequence, False

    def purge(self, stream_name: str, subject_filter: str, below: int) -> None:
        """Remove every matching message with a sequence below that."""
        stream = self._streams[stream_name]
        matches = matcher(subject_filter)
        for subject in [subject for subject in stream.subjects if matches(subject)]:
            history = stream.subjects.pop(subject)
            for message in history:
                if message.sequence < below:
                    del stream.messages[message.sequence]
            kept = [message for message in history if message.sequence >= below]
            if kept:
                stream.subjects[subject] = kept

    # --- reading ---

    def last(self, stream_name: str, subject: str, as_of: float) -> Stored | None:
        """Return the newest message of the subject that was there at that time."""
        history = self._streams[stream_name].subjects.get(subject)
        if not history:
            return None
        count = bisect_right(history, as_of, key=lambda message: message.at)
        return history[count - 1] if count else None

    def matching(self, stream_name: str, subject_filter: str) -> list[Stored]:
        """Return every stored message that matches, oldest first."""
        matches = matcher(subject_filter)
        return [message for message in self._streams[stream_name].messages.values() if matches(message.subject)]

    def last_sequence(self, stream_name: str) -> int:
        """Return the sequence of the newest message ever stored."""
        return self._streams[stream_name].last_sequence

    def first_sequence(self, stream_name: str) -> int:
        """Return the sequence of the oldest message that is there."""
        stream = self._streams[stream_name]
        return min(stream.messages, default=stream.last_sequence + 1)

    # --- consumers ---

    def make_durable(
        self, stream: str, name: str, subject_filter: str, ack_wait_seconds: float, max_ack_pending: int
    ) -> None:
        """Make or update a durable."""
        found = self._durables.get((stream, name))
        if found is None:
            self._durables[stream, name] = _Durable(stream, matcher(subject_filter), ack_wait_seconds, max_ack_pending)
        else:
            found.ack_wait_seconds, found.max_ack_pending = ack_wait_seconds, max_ack_pending

    def delete_durable(self, stream: str, name: str) -> None:
        """Remove it and its place."""
        self._durables.pop((stream, name), None)

    def pull(self, now: float, stream: str, name: str, most: int) -> list[tuple[Stored, int, int]]:
        """Deliver up to so many messages: (message, times delivered, consumer sequence). Raises NoSuchConsumer."""
        durable = self._durable(stream, name)
        messages = self._streams[stream].messages
        delivered: list[tuple[Stored, int, int]] = []
        for sequence in [sequence for sequence, out in durable.out.items() if out.until <= now]:
            out = durable.out.pop(sequence)
            message = messages.get(sequence)
            if message is None:
                continue  # purged
            if len(delivered) < most:
                delivered.append(self._deliver(durable, now, message, out.delivered + 1))
            else:
                durable.out[sequence] = out
        last = self._streams[stream].last_sequence
        while len(delivered) < most and durable.next_sequence <= last and len(durable.out) < durable.max_ack_pending:
            message = messages.get(durable.next_sequence)
            durable.next_sequence += 1
            if message is not None and durable.matches(message.subject):
                delivered.append(self._deliver(durable, now, message, 1))
        return delivered

    def ack(self, now: float, stream: str, name: str, sequence: int) -> None:
        """Take a message off the durable, whichever delivery the ack answers."""
        durable = self._durables.get((stream, name))
        if durable is not None:
            out = durable.out.pop(sequence, None)
            if out is not None:
                durable.done.append((now, sequence, out.delivered))

    def nak(self, now: float, stream: str, name: str, sequence: int, delay_seconds: float) -> None:
        """Let a message that is out come again after the delay."""
        durable = self._durables.get((stream, name))
        if durable is not None and sequence in durable.out:
            durable.out[sequence].until = now + delay_seconds

    def extend(self, now: float, stream: str, name: str, sequence: int) -> None:
        """Let ack_wait begin anew for a message that is out."""
        durable = self._durables.get((stream, name))
        if durable is not None and sequence in durable.out:
            durable.out[sequence].until = now + durable.ack_wait_seconds

    def pending(self, stream: str, name: str) -> int:
        """Return how many messages are out or not delivered yet. Raises NoSuchConsumer."""
        durable = self._durable(stream, name)
        messages = self._streams[stream].messages
        waiting = sum(
            sequence >= durable.next_sequence and bool(durable.matches(message.subject))
            for sequence, message in messages.items()
        )
        return waiting + len(durable.out)

    def next_wake(self, stream: str, name: str) -> float | None:
        """Return when the next message that is out may come again."""
        durable = self._durables.get((stream, name))
        return min((out.until for out in durable.out.values()), default=None) if durable else None

    def forget_acks_since(self, since: float) -> None:
        """Lose the acks of the last moments, which a crashed server had not stored yet: those messages come again."""
        for durable in self._durables.values():
            kept = []
            for when, sequence, times in durable.done:
                if when >= since:
                    durable.out[sequence] = _Out(since, times)
                else:
                    kept.append((when, sequence, times))
            durable.done = kept

    def forget_durables(self) -> None:
        """Lose every consumer, as a server does whose disk lost them; who fetches makes them again from the start."""
        self._durables.clear()

    def _durable(self, stream: str, name: str) -> _Durable:
        durable = self._durables.get((stream, name))
        if durable is None:
            raise NoSuchConsumer(name)
        return durable

    def _deliver(self, durable: _Durable, now: float, message: Stored, times: int) -> tuple[Stored, int, int]:
        durable.consumer_sequence += 1
        durable.out[message.sequence] = _Out(now + durable.ack_wait_seconds, times)
        return message, times, durable.consumer_sequence


def stream_of(subject: str) -> str:
    """Return the stream that takes a subject."""
    first, _, rest = subject.partition(".")
    if first == "$KV":
        return bucket_stream(rest.partition(".")[0])
    return _STREAM_OF_WORD[first]


@lru_cache(maxsize=4096)
def matcher(subject_filter: str) -> Callable[[str], object]:
    """Return what tells whether a subject matches a filter with `*` and `>`."""
    parts = [{"*": r"[^.]+", ">": r".+"}.get(token) or re.escape(token) for token in subject_filter.split(".")]
    return re.compile(r"\.".join(parts)).fullmatch
