"""One connection of the door: bytes between the socket and the dialogue, mails between the dialogue and the keeper."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Final, Protocol, cast

import structlog

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import MessageReceived, Policy
from todoku.sources.smtp.dialogue import DoorDialogue
from todoku.sources.smtp.handshake import shake_hands
from todoku.sources.smtp.limits import Client, DoorLimits, identify

log = structlog.get_logger(__name__)

READ_AHEAD_BYTES: Final = 256 * 1024  # of pipelined input while a mail is being kept
_FAILED: Final = say.make_reply(451, "4.3.0", "the mail was not kept, come again")
_NO_ROOM: Final = say.make_reply(452, "4.3.1", "too much mail at once, come again")
_TOO_IDLE: Final = say.make_reply(421, "4.4.2", "too long without a word, good bye")
_TOO_SLOW: Final = say.make_reply(421, "4.4.2", "too long for one mail, good bye")
_ENOUGH_MAILS: Final = say.make_reply(421, "4.7.0", "enough mails for one connection, come again")


class Door(Policy, Protocol):
    """What a connection needs of its door."""

    @property
    def hostname(self) -> str:
        """Return the name to greet with."""
        ...

    @property
    def limits(self) -> DoorLimits:
        """Return the bounds of the door."""
        ...

    def now_seconds(self) -> float:
        """Return monotonic seconds."""
        ...

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what a handshake is done with now, None when TLS is not offered."""
        ...

    def tls_begun(self) -> None:
        """Hear that a handshake was done."""
        ...

    def admit(self, connection: Connection, client: Client) -> bytes | None:
        """Return None to let the connection in, or the reply that turns it away."""
        ...

    def forget(self, connection: Connection, client: Client) -> None:
        """Hear that an admitted connection is closed."""
        ...

    def hold(self, difference_bytes: int) -> bool:
        """Count held memory; return False when there is too much of it."""
        ...

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Run the work to its end, whatever becomes of the connection."""
        ...

    async def keep(self, message: MessageReceived, *, lmtp: bool) -> list[bytes]:
        """Keep the mail and return one reply for each recipient."""
        ...


class Connection(asyncio.Protocol):
    """One client. A mail that is being kept when the client goes away is kept all the same."""

    def __init__(self, door: Door, *, lmtp: bool) -> None:
        self._door = door
        self._lmtp = lmtp
        self._transport: asyncio.Transport | None = None
        self._client = Client("local", "local", trusted=False)
        self._dialogue = DoorDialogue(
            door.limits.dialogue, door.hostname, self, lmtp=lmtp, starttls=door.tls_context() is not None
        )
        self._admitted = False
        self._shaking_hands = False
        self._handshake: asyncio.Task[None] | None = None
        self._mails = 0
        self._held_bytes = 0
        self._ended = False
        self._reading_paused = False
        self._writing_paused = False
        self._last_word_seconds = self._since_seconds = door.now_seconds()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._client = identify(str(peer[0]), self._door.limits.trusted_networks)
        refusal = self._door.admit(self, self._client)
        if refusal is None:
            self._admitted = True
            if not self._client.trusted:
                self._dialogue.max_commands = self._door.limits.max_commands_per_connection
            self._transport.write(self._dialogue.take_output())
        else:
            log.warning("smtp.turned_away", peer=self._client.peer, reply=refusal.decode("ascii").strip())
            self._transport.write(refusal)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the dialogue."""
        if not self._admitted:
            return
        self._last_word_seconds = self._door.now_seconds()
        self._go_on(self._dialogue.feed(data))

    def eof_received(self) -> bool:
        """Keep the way back open while a mail's verdict is due."""
        self._ended = True
        return self._dialogue.awaits_verdict

    def connection_lost(self, error: Exception | None) -> None:
        """Give back what was counted."""
        if self._admitted:
            self._door.hold(-self._held_bytes)
            self._held_bytes = 0
            self._door.forget(self, self._client)
        self._admitted = False

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its replies."""
        self._writing_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._writing_paused = False
        self._regulate()

    # ---- for the dialogue

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        """Count the mails of this connection, then ask the door."""
        self._mails += 1
        if not self._client.trusted and self._mails > self._door.limits.max_mails_per_connection:
            return _ENOUGH_MAILS
        return self._door.sender(mail_from, declared_bytes)

    def recipient(self, rcpt_to: str) -> bytes | None:
        """Ask the door."""
        return self._door.recipient(rcpt_to)

    # ---- for the door

    def request_close(self) -> None:
        """Say good bye as soon as the mail in hand is answered."""
        if self._shaking_hands:
            self.abort()
            return
        self._dialogue.request_close()
        self._flush()

    def abort(self) -> None:
        """Cut the connection."""
        if self._handshake is not None:
            self._handshake.cancel()  # uvloop does not tell a handshake that its transport was aborted
        if self._transport is not None:
            self._transport.abort()

    def check_patience(self) -> None:
        """Say good bye to a client that has been silent, or without a whole mail, for too long."""
        if self._dialogue.awaits_verdict or self._shaking_hands:  # our own turn; a handshake has its own limit
            return
        limits = self._door.limits
        now_seconds = self._door.now_seconds()
        patience_seconds = limits.data_seconds if self._dialogue.in_data else limits.idle_seconds
        if now_seconds - self._last_word_seconds > patience_seconds:
            if self._dialogue.closing:
                self.abort()  # the good bye was never read
            else:
                self._cut_off(_TOO_IDLE)
        elif now_seconds - self._since_seconds > limits.transaction_seconds and not self._dialogue.closing:
            self._cut_off(_TOO_SLOW)

    # ---- inside

    def _go_on(self, message: MessageReceived | None) -> None:
        if message is not None:
            self._door.begin(self._keep(message))
        if not self._count_held():
            self._dialogue.refuse_mail(_NO_ROOM)
            self._count_held()
        self._flush()
        if self._dialogue.wants_tls and not self._shaking_hands:
            self._begin_tls()

    def _count_held(self) -> bool:
        """Tell the door what this connection holds; return False when all hold too much."""
        held_bytes = self._dialogue.held_bytes
        if held_bytes == self._held_bytes:
            return True
        room = self._door.hold(held_bytes - self._held_bytes)
        self._held_bytes = held_bytes
        return room

    def _cut_off(self, reply: bytes) -> None:
        """Say good bye, and do not wait for a client that does not read it."""
        log.info("smtp.cut_off", peer=self._client.peer, reply=reply.decode("ascii").strip())
        self._dialogue.request_close(reply, at_once=True)
        self._flush()
        if self._writing_paused:
            self.abort()

    async def _keep(self, message: MessageReceived) -> None:
        size = len(message.content)
        self._door.hold(size)
        try:
            replies = await self._door.keep(message, lmtp=self._lmtp)
        except Exception:
            # whatever broke, the client must hear that the mail is still its own
            log.exception("smtp.keep_failed", peer=self._client.peer)
            replies = [_FAILED] * len(message.rcpt_tos)
        finally:
            self._door.hold(-size)
        if self._admitted:
            self._last_word_seconds = self._since_seconds = self._door.now_seconds()
            self._go_on(self._dialogue.settle(replies))

    def _begin_tls(self) -> None:
        """Read nothing more in the clear: what comes now is for TLS, and what had come was dropped (CVE-2011-0411)."""
        transport, context = self._transport, self._door.tls_context()
        if transport is None or context is None or transport.is_closing():
            self.abort()
            return
        self._shaking_hands = True
        transport.pause_reading()
        self._door.begin(self._shake_hands(transport, context))

    async def _shake_hands(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        if transport.is_closing():  # cut off in the moment before
            return
        self._handshake = asyncio.current_task()
        try:
            encrypted = await shake_hands(transport, context, self._door.limits.handshake_seconds)
        except (OSError, asyncio.CancelledError) as error:
            log.warning("smtp.handshake_failed", peer=self._client.peer, error=str(error) or type(error).__name__)
            transport.abort()
            self.connection_lost(None)
            return
        finally:
            self._handshake = None
        self._transport = encrypted.transport
        self._shaking_hands = self._reading_paused = self._writing_paused = False
        self._last_word_seconds = self._door.now_seconds()
        self._door.tls_begun()
        self._dialogue.tls_begun()
        encrypted.open(self)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        output = self._dialogue.take_output()
        if output:
            transport.write(output)
        if self._dialogue.closing or (self._ended and not self._dialogue.awaits_verdict):
            transport.close()
        elif self._reading_paused or self._held_bytes > READ_AHEAD_BYTES:
            self._regulate()

    def _regulate(self) -> None:
        """Read only while the client reads, and not far ahead of a mail that is being kept."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._shaking_hands:
            return
        too_far = self._dialogue.awaits_verdict and self._dialogue.held_bytes > READ_AHEAD_BYTES
        pause = self._writing_paused or too_far
        if pause and not self._reading_paused:
            transport.pause_reading()
        elif self._reading_paused and not pause:
            transport.resume_reading()
        self._reading_paused = pause
