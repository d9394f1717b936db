"""A mail's octets as they come: after DATA up to the dot (RFC 5321), or by BDAT in counted chunks (RFC 3030)."""

from __future__ import annotations

from typing import Final

from todoku.mail import smtp_replies as say

_END_OF_MAIL: Final = b"\r\n.\r\n"


class EndlessMail(Exception):
    """Four times what a mail may be has come, and no end."""


class DottedContent:
    """What comes after DATA. Only CR LF . CR LF ends it. refusal: the reply to give instead of keeping it."""

    def __init__(self, max_mail_bytes: int) -> None:
        self.refusal: bytes | None = None
        self._max_mail_bytes = max_mail_bytes
        self._held: bytearray | None = None
        self._dropped_bytes = 0
        self._dotted = False

    @property
    def held_bytes(self) -> int:
        """Return how much memory the half-received mail takes."""
        return len(self._held) if self._held is not None else 0

    def take(self, data: bytes, position: int) -> tuple[int, bytes | None]:
        """Return up to where the data is read, and the content when it ended there; raises EndlessMail.

        The content of a refused mail is b"".
        """
        if self._held is None and self.refusal is None and not data.startswith(b".", position):
            dot = data.find(b"\r\n.", position)
            end = dot if dot < 0 or data.startswith(_END_OF_MAIL, dot) else data.find(_END_OF_MAIL, dot)
            if end >= 0 and end + 2 - position <= self._max_mail_bytes:  # the usual mail: whole in one read
                content = data[position : end + 2]
                return end + 5, content if end == dot else content.replace(b"\r\n.", b"\r\n")
        if self._held is None:
            self._held = bytearray(b"\r\n")  # so that a dot on the first line needs no rule of its own
            self._dropped_bytes = -2
        held = self._held
        before = len(held)
        held += memoryview(data)[position:]
        end = held.find(b"\r\n.", max(0, before - 4))
        if end >= 0 and not held.startswith(_END_OF_MAIL, end):
            self._dotted = True
            end = held.find(_END_OF_MAIL, end)
        received = self._dropped_bytes + (len(held) - 2 if end < 0 else end + 2)  # ". CR" may belong to the end
        if received > self._max_mail_bytes * 4:
            raise EndlessMail
        if self.refusal is None and received > self._max_mail_bytes:
            self.refusal = say.TOO_BIG
        if end < 0:
            if self.refusal is not None:
                self._drop_held()
            return len(data), None
        return position + end + 5 - before, self._content(end)

    def refuse(self, reply: bytes) -> None:
        """Drop what has come, read over the rest."""
        if self.refusal is None:
            self.refusal = reply
            self._drop_held()

    def _content(self, end: int) -> bytes:
        held = self._held
        if self.refusal is not None or held is None:
            return b""
        if self._dotted:
            return bytes(memoryview(held)[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        return bytes(memoryview(held)[2 : end + 2])

    def _drop_held(self) -> None:
        if self._held is not None:
            keep = min(4, len(self._held))  # an end of mail may be cut anywhere
            self._dropped_bytes += len(self._held) - keep
            self._held = self._held[len(self._held) - keep :]


class ChunkedContent:
    """What comes by BDAT, chunk after chunk. refusal: the reply to every chunk from now on; its octets are eaten."""

    def __init__(self, max_mail_bytes: int) -> None:
        self.refusal: bytes | None = None
        self.last = False
        self._max_mail_bytes = max_mail_bytes
        self._parts: list[bytes] = []
        self._bytes = 0
        self._announced_bytes = 0
        self._left = 0

    @property
    def held_bytes(self) -> int:
        """Return how much memory the half-received mail takes."""
        return self._bytes

    def begin_chunk(self, size: int, *, last: bool) -> None:
        """Expect a chunk; raises EndlessMail."""
        self._announced_bytes += size
        if self._announced_bytes > self._max_mail_bytes * 4:
            raise EndlessMail
        if self._announced_bytes > self._max_mail_bytes:
            self.refuse(say.TOO_BIG)
        self._left, self.last = size, last

    def take(self, data: bytes, position: int) -> tuple[int, bool]:
        """Return up to where the data is read, and whether the chunk is whole."""
        end = min(position + self._left, len(data))
        self._left -= end - position
        if self.refusal is None and end > position:
            self._parts.append(data[position:end])
            self._bytes += end - position
        return end, self._left == 0

    def refuse(self, reply: bytes) -> None:
        """Drop what has come, eat the rest."""
        if self.refusal is None:
            self.refusal = reply
            self._parts.clear()
            self._bytes = 0

    def content(self) -> bytes:
        """Return all chunks as one text."""
        return b"".join(self._parts)
