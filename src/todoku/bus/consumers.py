"""Pull consumers: a durable place in a stream, read in batches, acknowledged one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg

from todoku.bus import wire
from todoku.bus.errors import BusError, BusUnavailable
from todoku.bus.link import Link, Listener

log = structlog.get_logger(__name__)

LINK_WAIT_SECONDS = 5.0
ANSWER_GRACE_SECONDS = 1.0  # the server ends a pull itself; only a lost answer takes longer
HEARTBEAT_SECONDS = 1.0  # during a long pull; a server that was cut off from the consumer sends none
SILENCE_SECONDS = 3.0
RETRY_SECONDS = 0.05


class ConsumerGone(BusError):
    """The server does not know the consumer any more."""

    transient = True


class Delivered:
    """One message handed to this consumer; it comes again after ack_wait unless it is acknowledged."""

    __slots__ = ("_link", "_message", "_numbers")

    def __init__(self, link: Link, message: Msg) -> None:
        self._link = link
        self._message = message
        self._numbers = wire.ack_subject(message.reply)

    @property
    def subject(self) -> str:
        """Return the subject under which it was published."""
        return self._message.subject

    @property
    def payload(self) -> bytes:
        """Return the bytes as published."""
        return self._message.data

    @property
    def sequence(self) -> int:
        """Return the sequence in the stream."""
        return self._numbers.stream_sequence

    @property
    def consumer_sequence(self) -> int:
        """Return how many-th delivery of this consumer this is; a gap means a lost delivery."""
        return self._numbers.consumer_sequence

    @property
    def redelivered(self) -> bool:
        """Tell whether it was delivered before."""
        return self._numbers.delivered > 1

    @property
    def published_at_utc(self) -> datetime:
        """Return when the server stored it."""
        return wire.from_nanoseconds(self._numbers.nanoseconds)

    @property
    def message_id(self) -> str:
        """Return the id given at publishing, or ""."""
        return self.header(wire.MESSAGE_ID)

    def header(self, name: str) -> str:
        """Return one NATS header, "" when absent."""
        return wire.header(self._message.headers, name)

    async def ack(self) -> None:
        """Say that it is done; sent without waiting, so after a crash it may come again. Raises BusUnavailable."""
        await self._link.send(self._message.reply, b"+ACK")

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Give it back, to be delivered again after the delay. Raises BusUnavailable."""
        body = b"-NAK"
        if delay_seconds > 0:
            body += b" " + msgspec.json.encode({"delay": wire.nanoseconds(delay_seconds)})
        await self._link.send(self._message.reply, body)

    async def extend(self) -> None:
        """Say that work is going on; ack_wait begins anew. Raises BusUnavailable."""
        await self._link.send(self._message.reply, b"+WPI")


class Consumer:
    """A pull consumer. Several processes may fetch from one durable; each message goes to one of them.

    Fetches on one object wait for each other. A durable that the server lost (a new, empty NATS) is made again.
    """

    def __init__(self, link: Link, stream: str, name: str, config: Mapping[str, Any], *, durable: bool) -> None:
        self._link = link
        self._stream = stream
        self._name = name
        self._config = config
        self._durable = durable
        self._arrived: deque[Delivered] = deque()
        self._endings: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._listener: Listener | None = None
        self._inbox = ""
        self._pull = 0
        self._heard = 0.0
        self._awaken = asyncio.Event()
        self._turn = asyncio.Lock()

    async def open(self, timeout_seconds: float = 5.0) -> wire.ConsumerAnswer:
        """Make the consumer, or update the one that is there; raises BusUnavailable or BusError."""
        subject = f"CONSUMER.CREATE.{self._stream}.{self._name}.{self._config['filter_subject']}"
        request = {"stream_name": self._stream, "config": dict(self._config), "action": ""}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        answer = await self._link.api(subject, request, wire.ConsumerAnswer, timeout_seconds)
        # one of this name that was deleted a moment ago is still being removed from the disk
        while answer.error is not None and answer.error.code >= 500 and loop.time() < deadline:
            await asyncio.sleep(RETRY_SECONDS)
            answer = await self._link.api(subject, request, wire.ConsumerAnswer, timeout_seconds)
        if answer.error is not None:
            raise _consumer_error(self._stream, self._name, answer.error)
        if self._listener is None:
            self._inbox = self._link.new_inbox()
            self._listener = await self._link.listen(self._inbox + "*", self._on_message)
        return answer

    async def fetch(self, max_messages: int, wait_seconds: float) -> list[Delivered]:
        """Return what is there, at most max_messages; wait for the first one up to wait_seconds, else [].

        Returns as soon as anything has come; it does not wait for a full batch. Raises BusUnavailable when NATS
        can't be reached for wait_seconds (but at least 5 s), BusError when the stream is gone.
        """
        async with self._turn:
            if not self._arrived:
                await self._pull_once(max_messages, wait_seconds)
            return [self._arrived.popleft() for _ in range(min(max_messages, len(self._arrived)))]

    async def pending(self) -> int:
        """Return how many messages are not done: delivered and not acknowledged, or not delivered yet."""
        answer = await self._link.api(f"CONSUMER.INFO.{self._stream}.{self._name}", None, wire.ConsumerAnswer)
        if answer.error is not None:
            raise _consumer_error(self._stream, self._name, answer.error)
        return answer.num_pending + answer.num_ack_pending

    async def close(self) -> None:
        """Stop listening; a durable stays on the server, what was delivered and not acknowledged comes again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()

    async def _pull_once(self, max_messages: int, wait_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            await self._link.until_up(max(deadline - loop.time(), LINK_WAIT_SECONDS))
            generation = self._link.generation
            self._pull += 1
            token = str(self._pull)
            request: dict[str, Any] = {"batch": max_messages, "no_wait": True}
            remaining = deadline - loop.time()
            if remaining > 0.001:
                request["expires"] = wire.nanoseconds(remaining)
            heartbeats = remaining > 2 * HEARTBEAT_SECONDS
            if heartbeats:
                request["idle_heartbeat"] = wire.nanoseconds(HEARTBEAT_SECONDS)
            await self._link.send(
                f"{wire.API}CONSUMER.MSG.NEXT.{self._stream}.{self._name}",
                msgspec.json.encode(request),
                self._inbox + token,
            )
            limit = min(remaining, SILENCE_SECONDS) if heartbeats else max(remaining, 0.0) + ANSWER_GRACE_SECONDS
            status = await self._await_end(token, max_messages, generation, limit)
            if status in ("lost", wire.NO_RESPONDERS):
                self._link.troubled()
            if status == wire.NO_RESPONDERS or status == "gone":
                await self._remake()
            if self._arrived or loop.time() >= deadline:
                return
            if status == "409":
                await asyncio.sleep(RETRY_SECONDS)  # the consumer's leader changes; asking at once would only spin

    async def _await_end(self, token: str, max_messages: int, generation: int, silence: float) -> str:
        """Wait until this pull has ended: by the server's word, a full batch, a broken connection, or silence."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        while True:
            while not self._endings.empty():
                ended, status = self._endings.get_nowait()
                if ended == token:
                    return status
            if len(self._arrived) >= max_messages:
                return "full"
            if self._link.generation != generation:
                return "broken"
            left = self._heard + silence - loop.time()
            if left <= 0:
                return "lost"
            self._awaken.clear()
            try:
                # woken by messages; the short limit is for a broken connection, which sends nothing
                async with asyncio.timeout(min(left, 0.5)):
                    await self._awaken.wait()
            except TimeoutError:
                continue

    async def _on_message(self, message: Msg) -> None:
        if message.reply:
            self._arrived.append(Delivered(self._link, message))
        else:
            status = wire.header(message.headers, wire.STATUS)
            if status == "409" and "Deleted" in wire.header(message.headers, wire.DESCRIPTION):
                status = "gone"
            if status != "100":
                self._endings.put_nowait((message.subject[len(self._inbox) :], status))
        self._heard = asyncio.get_running_loop().time()
        self._awaken.set()

    async def _remake(self) -> None:
        if not self._durable:
            raise ConsumerGone(f"the consumer {self._name} of {self._stream} is gone")
        log.warning("bus.consumer_remade", stream=self._stream, consumer=self._name)
        await self.open()


def _consumer_error(stream: str, name: str, error: wire.ApiError) -> BusError:
    if error.err_code == wire.ERROR_CONSUMER_MISSING:
        return ConsumerGone(f"the consumer {name} of {stream} is gone")
    if error.err_code == wire.ERROR_STREAM_MISSING:
        return BusUnavailable(f"there is no stream {stream}", todo="declare the streams (`Bus.declare`)")
    if error.code >= 500:
        return BusUnavailable(f"NATS can't make the consumer {name} of {stream}: {error.description}")
    return BusError(f"NATS refuses the consumer {name} of {stream}: {error.description}")
