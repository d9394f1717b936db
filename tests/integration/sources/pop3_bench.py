"""A POP3 mailbox at a Dovecot with the server in hand."""

from __future__ import annotations

from tests.integration.sources.dovecot import Address, Dovecot
from tests.integration.sources.imap_bench import bad_of, good_of, password_of

from todoku.kernel.clock import SystemClock
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential, Keyring
from todoku.sources.pop3 import Pop3Settings, Pop3Source
from todoku.sources.tls import Encryption


class Pop3Bench:
    """The mailbox of a user of its own, over TLS at the address that also takes client certificates."""

    def __init__(self, server: Dovecot, *, address: Address = Address.CLIENT_CERTIFICATE) -> None:
        self.server = server
        self.user = server.new_user()
        self.settings = Pop3Settings(
            host=address, port=server.pop3s, ca_pem=server.authority.ca_pem, timeout_seconds=10.0
        )
        self._opened: list[Pop3Source] = []

    def open(self) -> Pop3Source:
        return self.open_with(NotedKeyring([password_of(self.user)]))

    def open_with(self, keyring: Keyring) -> Pop3Source:
        return self._noted(Pop3Source(self.settings, keyring, SystemClock(), poll_seconds=0.2))

    def in_clear(self, keyring: Keyring | None = None, *, unused_seconds: float = 30.0) -> Pop3Source:
        settings = Pop3Settings(
            host=Address.GOOD, port=self.server.pop3, encryption=Encryption.NONE, timeout_seconds=20.0
        )
        keyring = keyring or NotedKeyring([password_of(self.user)])
        return self._noted(
            Pop3Source(settings, keyring, SystemClock(), poll_seconds=0.2, unused_seconds=unused_seconds)
        )

    def _noted(self, source: Pop3Source) -> Pop3Source:
        self._opened.append(source)
        return source

    async def close(self) -> None:
        for source in self._opened:
            await source.close()

    def good(self) -> list[Credential]:
        return good_of(self.server, self.user)

    def bad(self) -> list[Credential]:
        return bad_of(self.server, self.user)

    async def deliver(self, raw: bytes) -> None:
        self.server.deliver(self.user, raw)

    async def remove_all(self) -> None:
        self.server.remove_all(self.user)

    async def break_off(self) -> None:
        self.server.stop()

    async def restore(self) -> None:
        self.server.start()
