"""One connection of the door: bytes between the socket and the dialogue, mails between the dialogue and the keeper."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, Protocol, cast

import structlog

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, MessageReceived, Policy, ServerDialogue

log = structlog.get_logger(__name__)

READ_AHEAD_BYTES: Final = 256 * 1024  # of pipelined input while a mail is being kept
_FAILED: Final = say.make_reply(451, "4.3.0", "the mail was not kept, come again")
_NO_ROOM: Final = say.make_reply(452, "4.3.1", "too much mail at once, come again")
_TOO_IDLE: Final = say.make_reply(421, "4.4.2", "too long without a word, good bye")


class Door(Policy, Protocol):
    """What a connection needs of its door."""

    @property
    def hostname(self) -> str:
        """Return the name to greet with."""
        ...

    @property
    def dialogue_limits(self) -> DialogueLimits:
        """Return the bounds of one conversation."""
        ...

    def now_seconds(self) -> float:
        """Return monotonic seconds."""
        ...

    def admit(self, connection: Connection, host: str) -> bytes | None:
        """Return None to let the connection in, or the reply that turns it away."""
        ...

    def forget(self, connection: Connection, host: str) -> None:
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
        self._dialogue = ServerDialogue(door.dialogue_limits, door.hostname, door, lmtp=lmtp)
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._admitted = False
        self._held_bytes = 0
        self._ended = False
        self._reading_paused = False
        self._writing_paused = False
        self._last_word_seconds = door.now_seconds()
        self._mail_since_seconds: float | None = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else "local"
        refusal = self._door.admit(self, self._peer)
        if refusal is None:
            self._admitted = True
            self._transport.write(self._dialogue.take_output())
        else:
            log.warning("smtp.turned_away", peer=self._peer, reply=refusal.decode("ascii").strip())
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
            self._door.forget(self, self._peer)
        self._admitted = False

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its replies."""
        self._writing_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._writing_paused = False
        self._regulate()

    # ---- for the door

    def request_close(self) -> None:
        """Say good bye as soon as the mail in hand is answered."""
        self._dialogue.request_close()
        self._flush()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def check_patience(self, idle_seconds: float, mail_seconds: float) -> None:
        """Say good bye to a client that has been silent, or on one mail, for too long."""
        if self._dialogue.awaits_verdict:
            return
        now = self._door.now_seconds()
        too_slow = self._mail_since_seconds is not None and now - self._mail_since_seconds > mail_seconds
        if too_slow or now - self._last_word_seconds > idle_seconds:
            self._dialogue.request_close(_TOO_IDLE, at_once=True)
            self._flush()

    # ---- inside

    def _go_on(self, message: MessageReceived | None) -> None:
        if message is not None:
            self._door.begin(self._keep(message))
        if not self._count_held():
            self._dialogue.refuse_mail(_NO_ROOM)
            self._count_held()
        receiving = self._dialogue.in_mail and not self._dialogue.awaits_verdict
        if not receiving:
            self._mail_since_seconds = None
        elif self._mail_since_seconds is None:
            self._mail_since_seconds = self._last_word_seconds
        self._flush()

    def _count_held(self) -> bool:
        """Tell the door what this connection holds; return False when all hold too much."""
        held_bytes = self._dialogue.held_bytes
        if held_bytes == self._held_bytes:
            return True
        room = self._door.hold(held_bytes - self._held_bytes)
        self._held_bytes = held_bytes
        return room

    async def _keep(self, message: MessageReceived) -> None:
        size = len(message.content)
        self._door.hold(size)
        try:
            replies = await self._door.keep(message, lmtp=self._lmtp)
        except Exception:
            # whatever broke, the client must hear that the mail is still its own
            log.exception("smtp.keep_failed", peer=self._peer)
            replies = [_FAILED] * len(message.rcpt_tos)
        finally:
            self._door.hold(-size)
        if self._admitted:
            self._last_word_seconds = self._door.now_seconds()
            self._go_on(self._dialogue.settle(replies))

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
        if transport is None or transport.is_closing():
            return
        too_far = self._dialogue.awaits_verdict and self._dialogue.held_bytes > READ_AHEAD_BYTES
        pause = self._writing_paused or too_far
        if pause and not self._reading_paused:
            transport.pause_reading()
        elif self._reading_paused and not pause:
            transport.resume_reading()
        self._reading_paused = pause
