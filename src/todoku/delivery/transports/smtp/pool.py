"""The SMTP transport: several pipelined connections to one relay, kept open over many windows."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Sequence
from dataclasses import replace

import structlog

from todoku.delivery.transports.smtp.connection import SmtpConnection, TimeLimits
from todoku.delivery.transports.smtp.exchange import Trust
from todoku.delivery.transports.smtp.fair_queue import FairQueue
from todoku.delivery.transports.smtp.job import Job, handover_of
from todoku.delivery.transports.smtp.relay import Relay, TlsMode, read_relay_url
from todoku.delivery.transports.smtp.tls import client_context, why_tls_failed
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.errors import ConfigurationError

log = structlog.get_logger(__name__)

_MOST_BLAME = 12  # then a message is answered TEMPORARY: three connections that broke under it first of all,
_BLAME_FIRST, _BLAME_LATER = 4, 1  # or twelve that had taken others before
_WATCH_SECONDS = 1.0


class SmtpTransport:
    """Hand messages to one relay (RFC 5321; BDAT by RFC 3030 where offered); passes `check_transport`.

    A connection that breaks before the end of a message costs nothing: the message goes over the next one. After
    the end was written it means UNKNOWN. A relay that can't be reached, or refuses us, or has no valid certificate,
    means TEMPORARY with `relay_failed` for everything that waits, at once; the caller decides when to come back.
    """

    def __init__(
        self,
        relay_url: str | Relay,
        *,
        connections: int | None = None,
        limits: TimeLimits | None = None,
        clock: Clock | None = None,
        ehlo_name: str = "",
    ) -> None:
        """Prepare, connect nothing yet; raises ConfigurationError. relay_url: see `relay`; connections overrides it."""
        relay = relay_url if isinstance(relay_url, Relay) else read_relay_url(relay_url)
        if connections is not None:
            if not 1 <= connections <= 1_000:
                raise ConfigurationError(f"connections must be 1-1000, not {connections}")
            relay = replace(relay, connections=connections)
        self.relay = relay
        self._tls = client_context(relay)
        self._limits = limits or TimeLimits()
        self._clock = clock or SystemClock()
        self._ehlo_name = ehlo_name or relay.ehlo_name or _own_name()
        self._queue = FairQueue()
        self.next_job = self._queue.pop  # of the protocol JobSource, without a call in between
        self._trust = Trust()
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
        """Hand over all envelopes; returns one answer each, in the order in which they came. Never raises.

        flow: whose messages these are; flows that wait at the same time take turns by octets (`FairQueue`).
        """
        if not envelopes:
            return []
        handover, jobs = handover_of(envelopes, sink, flow)
        self._queue.add(jobs, flow)
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

    def share(self) -> int:
        """Return what one connection should take: an equal part, but at least half of the depth, for writes cost."""
        return max(self.relay.depth // 2, -(-len(self._queue) // self.relay.connections), 1)

    def put_back(self, job: Job, why: str, *, counts: bool = True) -> None:
        """Let a message that was certainly not accepted go over another connection, a few times."""
        job.blame += _BLAME_FIRST if counts else _BLAME_LATER
        if job.blame >= _MOST_BLAME or self._closed:
            job.answer(AnswerKind.TEMPORARY, why, relay_failed=True)
        else:
            self._queue.put_front(job)

    def take_back(self, job: Job, why: str) -> None:
        """Answer TEMPORARY for everything of this handover that no connection has opened."""
        for one in self._queue.take_handover(job.handover):
            one.answer(AnswerKind.TEMPORARY, why)

    def encrypt(self, connection: SmtpConnection, transport: asyncio.Transport) -> None:
        """Begin TLS after STARTTLS."""
        self._start(self._encrypt(connection, transport))

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
        elif self._queue and not self._closed:
            self._set_to_work()

    # --- connections ---

    def _set_to_work(self) -> None:
        if self._closed:
            self._fail_waiting("the transport was closed", relay_failed=True)
            return
        for connection in tuple(self._connections):
            if not self._queue:
                break
            connection.wake()
        wanted = min(self.relay.connections, len(self._queue) + len(self._connections))
        for _ in range(wanted - len(self._connections) - self._connecting):
            self._connecting += 1
            self._start(self._connect())
        if self._watching is None:
            self._watch()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        relay = self.relay
        made: list[SmtpConnection] = []

        def make() -> SmtpConnection:
            made.append(SmtpConnection(self, relay, self._ehlo_name, self._trust, self._clock.monotonic_seconds))
            self._connections.add(made[0])
            return made[0]

        failure = ""
        implicit = self._tls if relay.tls is TlsMode.IMPLICIT else None
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await asyncio.get_running_loop().create_connection(
                    make,
                    relay.host,
                    relay.port,
                    ssl=implicit,
                    server_hostname=relay.host if implicit else None,
                )
        except TimeoutError:
            failure = f"{relay.name} did not answer in {self._limits.connect_seconds:g} s"
        except ssl.SSLError as error:
            failure = why_tls_failed(relay, error)
        except OSError as error:
            failure = f"{relay.name} can't be reached: {error.strerror or error}"
        finally:
            self._connecting -= 1
        if failure:
            self._connections.difference_update(made)
            self._connect_failed(failure)

    async def _encrypt(self, connection: SmtpConnection, transport: asyncio.Transport) -> None:
        assert self._tls is not None, "STARTTLS is not asked for without a context"
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                connection,
                self._tls,
                server_hostname=self.relay.host,
                ssl_handshake_timeout=self._limits.connect_seconds,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            connection.fail(why_tls_failed(self.relay, error))
            return
        if encrypted is None:
            connection.fail(f"{self.relay.name}: the connection was lost in the TLS handshake")
        else:
            connection.encrypted(encrypted)

    def _connect_failed(self, why: str) -> None:
        if self._closed:
            return
        if why != self._last_failure:
            log.warning("delivery.relay_connection_failed", relay=self.relay.name, why=why)
            self._last_failure = why
        if not self._connecting and not self._connections:
            self._fail_waiting(why, relay_failed=True)

    def _fail_waiting(self, why: str, *, relay_failed: bool) -> None:
        for job in self._queue.take_all():
            job.answer(AnswerKind.TEMPORARY, why, relay_failed=relay_failed)

    def _watch(self) -> None:
        """Look once a second for what takes too long, by the injected clock."""
        for connection in tuple(self._connections):
            late = connection.overdue(self._limits)
            if late == "idle":
                connection.quit()
            elif late:
                log.warning("delivery.relay_too_slow", relay=self.relay.name, why=late)
                connection.abort(late)
        if self._trust.broken and not self._trust.told:
            self._trust.told = True
            log.warning(
                "delivery.relay_breaks_chunking",
                relay=self.relay.name,
                why=self._trust.broken,
                instead="messages go by DATA from now on",
            )
        if self._connections or self._connecting:
            shortest = min(self._limits.command_seconds, self._limits.final_seconds, self._limits.idle_seconds)
            self._watching = asyncio.get_running_loop().call_later(min(_WATCH_SECONDS, shortest / 4), self._watch)
        else:
            self._watching = None


def _own_name() -> str:
    name = socket.gethostname()
    return name if name.isascii() and "." in name else "localhost.localdomain"
