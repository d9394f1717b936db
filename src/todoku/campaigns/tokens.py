"""The octets of an unsubscribe token: signed, short, quick to make by the million. Knows no Django.

A token is base64url of signature (16), run (16), guest (16), project, NUL, address, and NULs up to a multiple of three.
Tokens made before version 2 had another layout and another signature (HMAC-SHA-256); links in mails never expire, so
both are read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

from todoku.campaigns.errors import TokenInvalid

_SIGNATURE_BYTES = 16
MOST_TOKEN_CHARACTERS = 1_000
_PADDING = (b"\x00", b"", b"\x00\x00")  # by what is over a multiple of three, 32 octets standing before it
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

Claimed = tuple[str, UUID, UUID, str]
"""Project, run, guest and address of a token."""


def token_key(secret: str) -> bytes:
    """Return the key of this installation's tokens."""
    return hashlib.sha256(b"todoku.campaigns.unsubscribe.2 " + secret.encode()).digest()


class TokenMaker:
    """Make the tokens of one run."""

    def __init__(self, key: bytes, project_id: str, run_id: UUID) -> None:
        self._run = run_id.bytes
        self._project = project_id.encode() + b"\x00"
        self._signer = hashlib.blake2b(self._run, key=key, digest_size=_SIGNATURE_BYTES)  # copied: half the time

    def make(self, guests: Sequence[str], addresses: Sequence[str]) -> list[str]:
        """Return the token of each recipient. guests: 32 hexadecimal digits each, hyphens are skipped."""
        ids = bytes.fromhex("".join(guests).replace("-", ""))
        run, project, copy_signer = self._run, self._project, self._signer.copy
        tokens = []
        ends = []
        end = start = 0
        for address in addresses:
            rest = b"%b%b%b" % (ids[start : start + 16], project, address.encode("utf-8", "surrogatepass"))
            start += 16
            rest += _PADDING[len(rest) % 3]  # 32 before it
            signer = copy_signer()
            signer.update(rest)
            tokens.append(b"%b%b%b" % (signer.digest(), run, rest))
            end += (32 + len(rest)) // 3 * 4
            ends.append(end)
        letters = binascii.b2a_base64(b"".join(tokens), newline=False).translate(_URL_SAFE).decode("ascii")
        return [letters[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def read_token(token: str, key: bytes, old_key: bytes) -> Claimed:
    """Return whom the token speaks for; raises TokenInvalid. old_key: see `old_token_key`."""
    try:
        if len(token) > MOST_TOKEN_CHARACTERS:
            raise ValueError("too long")
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        signed = hashlib.blake2b(payload, key=key, digest_size=_SIGNATURE_BYTES).digest()
        if hmac.compare_digest(signature, signed):
            project_id, address = payload[32:].rstrip(b"\x00").decode("utf-8", "surrogatepass").split("\x00", 1)
            return project_id, UUID(bytes=payload[:16]), UUID(bytes=payload[16:32]), address
        if hmac.compare_digest(signature, _old_signature(payload, old_key)):
            project_id, run_id, guest_id, address = payload.decode("utf-8", "surrogatepass").split("\x00", 3)
            return project_id, UUID(run_id), UUID(guest_id), address
        raise ValueError("signature")
    except (ValueError, UnicodeError, binascii.Error) as error:
        raise TokenInvalid(
            "this link was not made here, or was cut on its way", todo="open the link of the mail again, whole"
        ) from error


def old_token_key(secret: str) -> bytes:
    """Return the key of tokens of the first layout."""
    return b"todoku.campaigns.unsubscribe " + secret.encode()


def make_old_token(key: bytes, project_id: str, run_id: UUID, guest_id: UUID, address: str) -> str:
    """Return a token of the first layout, as mails of earlier versions carry it."""
    body = b"\x00".join((project_id.encode(), run_id.bytes.hex().encode(), guest_id.bytes.hex().encode()))
    payload = body + b"\x00" + address.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(_old_signature(payload, key) + payload).rstrip(b"=").decode("ascii")


def _old_signature(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:_SIGNATURE_BYTES]
