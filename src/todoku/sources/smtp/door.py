"""The SMTP and LMTP server of the intake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Final

import structlog

from todoku.bus.streams import UNROUTED_PROJECT
from todoku.kernel.clock import Clock
from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import MessageReceived
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.errors import NotKept
from todoku.sources.routes import RouteBook, local_part_of
from todoku.sources.smtp.certificate import CertificateFacts, ServedCertificate
from todoku.sources.smtp.connection import Connection
from todoku.sources.smtp.limits import Client, ClientCounter, DoorLimits
from todoku.sources.types import Route

log = structlog.get_logger(__name__)

SWEEP_SECONDS: Final = 5.0
_UNROUTED: Final = Route(project_id=UNROUTED_PROJECT)
_NOT_A_RELAY: Final = say.make_reply(550, "5.7.1", "not a relay: mail is taken for our own domain only")
_NOT_READY: Final = say.make_reply(451, "4.3.0", "the list of addresses is not loaded yet, come again")
_NOT_KEPT: Final = say.make_reply(451, "4.3.0", "the mail could not be kept now, come again")
_NO_ROOM: Final = say.make_reply(452, "4.3.1", "too much mail at once, come again")
_TOO_MANY_CONNECTIONS: Final = say.make_reply(421, "4.7.0", "too many connections, come again later")


class SmtpDoor:
    """Receive mails for one domain. One door may listen at several addresses, by SMTP or LMTP.

    mail_domain: the only domain whose recipients are taken; compared case-folded. Unknown local parts of it are kept
    under the project `_unrouted`. certificate: for STARTTLS, which is not offered without a readable one.
    """

    def __init__(
        self,
        writer: ArrivalWriter,
        routes: RouteBook,
        mail_domain: str,
        limits: DoorLimits | None = None,
        certificate: ServedCertificate | None = None,
    ) -> None:
        self._writer = writer
        self._routes = routes
        self._mail_domain = mail_domain.casefold()
        self._limits = limits or DoorLimits()
        self._clock: Clock = writer.clock
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._certificate = certificate
        self._clients = ClientCounter(self._limits)
        self._strangers = 0
        self._work: set[asyncio.Task[None]] = set()
        self._held_bytes = 0
        self._stopping = False
        self._quiet = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, lmtp: bool = False) -> int:
        """Listen, and return the real port (port 0 = one that is free). Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self, lmtp=lmtp), host, port)
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="smtp-sweeper")
        real_port = int(server.sockets[0].getsockname()[1])
        log.info("smtp.listening", host=host, port=real_port, protocol="lmtp" if lmtp else "smtp")
        return real_port

    async def stop(self) -> None:
        """Take no new mail, finish those in hand within limits.stop_seconds, close. Idempotent."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.request_close()
        try:
            async with asyncio.timeout(self._limits.stop_seconds):
                while self._connections or self._work:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            log.warning("smtp.stopped_with_mail_in_hand", connections=len(self._connections), mails=len(self._work))
        for connection in list(self._connections):
            connection.abort()
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
        self._servers.clear()

    def certificate_facts(self) -> CertificateFacts | None:
        """Return what the inventory wants to know of the certificate in use; None when TLS is not offered."""
        return self._certificate.facts() if self._certificate is not None else None

    def sweep(self) -> None:
        """Look once at every connection's time and at the certificate's files; done by itself every SWEEP_SECONDS."""
        for connection in list(self._connections):
            connection.check_patience()
        if self._certificate is not None:
            self._certificate.check()

    # ---- for connections and policy

    @property
    def hostname(self) -> str:
        """Return the name under which the door greets."""
        return self._mail_domain

    @property
    def limits(self) -> DoorLimits:
        """Return the bounds of this door."""
        return self._limits

    def now_seconds(self) -> float:
        """Return monotonic seconds."""
        return self._clock.monotonic_seconds()

    def tls_begun(self) -> None:
        """Hear that a handshake was done."""
        if self._certificate is not None:
            self._certificate.used()

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what a handshake is done with now, None when TLS is not offered."""
        return self._certificate.context() if self._certificate is not None else None

    def admit(self, connection: Connection, client: Client) -> bytes | None:
        """Let the connection in, or return the reply that turns it away; trusted clients are not counted."""
        if self._stopping:
            return say.SHUTTING_DOWN
        if not client.trusted:
            if self._strangers >= self._limits.max_connections:
                return _TOO_MANY_CONNECTIONS
            if not self._clients.enter(client.key, self.now_seconds()):
                return _TOO_MANY_CONNECTIONS
            self._strangers += 1
        self._connections.add(connection)
        return None

    def forget(self, connection: Connection, client: Client) -> None:
        """Hear that an admitted connection is closed."""
        self._connections.discard(connection)
        if not client.trusted:
            self._strangers -= 1
            self._clients.leave(client.key)
        self._quiet.set()

    def hold(self, difference_bytes: int) -> bool:
        """Count memory; return False when there is too much of it."""
        self._held_bytes += difference_bytes
        return self._held_bytes <= self._limits.max_held_bytes

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Run the work to its end, also when its connection goes away or the door stops."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        """Return the reply that puts a mail off while there is no room for it."""
        return _NO_ROOM if self._held_bytes + declared_bytes > self._limits.max_held_bytes else None

    def recipient(self, rcpt_to: str) -> bytes | None:
        """Return the reply that refuses the recipient, None to take it."""
        local_part, at, domain = rcpt_to.rpartition("@")
        if at:
            if domain.casefold() != self._mail_domain or not local_part:
                return _NOT_A_RELAY
        elif rcpt_to.casefold() != "postmaster":  # RFC 5321 section 4.5.1: the one address without a domain
            return _NOT_A_RELAY
        return None if self._routes.ready else _NOT_READY

    async def keep(self, message: MessageReceived, *, lmtp: bool) -> list[bytes]:
        """Keep the mail once for each distinct intake address; return one reply for each recipient, in order."""
        targets = [self._target(rcpt_to) for rcpt_to in message.rcpt_tos]
        spelled: dict[tuple[str, Route], str] = {}
        for target, rcpt_to in zip(targets, message.rcpt_tos, strict=True):
            spelled.setdefault(target, rcpt_to)
        source = "lmtp" if lmtp else "smtp"
        if len(spelled) == 1:
            answers = [await self._keep_for(message, source, targets[0][1], message.rcpt_tos[0])]
        else:
            answers = await asyncio.gather(
                *(self._keep_for(message, source, target[1], rcpt_to) for target, rcpt_to in spelled.items())
            )
        if not lmtp:  # one reply stands for all: the client must try again when one recipient is left out
            answer = next((answer for answer in answers if answer == _NOT_KEPT), answers[0])
            return [answer] * len(targets)
        by_target = dict(zip(spelled, answers, strict=True))
        return [by_target[target] for target in targets]

    # ---- inside

    async def _keep_for(self, message: MessageReceived, source: str, route: Route, rcpt_to: str) -> bytes:
        try:
            arrival = await self._writer.accept(
                message.content,
                project_id=route.project_id,
                source=source,
                mail_from=message.mail_from,
                rcpt_to=rcpt_to,
                shop_code=route.shop_code,
                site=route.site,
            )
        except NotKept:
            return _NOT_KEPT
        if route.accepted_until_utc is not None:
            # whoever still writes there has to be told the new address before the old one is retired
            log.info(
                "smtp.replaced_address_used",
                project_id=route.project_id,
                shop_code=route.shop_code,
                site=route.site,
                accepted_until_utc=route.accepted_until_utc,
                arrival_id=str(arrival.arrival_id),
            )
        return say.make_reply(250, "2.0.0", f"kept as {arrival.arrival_id}")

    def _target(self, rcpt_to: str) -> tuple[str, Route]:
        route = self._routes.resolve(rcpt_to)
        if route is None:
            return rcpt_to.casefold(), _UNROUTED
        return local_part_of(rcpt_to).partition("+")[0], route

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not self._work:
            self._quiet.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("smtp.work_failed", error=repr(task.exception()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()
