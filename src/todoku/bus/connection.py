"""The bus: publish, read, consume, buckets."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg

from todoku.bus import wire
from todoku.bus.buckets import Bucket
from todoku.bus.consumers import Consumer
from todoku.bus.declaration import declare_all
from todoku.bus.errors import (
    BusError,
    BusUnavailable,
    IdInProcess,
    MessageTooLarge,
    PublishUnknown,
    SequenceConflict,
)
from todoku.bus.gathering import Gathering
from todoku.bus.link import Link, Listener, NoAnswer
from todoku.bus.reading import ATTEMPT_SECONDS, RETRY_SECONDS, Marked, read_all, read_last, require
from todoku.bus.streams import event_subject
from todoku.bus.types import Census, StoredMessage

log = structlog.get_logger(__name__)

REPLICAS = 3  # a fourth copy guards against nothing that three do not
PIPELINE = 512  # publishes in flight; well below the 10,000 that a stream buffers before it refuses
ELECTION_SECONDS = 30.0

OnLive = Callable[[str, bytes], Awaitable[None] | None]


class Bus:
    """A connection to NATS JetStream; made by `Bus.connect`, shared by all tasks of one event loop."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._gathering = Gathering(link, lambda subject, payload, key: self.publish(subject, payload, message_id=key))

    @classmethod
    async def connect(cls, url: str, *, name: str, wait_seconds: float = 30.0) -> Bus:
        """Connect, trying again for wait_seconds; afterwards the connection comes back by itself for ever.

        url: nats://[user:password@]host:port, of a cluster several with commas between them, all with the same user.
        name: shown in the server's list of connections.
        Raises BusUnavailable when NATS did not answer in time.
        """
        link = Link(url, name)
        try:
            await link.open(wait_seconds)
        except BaseException:
            await link.close()
            raise
        return cls(link)

    async def close(self) -> None:
        """Send what is buffered (acks) and disconnect; idempotent."""
        await self.link.close()

    @property
    def generation(self) -> int:
        """Return how often the connection was lost."""
        return self.link.generation

    async def declare(self, *, replicas: int = 0) -> None:
        """Make or bring up to date every stream and bucket of `bus.streams`; idempotent, removes nothing.

        replicas: copies of each stream; 0 = three in a cluster of three servers or more, else one. More copies than a
        stream has are added to it, fewer are never taken away. A cluster without a leader is waited for, 30 s.
        Raises BusUnavailable, BusError (a stream of that name is there and can't be what it must be).
        """
        copies = replicas or (REPLICAS if self.link.servers >= REPLICAS else 1)
        deadline = asyncio.get_running_loop().time() + ELECTION_SECONDS
        while True:
            try:
                return await declare_all(self.link, copies)
            except BusUnavailable as error:
                if not self.link.clustered or asyncio.get_running_loop().time() >= deadline:
                    raise
                log.info("bus.declaration_waits", error=error.what)
            await asyncio.sleep(RETRY_SECONDS)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expected_last_subject_sequence: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> int:
        """Store one message and return its sequence in the stream; on return it survives a crash of NATS.

        message_id: unique in the stream; a second publish with it within 120 s stores nothing and returns the first
        one's sequence. expected_last_subject_sequence: store only when the subject's last message has this sequence
        (0 = the subject is empty); with a message_id, a retry of an own success returns that success.
        Raises SequenceConflict, BusUnavailable (not stored), PublishUnknown (perhaps stored), MessageTooLarge.
        """
        headers: dict[str, str] = {}
        if message_id is not None:
            headers[wire.MESSAGE_ID] = message_id
        if expected_last_subject_sequence is not None:
            headers[wire.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_last_subject_sequence)
        return await self.publish_with_headers(subject, payload, headers, timeout_seconds)

    async def publish_together(self, subject: str, payload: bytes, message_id: str) -> int:
        """Store one message as `publish` does; those that are published at the same time share one fsync.

        For streams that allow it (`streams.StreamSpec.allow_atomic`), many publishers side by side, and no fence.
        Raises as `publish`.
        """
        return await self._gathering.publish(subject, payload, message_id)

    async def publish_with_headers(
        self, subject: str, payload: bytes, headers: dict[str, str], timeout_seconds: float = 5.0
    ) -> int:
        """Publish with NATS headers as they are; otherwise like `publish`."""
        if not self.link.clustered:
            future = await self.link.submit(subject, payload, headers or None, timeout_seconds)
            return await self._sequence(subject, headers, future)
        return await self._publish_in_cluster(subject, payload, headers, timeout_seconds)

    async def publish_many(
        self,
        items: Sequence[tuple[str, bytes, str | None]],
        *,
        expected_last_subject_sequence: int | None = None,
        timeout_seconds: float = 30.0,
    ) -> list[int]:
        """Store many messages (subject, payload, message_id), up to 512 in flight; return their sequences in order.

        expected_last_subject_sequence holds for every item, each on its own subject. When some failed, waits for
        the rest of those in flight and raises the first failure; the others may be stored, so retry all with the
        same message_ids. timeout_seconds is for one message. Raises as `publish`.
        """
        fence = None if expected_last_subject_sequence is None else str(expected_last_subject_sequence)
        in_flight: deque[tuple[str, dict[str, str], asyncio.Future[Msg]]] = deque()
        sequences: list[int] = []
        failure: BusError | None = None
        for subject, payload, message_id in items:
            headers = {}
            if message_id is not None:
                headers[wire.MESSAGE_ID] = message_id
            if fence is not None:
                headers[wire.EXPECTED_LAST_SUBJECT_SEQUENCE] = fence
            try:
                if len(in_flight) >= PIPELINE:
                    sequences.append(await self._sequence(*in_flight.popleft()))
                future = await self.link.submit(subject, payload, headers or None, timeout_seconds)
            except BusError as error:
                failure = error
                break
            in_flight.append((subject, headers, future))
        while in_flight:
            try:
                sequences.append(await self._sequence(*in_flight.popleft()))
            except BusError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return sequences

    async def last_message(self, stream: str, subject: str) -> StoredMessage | None:
        """Return the newest message of one subject, None when there is none. Raises BusUnavailable."""
        found = await self.last_with_headers(stream, subject)
        return found[0] if found is not None else None

    async def last_with_headers(self, stream: str, subject: str) -> Marked | None:
        """Like `last_message`, and tell whether it is the marker of a deleted key."""
        return await read_last(self.link, stream, subject)

    async def messages(
        self, stream: str, subject_filter: str, *, after_sequence: int = 0
    ) -> AsyncIterator[StoredMessage]:
        """Give every later message that matches and was stored before the call, oldest first, perhaps newer ones too.

        Constant memory (512 messages, 8 MB). A lost connection is waited for, and so is a copy that is behind; raises
        BusUnavailable after 5 s of it.
        """
        async for message, _ in read_all(self.link, stream, subject_filter, after_sequence):
            yield message

    async def messages_with_headers(self, stream: str, subject_filter: str) -> AsyncIterator[Marked]:
        """Like `messages`, and tell of each whether it is the marker of a deleted key."""
        async for entry in read_all(self.link, stream, subject_filter):
            yield entry

    async def subject_counts(self, stream: str, subject_filter: str) -> dict[str, int]:
        """Return how many messages each matching subject holds; one entry a subject. Raises BusUnavailable."""
        return (await self.census(stream, subject_filter)).counts

    async def census(self, stream: str, subject_filter: str) -> Census:
        """Return how many messages each matching subject holds, and where the stream begins. Raises BusUnavailable."""
        counts: dict[str, int] = {}
        first_sequence: int | None = None
        while True:
            answer = await self.link.api(
                f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter, "offset": len(counts)}, wire.StreamAnswer
            )
            require(answer.error, stream)
            page = answer.state.subjects or {}
            counts |= page
            first_sequence = answer.state.first_seq if first_sequence is None else first_sequence
            if not page or len(counts) >= answer.total:
                return Census(first_sequence, counts)

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the stream's newest message, 0 when it never had one. Raises BusUnavailable."""
        answer = await self.link.api(f"STREAM.INFO.{stream}", None, wire.StreamAnswer)
        require(answer.error, stream)
        return answer.state.last_seq

    async def now_utc(self, stream: str) -> datetime:
        """Return the time by the clock that stamps the messages of this stream. Raises BusUnavailable."""
        answer = await self.link.api(f"STREAM.INFO.{stream}", None, wire.StreamAnswer)
        require(answer.error, stream)
        return wire.rfc3339(answer.ts)

    async def consumer(
        self,
        stream: str,
        *,
        durable: str,
        filter_subject: str,
        ack_wait_seconds: float = 30.0,
        max_ack_pending: int = 1000,
    ) -> Consumer:
        """Make or find the durable pull consumer, starting at the stream's first message. Raises BusUnavailable.

        Unacknowledged messages come again after ack_wait_seconds, for ever; max_ack_pending bounds how many are out.
        """
        config = {
            "durable_name": durable,
            "filter_subject": filter_subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": wire.nanoseconds(ack_wait_seconds),
            "max_deliver": -1,
            "max_ack_pending": max_ack_pending,
            "replay_policy": "instant",
        }
        consumer = Consumer(self.link, stream, durable, config, durable=True)
        await consumer.open()
        return consumer

    async def delete_consumer(self, stream: str, durable: str) -> None:
        """Remove a durable consumer and its place; a missing one is no error. Raises BusUnavailable."""
        answer = await self.link.api(f"CONSUMER.DELETE.{stream}.{durable}", None, wire.PlainAnswer)
        if answer.error is not None and answer.error.err_code != wire.ERROR_CONSUMER_MISSING:
            require(answer.error, stream)

    async def purge(self, stream: str, subject_filter: str, *, below_sequence: int | None = None) -> None:
        """Remove every matching message for good, or only those stored before a sequence. Raises BusUnavailable."""
        what: dict[str, object] = {"filter": subject_filter}
        if below_sequence is not None:
            what["seq"] = below_sequence
        answer = await self.link.api(f"STREAM.PURGE.{stream}", what, wire.PlainAnswer, 30.0)
        require(answer.error, stream)

    def bucket(self, name: str) -> Bucket:
        """Return the bucket of that name; it must be declared."""
        return Bucket(self, name)

    async def publish_event(self, project_id: str, kind: str, payload: Mapping[str, Any]) -> None:
        """Store an event (`event.<project>.<kind>`, msgpack) and show it to live pages. Raises as `publish`."""
        await self.publish(event_subject(project_id, kind), msgspec.msgpack.encode(payload))

    async def subscribe_live(self, subject: str, on_message: OnLive) -> Listener:
        """Call on_message(subject, payload) for what is published from now on, while connected; nothing is replayed.

        For pages that show what moves: a message during a lost connection is missed. End it with `.stop()`.
        """

        async def deliver(message: Msg) -> None:
            try:
                result = on_message(message.subject, message.data)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                # one reader's mistake must not silence the subscription
                log.exception("bus.live_callback_failed", subject=message.subject)

        return await self.link.listen(subject, deliver)

    async def _sequence(self, subject: str, headers: Mapping[str, str], future: asyncio.Future[Msg]) -> int:
        """Turn the answer to a publish into its sequence or the right error."""
        try:
            message = await future
        except NoAnswer as error:
            self.link.troubled()
            raise PublishUnknown(
                f"no acknowledgement for {subject} ({error})",
                kept="the message may be stored or not",
                todo="publish it again with the same message_id",
            ) from None
        if wire.header(message.headers, wire.STATUS) == wire.NO_RESPONDERS:
            self.link.troubled()
            raise BusUnavailable(
                f"no stream takes {subject}", kept="nothing was stored", todo="declare the streams (`Bus.declare`)"
            )
        answer = msgspec.json.decode(message.data, type=wire.PublishAnswer)
        if answer.error is None:
            self.link.served()
            if answer.duplicate and wire.EXPECTED_LAST_SUBJECT_SEQUENCE in headers:
                # a cluster looks for duplicates first: our message is stored, but another may have followed it
                return await self._own_or_conflict(subject, headers, answer)
            return answer.seq
        if answer.error.err_code in wire.ERRORS_WRONG_LAST_SEQUENCE:
            return await self._own_or_conflict(subject, headers, answer)
        raise _publish_error(subject, answer.error)

    async def _publish_in_cluster(
        self, subject: str, payload: bytes, headers: dict[str, str], timeout_seconds: float
    ) -> int:
        """Ask again while there is time: a leader may go, and another takes seconds to be elected.

        What may be stored is asked again only under its id. A leader that went can leave an id "in process" for two
        minutes; under a fence a changed id is safe, and is recognised as ours by what stands before the `~`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        message_id, attempt = headers.get(wire.MESSAGE_ID), 0
        while True:
            left = deadline - loop.time()
            try:
                future = await self.link.submit(subject, payload, headers or None, min(left, ATTEMPT_SECONDS))
                return await self._sequence(subject, headers, future)
            except (BusUnavailable, PublishUnknown) as error:
                stuck = isinstance(error, PublishUnknown) and message_id is None
                if stuck or self.link.closed or deadline - loop.time() <= 2 * RETRY_SECONDS:
                    raise
                if isinstance(error, IdInProcess) and wire.EXPECTED_LAST_SUBJECT_SEQUENCE in headers:
                    attempt += 1
                    headers = headers | {wire.MESSAGE_ID: f"{message_id}~{attempt}"}
            await asyncio.sleep(RETRY_SECONDS)

    async def _own_or_conflict(self, subject: str, headers: Mapping[str, str], answer: wire.PublishAnswer) -> int:
        """Return the sequence when the subject's last message is this very one.

        A single NATS compares the expected sequence before it looks for duplicates (seen with 2.15.1), so a retry of a
        publish that did succeed is refused as if somebody else had written. A cluster also refuses while another
        message of the subject is on its way and may yet fail: then nothing is decided.
        """
        try:
            last = await self.last_message(answer.stream, subject)
        except BusUnavailable as unavailable:
            raise PublishUnknown(
                f"{subject} holds another message than expected, and it can't be looked at now",
                kept="the message may be stored or not",
                todo="publish it again with the same message_id",
            ) from unavailable
        message_id = headers.get(wire.MESSAGE_ID)
        if message_id is not None and last is not None and _base(last.message_id) == _base(message_id):
            return last.sequence
        if self.link.clustered and not _decided(answer, last, headers):
            raise PublishUnknown(
                f"another message for {subject} is on its way",
                kept="the message may be stored or not",
                todo="publish it again with the same message_id",
            )
        raise SequenceConflict(
            f"{subject} is not where it was expected: {answer.error.description if answer.error else ''}",
            kept="what the other writer stored",
            todo="stop writing to it, or read it and decide anew",
        )


def _decided(answer: wire.PublishAnswer, last: StoredMessage | None, headers: Mapping[str, str]) -> bool:
    """Tell whether a cluster's refusal is final: what was read is not older than what the refusal was based on."""
    found = last.sequence if last is not None else 0
    error = answer.error or wire.ApiError()
    told = error.description.rpartition(": ")[2]
    if told.isdecimal():
        return found >= int(told)
    return found > int(headers.get(wire.EXPECTED_LAST_SUBJECT_SEQUENCE, 0))


def _base(message_id: str) -> str:
    return message_id.partition("~")[0]


def _publish_error(subject: str, error: wire.ApiError) -> BusError:
    text = f"NATS refused {subject}: {error.description} ({error.err_code})"
    if error.err_code == wire.ERROR_MESSAGE_TOO_LARGE:
        return MessageTooLarge(text, kept="nothing was stored")
    if error.err_code == wire.ERROR_DUPLICATE_IN_PROCESS:
        return IdInProcess(text, kept="the message may be stored or not", todo="publish it again a moment later")
    if error.err_code == wire.ERROR_STORE_FAILED:
        return PublishUnknown(text, kept="the message may be stored or not", todo="look at the disk of NATS")
    if error.code >= 500 or error.code == 429:
        return BusUnavailable(text, kept="nothing was stored", todo="try again; look at the log and disk of NATS")
    return BusError(text, kept="nothing was stored")
