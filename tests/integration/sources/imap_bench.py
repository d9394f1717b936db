"""A folder at a Dovecot with the server in hand."""

from __future__ import annotations

from tests.integration.sources.dovecot import PASSWORD, Address, Dovecot, token_for

from todoku.kernel.clock import SystemClock
from todoku.sources.conformance import NotedKeyring
from todoku.sources.credentials import Credential, CredentialKind, Keyring
from todoku.sources.imap import ImapSettings, ImapSource
from todoku.sources.tls import Encryption


def password_of(user: str, password: str = PASSWORD, name: str = "password") -> Credential:
    return Credential(name, CredentialKind.PASSWORD, {"username": user, "password": password})


def token_of(user: str, token: str, name: str = "token") -> Credential:
    return Credential(name, CredentialKind.OAUTH_TOKEN, {"username": user, "token": token})


def certificate_of(
    server: Dovecot, user: str, name: str = "certificate", *, days: tuple[int, int] = (-1, 10)
) -> Credential:
    certificate, key = server.authority.pair(user, first_day=days[0], last_day=days[1])
    secrets = {"certificate_pem": certificate, "key_pem": key, "username": user}
    return Credential(name, CredentialKind.CLIENT_CERTIFICATE, secrets)


def good_of(server: Dovecot, user: str) -> list[Credential]:
    return [password_of(user), token_of(user, token_for(user)), certificate_of(server, user)]


def bad_of(server: Dovecot, user: str) -> list[Credential]:
    return [
        password_of(user, "wrong-password", "wrong"),
        password_of("nobody-here", PASSWORD, "unknown"),
        token_of(user, token_for(user, valid_seconds=-60), "expired token"),
        token_of(user, "not-a-token-at-all", "no token"),
        certificate_of(server, user, "expired certificate", days=(-9, -2)),
        certificate_of(server, user, "certificate of tomorrow", days=(2, 9)),
    ]


class ImapBench:
    """The INBOX of a user of its own, over TLS at the address that also takes client certificates."""

    def __init__(self, server: Dovecot, *, address: Address = Address.CLIENT_CERTIFICATE) -> None:
        self.server = server
        self.user = server.new_user()
        self._opened: list[ImapSource] = []
        self.settings = ImapSettings(
            host=address, port=server.imaps, ca_pem=server.authority.ca_pem, timeout_seconds=10.0
        )

    def open(self) -> ImapSource:
        return self.open_with(NotedKeyring([password_of(self.user)]))

    def open_with(self, keyring: Keyring) -> ImapSource:
        return self._noted(ImapSource(self.settings, keyring, SystemClock()))

    def in_clear(self, *, folder: str = "INBOX", timeout_seconds: float = 20.0) -> ImapSource:
        settings = ImapSettings(
            host=Address.GOOD,
            port=self.server.imap,
            encryption=Encryption.NONE,
            folder=folder,
            timeout_seconds=timeout_seconds,
        )
        return self._noted(ImapSource(settings, NotedKeyring([password_of(self.user)]), SystemClock()))

    def _noted(self, source: ImapSource) -> ImapSource:
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
