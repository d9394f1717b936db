"""One connection to NATS that never hangs and never gives up.

nats-py reconnects by itself, with gaps that matter here: what is sent while the connection is down waits in a buffer
for an unknown time; a lost answer is only noticed by a time-out; an error line from the server closes the client for
good; a server that was cut off from its cluster keeps its clients, though it can do nothing for them. The link closes
them: it sends only while connected, fails every waiting request the moment the connection breaks, makes a new client
when the old one was closed, and leaves a server that serves nobody.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog
from nats import errors as nats_errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from todoku.bus import wire
from todoku.bus.errors import BusUnavailable, MessageTooLarge
from todoku.bus.servers import RECONNECT_WAIT_SECONDS, ServerList
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)

MAX_UNSENT_BYTES = 64 * 1024 * 1024
PING_SECONDS = 2  # a server that stops answering is noticed after two pings
CONNECT_SECONDS = 2
UNSEEN_SECONDS = 6.0  # what a machine that was cut off does not confirm; else TCP would hope for a quarter of an hour
UNSERVED_SECONDS = 2.5  # an election takes 4 to 9 s, so a healthy server may be left too; that costs milliseconds

_BATCHES_SINCE = (2, 15)

OnMessage = Callable[[Msg], Awaitable[None]]
Answer = TypeVar("Answer", bound=msgspec.Struct)


class NoAnswer(Exception):
    """The request was handed over, but no answer came: time was up, or the connection broke. Stays inside the bus."""


class Listener:
    """A core subscription that outlives the client it was made on."""

    def __init__(self, link: Link, subject: str, on_message: OnMessage) -> None:
        self._link = link
        self.subject = subject
        self.on_message = on_message
        self.attached: Subscription | None = None

    async def attach(self, client: Client) -> None:
        """Subscribe on this client; without limits, because a dropped message would be a silent loss."""
        self.attached = await client.subscribe(
            self.subject, cb=self.on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def stop(self) -> None:
        """End the subscription; what was received and not handled yet is dropped."""
        self._link.forget(self)
        attached, self.attached = self.attached, None
        if attached is not None:
            try:
                await attached.unsubscribe()
            except nats_errors.Error:
                log.debug("bus.unsubscribe_skipped", subject=self.subject)


class Link:
    """The connection; everything of the bus goes through `request`, `open_answers`, `send` and `listen`."""

    def __init__(self, url: str, name: str) -> None:
        self._given = ServerList(url)
        self._name = name
        self._client = Client()
        self._up = asyncio.Event()
        self._closing = False
        self._listeners: list[Listener] = []
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._answers: dict[str, asyncio.Queue[Msg | None]] = {}
        self._inbox = ""
        self._counter = 0
        self._revival: asyncio.Task[None] | None = None
        self._unserved_since: float | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.generation = 0  # grows with every loss of the connection

    async def open(self, wait_seconds: float) -> None:
        """Connect within the time, or raise BusUnavailable."""
        self._inbox = self.new_inbox()
        self._listeners.append(Listener(self, self._inbox + "*", self._on_answer))
        try:
            async with asyncio.timeout(wait_seconds):
                await self._establish()
        except TimeoutError:
            reason = f" ({self._client.last_error})" if self._client.last_error is not None else ""
            raise BusUnavailable(
                f"NATS at {self._given} did not answer within {wait_seconds:g} s{reason}",
                kept="nothing was sent",
                todo="start it, or correct TODOKU_NATS_URL; `todoku doctor` tells more",
            ) from None

    @property
    def servers(self) -> int:
        """Return how many servers are known: given ones, and those that a cluster told of."""
        return max(len(self._given.urls), len(self._client.servers))

    @property
    def clustered(self) -> bool:
        """Tell whether there is another server to go to."""
        return self.servers > 1

    @property
    def batches_sync_once(self) -> bool:
        """Tell whether an atomic batch is cheaper than its messages alone: one server of 2.15 or later."""
        version = self._client.connected_server_version
        return not self.clustered and (version.major, version.minor) >= _BATCHES_SINCE

    def served(self) -> None:
        """Note that the server did what only a server with a leader in reach can do."""
        self._unserved_since = None

    def troubled(self) -> None:
        """Note that the server could not serve; after a while of nothing else another one is asked."""
        now = asyncio.get_running_loop().time()
        if self._unserved_since is None:
            self._unserved_since = now
        elif now - self._unserved_since >= UNSERVED_SECONDS and self.clustered and self._leaving is None:
            self._unserved_since = None
            log.warning("bus.server_left", connection=self._name, why="it answers, and serves nothing")
            self._leaving = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        try:
            await self._client.force_reconnect()
        finally:
            self._leaving = None

    @property
    def closed(self) -> bool:
        """Tell whether it was closed by us, for good."""
        return self._closing

    async def close(self) -> None:
        """Send what is buffered and close for good; idempotent."""
        self._closing = True
        if self._leaving is not None:
            self._leaving.cancel()
        if self._revival is not None:
            self._revival.cancel()
        self._fail_waiting()
        if not self._client.is_closed:
            try:
                async with asyncio.timeout(2.0):
                    if self._client.is_connected:
                        await self._client.flush(timeout=1)
            except (nats_errors.Error, TimeoutError, OSError):
                log.warning("bus.closed_unflushed", connection=self._name)
            await self._client.close()

    def new_inbox(self) -> str:
        """Return a unique subject prefix for answers, ending with a dot."""
        return self._client.new_inbox() + "."

    async def listen(self, subject: str, on_message: OnMessage) -> Listener:
        """Subscribe for as long as the link lives."""
        listener = Listener(self, subject, on_message)
        self._listeners.append(listener)
        if not self._client.is_closed:
            await listener.attach(self._client)
        return listener

    def forget(self, listener: Listener) -> None:
        """Do not attach this one again."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def until_up(self, timeout_seconds: float) -> None:
        """Return when connected; raise BusUnavailable when that took longer than allowed."""
        if self._client.is_connected and self._up.is_set():
            return
        if self._closing:
            raise BusUnavailable("the bus was closed", kept="nothing was sent")
        if not self._client.is_connected:
            self._up.clear()  # nats-py knows of the break a moment before it tells
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._up.wait()
        except TimeoutError:
            raise BusUnavailable(
                f"no connection to NATS for {timeout_seconds:g} s",
                kept="nothing was sent; the connection is retried for ever",
                todo="look at the log of NATS; try again",
            ) from None

    async def send(self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Hand one message to the connection without waiting for an answer."""
        client = self._client
        if client.pending_data_size > MAX_UNSENT_BYTES:
            raise BusUnavailable("NATS does not take what is sent to it", kept="nothing was sent", todo="try again")
        octets = len(payload) + wire.header_octets(headers)
        if octets > client.max_payload:  # nats-py forgets the headers; the server ends the connection for them
            raise MessageTooLarge(
                f"a message of {octets:,} bytes is more than the {client.max_payload:,} that NATS takes",
                kept="nothing was sent",
            )
        try:
            await client.publish(subject, payload, reply=reply, headers=headers)
        except (nats_errors.ConnectionClosedError, nats_errors.OutboundBufferLimitError) as error:
            raise BusUnavailable(f"not connected to NATS ({error})", kept="nothing was sent") from error

    async def submit(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout_seconds: float
    ) -> asyncio.Future[Msg]:
        """Send a request and return the future of its answer, which always ends: answer or NoAnswer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        await self.until_up(timeout_seconds)
        self._counter += 1
        token = str(self._counter)
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = future
        timer = loop.call_at(deadline, self._expire, token, timeout_seconds)

        def forget(_: asyncio.Future[Msg]) -> None:
            timer.cancel()
            self._waiting.pop(token, None)

        future.add_done_callback(forget)
        try:
            await self.send(subject, payload, self._inbox + token, headers)
        except BaseException:
            future.cancel()
            raise
        return future

    async def request(self, subject: str, payload: bytes, timeout_seconds: float) -> Msg:
        """Send a request that changes nothing or may be repeated; raise BusUnavailable when no answer came."""
        try:
            return await (await self.submit(subject, payload, None, timeout_seconds))
        except NoAnswer as error:
            self.troubled()
            raise BusUnavailable(f"NATS gave no answer to {subject} ({error})", todo="try again") from error

    async def api(
        self, name: str, body: Mapping[str, Any] | None, answer: type[Answer], timeout_seconds: float = 5.0
    ) -> Answer:
        """Call the JetStream API and decode the answer; its `error` member is left to the caller."""
        payload = msgspec.json.encode(body) if body is not None else b""
        message = await self.request(wire.API + name, payload, timeout_seconds)
        if wire.header(message.headers, wire.STATUS) == wire.NO_RESPONDERS:
            raise BusUnavailable(
                "NATS runs without JetStream", todo="switch JetStream on; it needs a store_dir and sync_interval"
            )
        decoded = msgspec.json.decode(message.data, type=answer)
        error = getattr(decoded, "error", None)
        if error is not None and error.code >= 500:
            self.troubled()
        else:
            self.served()
        return decoded

    def open_answers(self) -> tuple[str, asyncio.Queue[Msg | None]]:
        """Return a fresh reply subject and the queue of what comes to it; None in it means the connection broke."""
        self._counter += 1
        token = f"m{self._counter}"
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._answers[token] = queue
        return self._inbox + token, queue

    def close_answers(self, reply: str) -> None:
        """Forget a reply subject; what comes later is dropped."""
        self._answers.pop(reply[len(self._inbox) :], None)

    async def _establish(self) -> None:
        client = self._client
        try:
            await client.connect(
                self._given.urls,
                name=self._name,
                user=self._given.user,
                password=self._given.password,
                reconnect_to_server_handler=self._choose,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
                reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # seconds, fractions work
                max_reconnect_attempts=-1,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                flush_timeout=2.0,
            )
        except nats_errors.Error as error:
            raise BusUnavailable(
                f"NATS at {self._given} refused the connection: {error}",
                todo="check user, password and limits of the server",
            ) from error
        for listener in self._listeners:
            await listener.attach(client)
        self._connected()

    def _choose(self, servers: list[Server], info: dict[str, Any]) -> tuple[Server, float]:
        """Choose the next server, and close what nats-py leaves open of one that took the connection and hung."""
        writer = _writer_of(self._client)
        if writer is not None and not writer.is_closing():
            writer.close()
        return self._given.choose(servers, info)

    def _connected(self) -> None:
        self._given.arrived(self._client.connected_url)
        self._unserved_since = None
        _limit_silence(self._client)
        self._up.set()

    async def _on_answer(self, message: Msg) -> None:
        token = message.subject[len(self._inbox) :]
        future = self._waiting.get(token)
        if future is not None:
            if not future.done():
                future.set_result(message)
            return
        queue = self._answers.get(token)
        if queue is not None:
            queue.put_nowait(message)

    def _expire(self, token: str, timeout_seconds: float) -> None:
        future = self._waiting.get(token)
        if future is not None and not future.done():
            future.set_exception(NoAnswer(f"within {timeout_seconds:g} s"))

    def _fail_waiting(self) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(NoAnswer("the connection broke"))
        for queue in self._answers.values():
            queue.put_nowait(None)

    def _lost(self) -> None:
        self._up.clear()
        self.generation += 1
        self._fail_waiting()

    async def _on_error(self, error: Exception) -> None:
        log.debug("bus.connection_error", connection=self._name, error=repr(error))

    async def _on_disconnected(self) -> None:
        self._lost()
        if not self._closing:
            log.warning("bus.disconnected", connection=self._name)

    async def _on_reconnected(self) -> None:
        self._connected()
        log.info("bus.reconnected", connection=self._name)

    async def _on_closed(self) -> None:
        self._lost()
        if not self._closing and self._revival is None:
            self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        back_off = BackOff(base_seconds=0.2, cap_seconds=5.0)
        attempt = 0
        while not self._closing:
            self._client = Client()
            try:
                await self._establish()
                break
            except (BusUnavailable, OSError, TimeoutError) as error:
                log.warning("bus.revival_failed", connection=self._name, error=str(error))
                await asyncio.sleep(back_off.wait_seconds(attempt))
                attempt += 1
        self._revival = None
        log.info("bus.reconnected", connection=self._name)


def _limit_silence(client: Client) -> None:
    """Let the kernel end the connection when the other machine confirms nothing any more (RFC 5482).

    Without it nats-py waits for the last bytes to be confirmed before it turns to another server.
    """
    writer = _writer_of(client)
    sock = writer.get_extra_info("socket") if writer is not None else None
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNSEEN_SECONDS))


def _writer_of(client: Client) -> asyncio.StreamWriter | None:
    """Return the client's connection, which it shows nowhere: if its insides change, speed and a warning are lost."""
    return getattr(getattr(client, "_transport", None), "_io_writer", None)
