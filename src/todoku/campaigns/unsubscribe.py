"""Links by which a guest stops the mails: signed, so that nobody stops those of another."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from todoku.campaigns.tokens import TokenMaker, old_token_key, read_token, token_key


@dataclass(frozen=True, slots=True)
class UnsubscribeClaim:
    """Whom a link speaks for: this address in this project, mailed by this run."""

    project_id: str
    run_id: UUID
    guest_id: UUID
    address: str


def installation_key() -> bytes:
    """Return the key with which this installation signs its links."""
    return token_key(settings.SECRET_KEY)


def make_token(project_id: str, run_id: UUID, guest_id: UUID, address: str) -> str:
    """Return the token of one recipient: URL-safe, about 115 characters, never expires (the law knows no expiry).

    The address is signed, not encrypted: who has the link has the mail it came in.
    """
    return TokenMaker(installation_key(), project_id, run_id).make([guest_id.hex], [address])[0]


def verify_token(token: str) -> UnsubscribeClaim:
    """Return whom the token speaks for; raises TokenInvalid."""
    return UnsubscribeClaim(*read_token(token, installation_key(), old_token_key(settings.SECRET_KEY)))
