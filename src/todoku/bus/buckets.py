"""Key-value buckets: the last value of each key, with revisions (NATS ADR-8, history 1)."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol
from uuid import uuid4

import structlog

from todoku.bus import wire
from todoku.bus.consumers import Consumer, ConsumerGone, Delivered
from todoku.bus.errors import BusError, BusUnavailable, KeyExists, RevisionConflict, SequenceConflict
from todoku.bus.link import Link
from todoku.bus.types import Entry, StoredMessage
from todoku.kernel.retry import BackOff
from todoku.kernel.waiting import rest

log = structlog.get_logger(__name__)

OnChange = Callable[[str, bytes | None], Awaitable[None] | None]

_KEY = re.compile(r"[!-)+-\-/-=?-~]+(\.[!-)+-\-/-=?-~]+)*\Z")  # printable ASCII but space, * and >; no empty part
_FETCH_SECONDS = 10.0
_FETCH_MESSAGES = 256
_OPENED_AGAIN = 5
_BACK_OFF = BackOff(base_seconds=0.2, cap_seconds=5.0)


def bucket_stream(name: str) -> str:
    """Return the stream behind a bucket."""
    return f"KV_{name}"


class Streams(Protocol):
    """What a bucket asks of the bus that it lies on."""

    link: Link

    @property
    def generation(self) -> int:
        """Return a number that grows with each new connection."""
        ...

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        expected_last_subject_sequence: int | None = None,
    ) -> int:
        """Store a message; return its sequence."""
        ...

    async def publish_with_headers(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        """Store a message with headers of our own; return its sequence."""
        ...

    async def last_with_headers(self, stream: str, subject: str) -> tuple[StoredMessage, bool] | None:
        """Return the subject's last message, and whether it says that the value is gone."""
        ...

    def messages_with_headers(self, stream: str, subject_filter: str) -> AsyncIterator[tuple[StoredMessage, bool]]:
        """Yield stored messages, and of each whether it says that the value is gone."""
        ...

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the stream's last message."""
        ...


class Bucket:
    """One bucket. Keys: printable ASCII without space, `*`, `>`, and without empty parts between dots."""

    def __init__(self, bus: Streams, name: str) -> None:
        self._bus = bus
        self.name = name
        self._stream = bucket_stream(name)
        self._prefix = f"$KV.{name}."

    async def get(self, key: str) -> Entry | None:
        """Return the value, None when there is none or it was deleted. Raises BusUnavailable."""
        found = await self._bus.last_with_headers(self._stream, self._subject(key))
        if found is None or found[1]:
            return None
        return Entry(found[0].payload, found[0].sequence)

    async def put(self, key: str, value: bytes) -> int:
        """Set the value whatever was there; return the revision. Raises BusUnavailable, PublishUnknown (put again)."""
        return await self._bus.publish(self._subject(key), value)

    async def create(self, key: str, value: bytes) -> int:
        """Set the value when the key has none; raises KeyExists, BusUnavailable, PublishUnknown."""
        found = await self._bus.last_with_headers(self._stream, self._subject(key))
        if found is not None and not found[1]:
            raise KeyExists(f"{self.name}/{key} has a value already")
        expected = found[0].sequence if found is not None else 0
        try:
            return await self._write(key, value, expected)
        except SequenceConflict as error:
            raise KeyExists(f"{self.name}/{key} was given a value by another just now") from error

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Set the value when nobody changed it since the revision; raises RevisionConflict and the transient ones."""
        try:
            return await self._write(key, value, revision)
        except SequenceConflict as error:
            raise RevisionConflict(
                f"{self.name}/{key} was changed since revision {revision}", todo="read it again and decide anew"
            ) from error

    async def delete(self, key: str) -> None:
        """Remove the value; removing nothing is no error. Raises BusUnavailable, PublishUnknown (delete again)."""
        if await self.get(key) is not None:
            await self._bus.publish_with_headers(self._subject(key), b"", {wire.KV_OPERATION: "DEL"})

    async def delete_revision(self, key: str, revision: int) -> None:
        """Remove the value when nobody changed it since the revision; raises RevisionConflict, and as `delete`."""
        headers = {
            wire.MESSAGE_ID: uuid4().hex,
            wire.KV_OPERATION: "DEL",
            wire.EXPECTED_LAST_SUBJECT_SEQUENCE: str(revision),
        }
        try:
            await self._bus.publish_with_headers(self._subject(key), b"", headers)
        except SequenceConflict as error:
            raise RevisionConflict(f"{self.name}/{key} was changed since revision {revision}") from error

    async def keys(self) -> list[str]:
        """Return the keys that have a value, sorted."""
        start = len(self._prefix)
        return sorted(
            [
                message.subject[start:]
                async for message, deleted in self._bus.messages_with_headers(self._stream, self._prefix + ">")
                if not deleted
            ]
        )

    async def watch(self, on_change: OnChange) -> Watch:
        """Call on_change(key, value) for every key now, and again for each change; value None means deleted.

        Returns when all present values have been handed over. Goes on across lost connections and restarts of NATS
        until `stop`; nothing is skipped, but of several changes of one key during a break only the last is told.
        Raises BusUnavailable when NATS can't be read at the start.
        """
        watch = Watch(self._bus, self, on_change)
        await watch.start()
        return watch

    async def follow(self, on_change: OnChange, stop: asyncio.Event) -> Watch | None:
        """Watch as `watch` does, and wait for a bus that is away; None when stop came first."""
        attempt = 0
        while not stop.is_set():
            try:
                return await self.watch(on_change)
            except BusError as error:
                log.warning("bus.not_loaded", bucket=self.name, attempt=attempt, error=error.what)
                await rest(stop, _BACK_OFF.wait_seconds(attempt))
                attempt += 1
        return None

    def key_of(self, subject: str) -> str:
        """Return the key that a subject stands for."""
        return subject[len(self._prefix) :]

    @property
    def every_subject(self) -> str:
        """Return the filter for all keys."""
        return self._prefix + ">"

    @property
    def stream(self) -> str:
        """Return the stream behind this bucket."""
        return self._stream

    def _subject(self, key: str) -> str:
        if not _KEY.match(key):
            raise ValueError(f"{key!r} can't be a key: printable ASCII without space, * and >, no empty part at a dot")
        return self._prefix + key

    async def _write(self, key: str, value: bytes, expected: int) -> int:
        # the id lets the bus tell our own write, whose answer was lost, from a stranger's
        return await self._bus.publish(
            self._subject(key), value, message_id=uuid4().hex, expected_last_subject_sequence=expected
        )


class Watch:
    """A running watch on one bucket; made by `Bucket.watch`."""

    def __init__(self, bus: Streams, bucket: Bucket, on_change: OnChange) -> None:
        self._bus = bus
        self._bucket = bucket
        self._on_change = on_change
        self._last_sequence = 0
        self._newest = 0  # of the stream, when the watch was opened
        self._known: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hand over what is there, then go on in the background."""
        for attempt in range(_OPENED_AGAIN):
            try:
                consumer = await self._read_what_is_there()
                break
            except ConsumerGone:  # a cluster's new consumer may vanish with the server that was to lead it
                if attempt == _OPENED_AGAIN - 1:
                    raise
        self._task = asyncio.create_task(self._run(consumer))

    async def _read_what_is_there(self) -> Consumer:
        consumer, waiting = await self._open()
        # a cluster may let a follower count that is a moment behind; the newest message of a bucket is never replaced
        newest = self._newest if self._bus.link.clustered else 0
        while waiting > 0 or self._last_sequence < newest:
            generation = self._bus.generation
            delivered = await consumer.fetch(_FETCH_MESSAGES, _FETCH_SECONDS)
            if not delivered or generation != self._bus.generation:
                await consumer.close()
                raise BusUnavailable(f"the bucket {self._bucket.name} could not be read", todo="try again")
            for message in delivered:
                await self._tell(message)
            waiting -= len(delivered)
        return consumer

    async def stop(self) -> None:
        """End the watch; idempotent. No call of on_change follows."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    async def _run(self, consumer: Consumer) -> None:
        back_off = BackOff(base_seconds=0.2, cap_seconds=5.0)
        attempt = 0
        current: Consumer | None = consumer
        try:
            while True:
                try:
                    if current is None:
                        current, _ = await self._open()
                    attempt = 0
                    await self._follow(current)
                except BusError as error:
                    if self._bus.link.closed:
                        return
                    log.warning("bus.watch_interrupted", bucket=self._bucket.name, error=str(error))
                    await asyncio.sleep(back_off.wait_seconds(attempt))
                    attempt += 1
                if current is not None:
                    await current.close()
                    current = None
        finally:
            if current is not None:
                await current.close()

    async def _follow(self, consumer: Consumer) -> None:
        """Hand over changes until the connection breaks or a delivery is missing; the caller opens anew."""
        position: int | None = None
        while True:
            generation = self._bus.generation
            delivered = await consumer.fetch(_FETCH_MESSAGES, _FETCH_SECONDS)
            if generation != self._bus.generation:
                return
            for message in delivered:
                if position is not None and message.consumer_sequence != position + 1:
                    return
                position = message.consumer_sequence
                await self._tell(message)

    async def _open(self) -> tuple[Consumer, int]:
        last = self._newest = await self._bus.last_sequence(self._bucket.stream)
        config: dict[str, object] = {
            "filter_subject": self._bucket.every_subject,
            "ack_policy": "none",
            "mem_storage": True,
            "inactive_threshold": wire.nanoseconds(60),
        }
        if 0 < self._last_sequence <= last:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last_sequence + 1}
        else:
            config |= {"deliver_policy": "last_per_subject"}
            await self._forget_vanished()
        consumer = Consumer(self._bus.link, self._bucket.stream, f"watch-{uuid4().hex}", config, durable=False)
        answer = await consumer.open()
        return consumer, answer.num_pending

    async def _forget_vanished(self) -> None:
        """Tell of keys that went without a marker: the bucket itself was made anew."""
        if not self._known:
            return
        present = set(await self._bucket.keys())
        for key in sorted(self._known - present):
            self._known.discard(key)
            await self._call(key, None)
        self._last_sequence = 0

    async def _tell(self, message: Delivered) -> None:
        self._last_sequence = message.sequence
        key = self._bucket.key_of(message.subject)
        if message.header(wire.KV_OPERATION):
            self._known.discard(key)
            await self._call(key, None)
        else:
            self._known.add(key)
            await self._call(key, message.payload)

    async def _call(self, key: str, value: bytes | None) -> None:
        try:
            result = self._on_change(key, value)
            if inspect.isawaitable(result):
                await result
        except Exception:
            # one value that its reader can't take must not end the watch for all others
            log.exception("bus.watch_callback_failed", bucket=self._bucket.name, key=key)
