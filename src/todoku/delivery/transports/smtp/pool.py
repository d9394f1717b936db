"""The SMTP transport: several pipelined connections to one relay, kept open over many windows."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from todoku.delivery.transports.smtp.connection import SmtpConnection, TimeLimits
from todoku.delivery.transports.smtp.job import Job, handover_of
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.errors import ConfigurationError

log = structlog.get_logger(__name__)

_MOST_TRIES = 3  # connections that may break under one message before it is answered TEMPORARY
_WATCH_SECONDS = 1.0


class SmtpTransport:
    """Hand messages to one relay (RFC 5321, pipelined by RFC 2920); passes `check_transport`.

    A connection that breaks before the end of a message costs nothing: the message goes over the next one. After
    the end was written it means UNKNOWN. A relay that can't be reached means TEMPORARY for everything that waits,
    at once; the caller decides when to come back.
    """

    def __init__(
        self,
        relay_url: str,
        *,
        connections: int = 10,
        limits: TimeLimits | None = None,
        clock: Clock | None = None,
        ehlo_name: str = "",
    ) -> None:
        """Prepare, connect nothing yet; raises ConfigurationError. relay_url: smtp://host[:25]."""
        self.host, self.port = _relay_of(relay_url)
        if not 1 <= connections <= 1_000:
            raise ConfigurationError(f"connections must be 1-1000, not {connections}")
        self._most_connections = connections
        self._limits = limits or TimeLimits()
        self._clock = clock or SystemClock()
        self._ehlo_name = ehlo_name or _own_name()
        self._waiting: deque[Job] = deque()
        self._connections: set[SmtpConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = 0
        self._last_failure = ""
        self._watching: asyncio.TimerHandle | None = None
        self._closed = False
        self._all_eight_bit: bool | None = None  # None before the first connection

    @property
    def eight_bit(self) -> bool:
        """Tell whether every connection so far offered 8BITMIME; False before the first."""
        return bool(self._all_eight_bit)

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        """Hand over all envelopes; returns one answer each, in the order in which they came. Never raises."""
        if not envelopes:
            return []
        handover, jobs = handover_of(envelopes, sink)
        self._waiting.extend(jobs)
        self._set_to_work()
        await handover.done
        return handover.answers

    async def close(self) -> None:
        """Say QUIT on idle connections, cut the others off; what waits is answered TEMPORARY."""
        self._closed = True
        self._fail_waiting("the transport was closed", relay_failed=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in tuple(self._connections):
            connection.quit()
        for _ in range(50):
            if not self._connections:
                break
            await asyncio.sleep(0.02)
        for connection in tuple(self._connections):
            connection.abort("closed")
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    # --- ConnectionOwner ---

    def next_job(self) -> Job | None:
        """Return the next message that waits."""
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, job: Job, why: str) -> None:
        """Let a message that was not completed go over another connection, a few times."""
        job.tries += 1
        if job.tries >= _MOST_TRIES or self._closed:
            job.answer(AnswerKind.TEMPORARY, why, relay_failed=True)
        else:
            self._waiting.appendleft(job)

    def take_back(self, job: Job, why: str) -> None:
        """Answer TEMPORARY for everything of this handover that no connection has opened."""
        kept = deque(one for one in self._waiting if one.handover is not job.handover)
        mine = [one for one in self._waiting if one.handover is job.handover]
        self._waiting = kept
        for one in mine:
            one.answer(AnswerKind.TEMPORARY, why)

    def connection_ready(self, connection: SmtpConnection) -> None:
        """Give the connection work."""
        self._last_failure = ""
        self._all_eight_bit = connection.offers.eight_bit and self._all_eight_bit is not False
        connection.wake()

    def connection_gone(self, connection: SmtpConnection, why: str, *, was_ready: bool) -> None:
        """Forget the connection; without any left, say so to everything that waits, or connect again."""
        self._connections.discard(connection)
        if not was_ready and why != "closed":
            self._connect_failed(why)
        elif self._waiting and not self._closed:
            self._set_to_work()

    # --- connections ---

    def _set_to_work(self) -> None:
        if self._closed:
            self._fail_waiting("the transport was closed", relay_failed=True)
            return
        for connection in tuple(self._connections):
            if not self._waiting:
                break
            connection.wake()
        wanted = min(self._most_connections, len(self._waiting) + len(self._connections))
        for _ in range(wanted - len(self._connections) - self._connecting):
            self._connecting += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._watching is None:
            self._watch()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()

        def make() -> SmtpConnection:
            connection = SmtpConnection(self, self._ehlo_name, self._clock.monotonic_seconds)
            self._connections.add(connection)
            return connection

        failure = ""
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await loop.create_connection(make, self.host, self.port)
        except TimeoutError:
            failure = f"{self.host}:{self.port} did not answer in {self._limits.connect_seconds:g} s"
        except OSError as error:
            failure = f"{self.host}:{self.port} can't be reached: {error.strerror or error}"
        finally:
            self._connecting -= 1
        if failure:
            self._connect_failed(failure)

    def _connect_failed(self, why: str) -> None:
        if self._closed:
            return
        if why != self._last_failure:
            log.warning("delivery.relay_connection_failed", relay=f"{self.host}:{self.port}", why=why)
            self._last_failure = why
        if not self._connecting and not self._connections:
            self._fail_waiting(why, relay_failed=True)

    def _fail_waiting(self, why: str, *, relay_failed: bool) -> None:
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            job.answer(AnswerKind.TEMPORARY, why, relay_failed=relay_failed)

    def _watch(self) -> None:
        """Look once a second for what takes too long, by the injected clock."""
        for connection in tuple(self._connections):
            late = connection.overdue(self._limits)
            if late == "idle":
                connection.quit()
            elif late:
                log.warning("delivery.relay_too_slow", relay=f"{self.host}:{self.port}", why=late)
                connection.abort(late)
        if self._connections or self._connecting:
            shortest = min(self._limits.command_seconds, self._limits.final_seconds, self._limits.idle_seconds)
            self._watching = asyncio.get_running_loop().call_later(min(_WATCH_SECONDS, shortest / 4), self._watch)
        else:
            self._watching = None


def _relay_of(relay_url: str) -> tuple[str, int]:
    parts = urlsplit(relay_url)
    if parts.scheme != "smtp" or not parts.hostname:
        raise ConfigurationError(f"the relay must be smtp://host:port, not {relay_url!r}")
    if parts.username or parts.password:
        raise ConfigurationError("a relay that wants a password is not supported yet: use one that trusts this host")
    return parts.hostname, parts.port or 25


def _own_name() -> str:
    name = socket.gethostname()
    return name if name.isascii() and "." in name else "localhost.localdomain"
