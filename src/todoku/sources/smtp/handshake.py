"""The step from clear text to TLS in the middle of a connection (RFC 3207)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol

SHUTDOWN_SECONDS: Final = 5.0  # for the client's answer to our close_notify; the default of 30 would hold a place


class Secured(Protocol):
    """Who receives what was decrypted."""

    def data_received(self, data: bytes) -> None:
        """Take decrypted octets."""
        ...

    def connection_lost(self, error: Exception | None) -> None:
        """Hear that the connection is gone."""
        ...

    def pause_writing(self) -> None:
        """Hear that the client does not read."""
        ...

    def resume_writing(self) -> None:
        """Hear that the client reads again."""
        ...


class _Decrypted(asyncio.Protocol):
    """Stands between TLS and the connection, so that only decrypted octets can come by this way.

    Octets that come with the client's last handshake message arrive before `start_tls` returns; they wait here until
    there is a transport to answer them by.
    """

    def __init__(self) -> None:
        self._early = b""
        self._lost: tuple[Exception | None] | None = None
        self._owner: Secured | None = None

    def open(self, owner: Secured) -> None:
        """Hand over what has come, and everything from now on."""
        self._owner = owner
        early, self._early = self._early, b""
        if early:
            owner.data_received(early)
        if self._lost is not None:
            owner.connection_lost(self._lost[0])

    def data_received(self, data: bytes) -> None:
        if self._owner is None:
            self._early += data
        else:
            self._owner.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = (error,)
        if self._owner is not None:
            self._owner.connection_lost(error)

    def pause_writing(self) -> None:
        if self._owner is not None:
            self._owner.pause_writing()

    def resume_writing(self) -> None:
        if self._owner is not None:
            self._owner.resume_writing()


class Encrypted:
    """A connection after its handshake. transport: to answer by; `open` lets the octets flow."""

    def __init__(self, transport: asyncio.Transport, protocol: _Decrypted) -> None:
        self.transport = transport
        self._protocol = protocol

    def open(self, owner: Secured) -> None:
        """Hand what is decrypted to its owner."""
        self._protocol.open(owner)


async def shake_hands(transport: asyncio.Transport, context: ssl.SSLContext, timeout_seconds: float) -> Encrypted:
    """Do the server's side of the handshake; reading must be paused, so that no clear octet slips in.

    Raises OSError (ssl.SSLError, a broken connection, no end within timeout_seconds); the transport is of no use then.
    """
    protocol = _Decrypted()
    loop = asyncio.get_running_loop()
    encrypted = await loop.start_tls(
        transport,
        protocol,
        context,
        server_side=True,
        ssl_handshake_timeout=timeout_seconds,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    if encrypted is None:
        raise ConnectionError("the connection was closed during the handshake")
    return Encrypted(encrypted, protocol)
