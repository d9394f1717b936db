"""One SMTP connection as an asyncio protocol: first words, TLS, then an exchange of messages (DATA or BDAT)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from todoku.delivery.transports.smtp.chunk_exchange import ChunkExchange
from todoku.delivery.transports.smtp.commands import OpeningCommands
from todoku.delivery.transports.smtp.data_exchange import DataExchange
from todoku.delivery.transports.smtp.exchange import Exchange, JobSource, Trust
from todoku.delivery.transports.smtp.offers import Offers
from todoku.delivery.transports.smtp.opening import RelayRefused, StartTls, talk_to
from todoku.delivery.transports.smtp.relay import Relay
from todoku.delivery.transports.smtp.replies import BrokenReply, Reply, ReplyReader


class ConnectionOwner(JobSource, Protocol):
    """What a connection asks of the pool that owns it."""

    def encrypt(self, connection: SmtpConnection, transport: asyncio.Transport) -> None:
        """Begin TLS on the transport; then call `encrypted` or `abort` of the connection."""
        ...

    def connection_ready(self, connection: SmtpConnection) -> None:
        """The first words are done; messages can be handed over."""
        ...

    def connection_gone(self, connection: SmtpConnection, why: str, *, was_ready: bool) -> None:
        """The connection is closed, for the reason given."""
        ...


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds to wait for each kind of answer (RFC 5321 section 4.5.3.2, shorter where a campaign can't wait)."""

    connect_seconds: float = 30.0  # also for a TLS handshake
    command_seconds: float = 120.0
    final_seconds: float = 600.0  # a relay that scans content may take its time; too short a limit makes unknowns
    idle_seconds: float = 60.0


class SmtpConnection(asyncio.Protocol):
    """Talk to one relay; takes messages from its owner as long as there are any."""

    def __init__(
        self, owner: ConnectionOwner, relay: Relay, ehlo_name: str, trust: Trust, now_seconds: Callable[[], float]
    ) -> None:
        self.offers = Offers()
        self.clogged = False
        self._owner = owner
        self._relay = relay
        self._trust = trust
        self._now_seconds = now_seconds
        self._transport: asyncio.Transport | None = None
        self._talk = talk_to(relay, ehlo_name)
        self._reader = ReplyReader()
        self._handshaking = False
        self._exchange: Exchange | None = None
        self._leaving = ""
        self._gone = False
        self._moved = False
        self._last_moved_seconds = now_seconds()
        next(self._talk)

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._moved = True

    def data_received(self, data: bytes) -> None:
        if b"\n" in data:  # a relay that drips its words one letter at a time does not move
            self._moved = True
        if self._leaving:
            if self._leaving == "closed":
                self.abort("closed")
            return
        try:
            if self._exchange is not None:
                self._exchange.received(data)
            else:
                self._first_words(data)
        except (BrokenReply, RelayRefused) as error:
            self.abort(str(error))

    def pause_writing(self) -> None:
        self.clogged = True

    def resume_writing(self) -> None:
        self.clogged = False
        self._moved = True
        if self._exchange is not None and not self._leaving:
            self._exchange.unclogged()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:
            return
        self._gone = True
        was_ready = self.ready
        why = self._leaving or (f"connection lost: {exc}" if exc else "the relay closed the connection")
        self._leaving = self._leaving or why
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(why)
        self._owner.connection_gone(self, why, was_ready=was_ready)

    # --- for the owner ---

    @property
    def ready(self) -> bool:
        """Tell whether messages can be handed over."""
        return self._exchange is not None

    @property
    def idle(self) -> bool:
        """Tell whether nothing is on the wire."""
        return self._exchange is not None and not self._exchange.busy

    def wake(self) -> None:
        """Look for messages when there is room."""
        if self._exchange is not None and not self._leaving:
            self._exchange.wake()

    def encrypted(self, transport: asyncio.Transport) -> None:
        """Go on over TLS."""
        self._transport = transport
        self._handshaking = False
        self._reader = ReplyReader()
        step = self._next_step(None)
        assert isinstance(step, bytes), "the first word over TLS is EHLO"
        self.write(step)

    def quit(self) -> None:
        """Say goodbye when nothing is on the wire; else cut the connection off."""
        if self.idle and not self._leaving:
            self.write(b"QUIT\r\n")
            self._leaving = "closed"
        else:
            self.abort("closed while messages were on the wire")

    def abort(self, why: str) -> None:
        """Cut the connection off; what is on the wire gets its answer from `connection_lost`."""
        if not self._leaving:
            self._leaving = why
        if self._transport is not None:
            self._transport.abort()

    def fail(self, why: str) -> None:
        """End a connection whose TLS handshake failed; the event loop may never say that it is lost."""
        self.abort(why)
        self.connection_lost(None)

    def overdue(self, limits: TimeLimits) -> str:
        """Return what took too long, "" when nothing did. Called now and then: a move counts from the next call on."""
        now_seconds = self._now_seconds()
        if self._moved:
            self._moved, self._last_moved_seconds = False, now_seconds
        waited = now_seconds - self._last_moved_seconds
        if self.idle and not self._leaving:
            return "idle" if waited > limits.idle_seconds else ""
        at_the_end = self._exchange is not None and self._exchange.at_the_end
        limit = limits.final_seconds if at_the_end else limits.command_seconds
        if self._handshaking:
            limit = limits.connect_seconds
        awaited = "the end of a message" if at_the_end else "a command"
        return f"no answer to {awaited} in {limit:g} s" if waited > limit else ""

    # --- Wire ---

    def write(self, data: bytes) -> None:
        """Send the octets."""
        if self._transport is not None and data:
            self._moved = True
            self._transport.write(data)

    # --- first words ---

    def _first_words(self, data: bytes) -> None:
        """Lead the talk. What the relay says beyond its answer is not believed (RFC 3207 section 6)."""
        if self._handshaking:
            raise RelayRefused("the relay spoke in clear after STARTTLS")
        replies = self._reader.feed(data)
        for place, reply in enumerate(replies, start=1):
            step = self._next_step(reply)
            if isinstance(step, bytes):
                self.write(step)
            elif place < len(replies) or not self._reader.between_replies:
                raise RelayRefused("the relay said more than it was asked")
            elif isinstance(step, StartTls):
                assert self._transport is not None
                self._handshaking = True
                self._owner.encrypt(self, self._transport)
            else:
                self._begin(step)

    def _next_step(self, reply: Reply | None) -> bytes | StartTls | Offers:
        try:
            return next(self._talk) if reply is None else self._talk.send(reply)
        except StopIteration as end:
            offers: Offers = end.value
            return offers

    def _begin(self, offers: Offers) -> None:
        self.offers = offers
        commands = OpeningCommands(offers, self._relay.max_bytes)
        if self._relay.chunking and offers.chunking and offers.pipelining and not self._trust.broken:
            self._exchange = ChunkExchange(self, self._owner, commands, self._relay.depth, self._trust)
        else:
            self._exchange = DataExchange(self, self._owner, commands, pipelining=offers.pipelining)
        self._owner.connection_ready(self)
