"""A connection of lines and counted bytes, as IMAP and POP3 speak it, with every wait limited and memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from typing import Final

from todoku.sources.errors import CannotLook, Cause, CredentialRefused
from todoku.sources.tls import connect, tls_trouble

CHUNK_BYTES: Final = 64 * 1024  # must come within the time limit: a server that drips is given up, 2 kB/s is enough
_LINES_IN_TIME: Final = 100
_WORDS_LENGTH: Final = 200


class LineStream:
    """One open connection. Whatever goes wrong is raised as CannotLook; the connection is of no use afterwards."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, timeout_seconds: float
    ) -> None:
        self.host = host
        self.encrypted = writer.get_extra_info("ssl_object") is not None
        self._heard = False  # anything from the server
        self._buffer = bytearray()  # at most a chunk more than the longest line
        self._reader = reader
        self._writer = writer
        self.timeout_seconds = timeout_seconds

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext | None, timeout_seconds: float) -> LineStream:
        """Connect, encrypted from the start when there is a context; raises CannotLook, CredentialRefused."""
        return cls(*await connect(host, port, context, timeout_seconds), host, timeout_seconds)

    def send(self, data: bytes) -> None:
        """Put bytes on the way; a connection that is gone is noticed when its answer is read."""
        self._writer.write(data)

    async def line(self, *, seconds: float | None = None) -> bytes:
        """Return the next line without its end. seconds: how long to wait instead of the connection's own limit.

        Raises CannotLook; TimeoutError only when seconds were given, and then nothing is lost.
        """
        at = self._buffer.find(b"\n")
        if at < 0:  # a timer for each line that is here already would take longer than to read it
            try:
                async with asyncio.timeout(self.timeout_seconds if seconds is None else seconds):
                    while at < 0:
                        before = len(self._buffer)
                        if before > CHUNK_BYTES:
                            raise CannotLook(Cause.PROTOCOL, f"{self.host} sends a line that does not end")
                        await self._more()
                        at = self._buffer.find(b"\n", before)
            except TimeoutError:
                if seconds is not None:
                    raise
                raise self.silent() from None
        self._heard = True
        return self._take(at + 1).removesuffix(b"\n").removesuffix(b"\r")

    async def counted(self, size_bytes: int) -> bytes:
        """Return exactly so many bytes; raises CannotLook."""
        kept = io.BytesIO()  # hands its memory over without a copy
        while left := size_bytes - kept.tell():
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    while len(self._buffer) < min(left, CHUNK_BYTES):
                        await self._more()
            except TimeoutError:
                raise self.silent() from None
            kept.write(self._take(min(left, len(self._buffer))))
        return kept.getvalue()

    async def dotted(self, max_bytes: int) -> bytes | None:
        """Return what comes until a line with nothing but a dot, without the dots that were put before others.

        None when it is more than max_bytes; then the rest is not read. Only CR LF . CR LF ends it, so that a bare line
        feed inside a mail can't. Raises CannotLook. Source: RFC 1939 section 3.
        """
        kept = io.BytesIO()
        before = b"\r\n"
        while kept.tell() <= max_bytes:
            end = kept.tell() + CHUNK_BYTES
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    while kept.tell() < end:
                        piece = await self._piece()
                        if before == b"\r\n" and piece.startswith(b"."):
                            if piece == b".\r\n":
                                return kept.getvalue()
                            piece = piece[1:]
                        before = (before + piece[-2:])[-2:]
                        kept.write(piece)
            except TimeoutError:
                raise self.silent() from None
        return None

    async def _piece(self) -> bytes:
        """Return a line with its end, or the beginning of one that is long."""
        at = self._buffer.find(b"\n")
        while at < 0 and len(self._buffer) < CHUNK_BYTES:
            searched = len(self._buffer)
            await self._more()
            at = self._buffer.find(b"\n", searched)
        return self._take(at + 1 if at >= 0 else len(self._buffer))

    async def _more(self) -> None:
        try:
            chunk = await self._reader.read(CHUNK_BYTES)
        except TimeoutError as error:  # of the network (ETIMEDOUT), not ours
            raise CannotLook(Cause.UNREACHABLE, f"the connection to {self.host} timed out") from error
        except OSError as error:
            raise self._broken(error) from error
        if not chunk:
            raise CannotLook(Cause.UNREACHABLE, f"{self.host} closed the connection in the middle")
        self._buffer += chunk

    def _take(self, size_bytes: int) -> bytes:
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Encrypt from here on; raises CannotLook, CredentialRefused.

        Bytes that came before the handshake could be anybody's and would be read as the server's: the connection is
        given up (CVE-2021-33515 and its siblings at clients, https://nostarttls.secvuln.info).
        """
        early = bytes(self._buffer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):  # what lies in the buffer is returned at once
                early += await self._reader.read(1)
        if early:
            raise CannotLook(
                Cause.PROTOCOL,
                f"{self.host} sent something in clear after it agreed to TLS: somebody may be in between",
                todo="choose encryption from the start (tls)",
            )
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self._writer.start_tls(context, server_hostname=self.host)
        except TimeoutError:
            raise self.silent() from None
        except ssl.SSLError as error:
            raise tls_trouble(error, self.host) from error
        except OSError as error:
            raise self._broken(error) from error
        self.encrypted = True

    def close(self) -> None:
        """Let go of the connection without a word: nothing at the server depends on a good-bye."""
        self._writer.transport.abort()

    def silent(self) -> CannotLook:
        """Return the error of a server that says nothing, or as good as nothing."""
        return CannotLook(
            Cause.UNREACHABLE, f"{self.host} did not answer, or only in drops, for {self.timeout_seconds:g} seconds"
        )

    def _broken(self, error: OSError) -> CannotLook | CredentialRefused:
        if isinstance(error, ssl.SSLError) and not self._heard:  # TLS 1.3 tells of a refused client certificate here
            return tls_trouble(error, self.host)
        return CannotLook(Cause.UNREACHABLE, f"the connection to {self.host} broke: {error.strerror or error}")


class Pace:
    """Gives up a server that lists in drops: fewer than 100 lines within one time limit, over the whole listing."""

    def __init__(self, wire: LineStream) -> None:
        self._wire = wire
        self._lines = 0
        self._waited_seconds = 0.0

    def note(self, waited_seconds: float) -> None:
        """Note that a line came after so long; raises CannotLook."""
        self._lines += 1
        self._waited_seconds += waited_seconds
        if self._waited_seconds > self._wire.timeout_seconds * (1 + self._lines / _LINES_IN_TIME):
            raise self._wire.silent()


def words(raw: bytes, *secrets: str) -> str:
    """Return what a server said as one short printable line, without the secrets if it should repeat them."""
    text = raw.decode("utf-8", "replace")
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return "".join(char if char.isprintable() else " " for char in text[:_WORDS_LENGTH]).strip()
