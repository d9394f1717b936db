"""What a source logs in with: an ordered list, of which the first that still works is used.

Purpose     `Credential` holds one; `Keyring` is the list as it stands at this moment; `log_in` goes through it.
Reads       nothing; who keeps, renews and encrypts credentials hands a Keyring in.
Guarantees  a credential that is refused is told to the keyring with the server's words, and the next is tried at once;
            only when none is left does the source stand still. Secrets are in no repr, error or log line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from todoku.sources.errors import CannotLook, Cause, CredentialRefused

Session = TypeVar("Session")


class CredentialKind(StrEnum):
    """What kind a credential is, which says what its secrets are called."""

    PASSWORD = "password"  # noqa: S105  # username, password
    OAUTH_TOKEN = "oauth_token"  # noqa: S105  # username, token: a bearer token (RFC 6750)
    CLIENT_CERTIFICATE = "client_certificate"  # certificate_pem, key_pem, and username where the server wants one
    STATIC_KEY = "static_key"  # access_key, secret_key
    SESSION_KEY = "session_key"  # access_key, secret_key, session_token: expires by itself
    TLS_CERTIFICATE = "tls_certificate"  # certificate_pem, key_pem: shown by our own doors, logs in nowhere


@dataclass(frozen=True, slots=True)
class Credential:
    """One way to log in. credential_id: its name in the inventory, which may be shown and logged."""

    credential_id: str
    kind: CredentialKind
    secrets: Mapping[str, str] = field(repr=False)

    def secret(self, name: str) -> str:
        """Return one of its values, "" when it has none of that name."""
        return self.secrets.get(name, "")


class Keyring(Protocol):
    """The credentials of one source, best first; what becomes of them is written down by whoever keeps them."""

    def in_order(self) -> Sequence[Credential]:
        """Return those that may be tried now; asked anew at each login, so that a renewed one is used at once."""
        ...

    def used(self, credential_id: str) -> None:
        """Note that the server let us in with it just now."""
        ...

    def refused(self, credential_id: str, why: str) -> None:
        """Note that the server answered and did not let us in. why: its words, without secrets."""
        ...


class NotedKeyring:
    """Credentials in a fixed order, and what was told of each: a Keyring for one try."""

    def __init__(self, credentials: Sequence[Credential]) -> None:
        self.credentials = list(credentials)
        self.uses: list[str] = []
        self.refusals: list[tuple[str, str]] = []

    def in_order(self) -> Sequence[Credential]:
        """Return all."""
        return list(self.credentials)

    def used(self, credential_id: str) -> None:
        """Note it."""
        self.uses.append(credential_id)

    def refused(self, credential_id: str, why: str) -> None:
        """Note it."""
        self.refusals.append((credential_id, why))


async def log_in(keyring: Keyring, attempt: Callable[[Credential], Awaitable[Session]]) -> Session:
    """Return the session of the first credential that works.

    attempt: raises CredentialRefused when the server does not take the credential; anything else it raises ends the
    search, because another credential would not help. Raises CannotLook with cause `credential` when none is left.
    """
    reasons: list[str] = []
    for credential in keyring.in_order():
        try:
            session = await attempt(credential)
        except CredentialRefused as error:
            keyring.refused(credential.credential_id, error.what)
            reasons.append(f"{credential.credential_id}: {error.what}")
            continue
        keyring.used(credential.credential_id)
        return session
    raise CannotLook(
        Cause.CREDENTIAL,
        "; ".join(reasons) or "there is no credential to log in with",
        todo="renew or replace the credential; mails are fetched as soon as one works",
    )
