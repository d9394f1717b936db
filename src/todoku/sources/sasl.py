"""What is said to log in: the SASL mechanisms that IMAP and POP3 share, chosen by the kind of credential.

Sources: RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER), RFC 4422 appendix A (EXTERNAL), Google's description of XOAUTH2.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CredentialRefused

_MECHANISMS: Final = {
    CredentialKind.PASSWORD: ("PLAIN",),
    CredentialKind.OAUTH_TOKEN: ("OAUTHBEARER", "XOAUTH2"),
    CredentialKind.CLIENT_CERTIFICATE: ("EXTERNAL",),
}
_NOT_NOW = re.compile(
    r"too many|temporar|unavailable|try again|later|not connected|rate limit|internal error", re.IGNORECASE
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Exchange:
    """How to log in. first: the first message; after: the answer to a challenge, which comes only with a refusal."""

    mechanism: str
    first: bytes = field(repr=False)
    after: bytes = b""

    @property
    def first_base64(self) -> bytes:
        """Return it as it travels; "=" stands for a message of no bytes (RFC 4959, RFC 5034)."""
        return base64.b64encode(self.first) or b"="

    @property
    def after_base64(self) -> bytes:
        """Return it as it travels."""
        return base64.b64encode(self.after)


def require_clean(credential: Credential) -> None:
    """Raise CredentialRefused when a name, password or token holds a control character: it could end a command."""
    for name in ("username", "password", "token"):
        if _CONTROLS.search(credential.secret(name)):
            raise CredentialRefused(f"the {name} holds a line break or another control character")


def choose(credential: Credential, offered: Collection[str], host: str, port: int) -> Exchange | None:
    """Return how to log in at a server that offers these mechanisms, None when there is no common one.

    Raises CredentialRefused for kinds that no mail server knows.
    """
    wanted = _MECHANISMS.get(credential.kind)
    if wanted is None:
        raise CredentialRefused(f"a mail server does not know credentials of the kind {credential.kind}")
    user, token = credential.secret("username"), credential.secret("token")
    for mechanism in wanted:
        if mechanism not in offered:
            continue
        if mechanism == "PLAIN":
            return Exchange(mechanism, f"\0{user}\0{credential.secret('password')}".encode())
        if mechanism == "EXTERNAL":
            return Exchange(mechanism, user.encode())
        if mechanism == "XOAUTH2":
            return Exchange(mechanism, f"user={user}\1auth=Bearer {token}\1\1".encode())
        name = user.replace("=", "=3D").replace(",", "=2C")
        text = f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {token}\1\1"
        return Exchange(mechanism, text.encode(), b"\1")
    return None


def is_not_now(said: str) -> bool:
    """Tell whether the words of a refused login speak of the server's trouble and not of the credential.

    Codes are looked at first (RFC 5530, RFC 3206); this is for servers that give none: Gmail's `[ALERT] Too many
    simultaneous connections`, Exchange's `Server Unavailable`.
    """
    return _NOT_NOW.search(said) is not None


def challenge_words(raw: bytes) -> bytes:
    """Return what a refused token's challenge says (JSON, RFC 7628 section 3.2.2), b"" when it can't be read."""
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        return b""
