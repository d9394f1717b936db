"""DKIM: sign a message so that its domain answers for it (RFC 6376; Ed25519 by RFC 8463).

Purpose     `DkimKey` holds one key of a domain; `sign_messages` puts a signature header in front for each key.
Reads       bytes and PEM.
Writes      nothing.
Guarantees  relaxed/relaxed over the whole body, never with `l=`. Every field of `SIGNED` that the message has is
            signed, each occurrence of it, and those of `SEALED` once more than they occur, so that nobody can add a
            second From or Subject. RSA by PKCS #1 v1.5 with SHA-256.
Known limits  no `x=`, no `i=`: From's domain must be the key's or lie below it, which is what DMARC looks at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from todoku.kernel.clock import require_aware
from todoku.mail.dkim_canonical import relaxed_body, relaxed_fields, split_message
from todoku.mail.errors import BadDkimKey, Unsignable

SEALED = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"mime-version", b"content-type")
SIGNED = (
    *SEALED,
    b"content-transfer-encoding",
    b"sender",
    b"in-reply-to",
    b"references",
    b"list-id",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
)

_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 4096  # RFC 8301 section 3.2; above 4096 verifiers need not follow
_BASE64_COLUMNS = 72
_TXT_OCTETS = 255  # of one character-string (RFC 1035 section 3.3)
_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z")
_SELECTOR = re.compile(r"(?=.{1,63}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")
_PADDING = padding.PKCS1v15()
_DIGEST = Prehashed(SHA256())


class KeyKind(StrEnum):
    """Which mathematics a key is for; not every receiver knows Ed25519, so RSA is signed beside it."""

    RSA2048 = "rsa2048"
    ED25519 = "ed25519"


PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, eq=False)
class DkimKey:
    """One private key, and where receivers find its public half: `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    private: PrivateKey
    algorithm: str = field(init=False)  # of the `a=` tag

    def __post_init__(self) -> None:
        is_rsa = isinstance(self.private, rsa.RSAPrivateKey)
        object.__setattr__(self, "algorithm", "rsa-sha256" if is_rsa else "ed25519-sha256")

    @property
    def record_name(self) -> str:
        """Return the DNS name of the public key's TXT record, without a last dot."""
        return f"{self.selector}._domainkey.{self.domain}"

    def record(self) -> str:
        """Return the TXT record's text (RFC 6376 section 3.6.1, RFC 8463 section 4.2)."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            octets = public.public_bytes(serialization.Encoding.DER, form)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode()}"
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(public.public_bytes_raw()).decode()}"

    def zone_line(self) -> str:
        """Return the record as a line of a zone file, in character-strings of at most 255 octets."""
        text = self.record()
        strings = (f'"{text[at : at + _TXT_OCTETS]}"' for at in range(0, len(text), _TXT_OCTETS))
        return f"{self.record_name}. 3600 IN TXT ( {' '.join(strings)} )"

    def pem(self) -> bytes:
        """Return the private key as unencrypted PKCS #8 PEM."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the signature of a SHA-256."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(digest, _PADDING, _DIGEST)
        return self.private.sign(digest)  # RFC 8463 section 3: the hash is what is signed


def new_key(domain: str, selector: str, kind: KeyKind) -> DkimKey:
    """Make a fresh key; raises BadDkimKey for a domain or selector that DNS can't hold."""
    require_key_names(domain, selector)
    if kind is KeyKind.RSA2048:
        return DkimKey(domain, selector, rsa.generate_private_key(65537, 2048))
    return DkimKey(domain, selector, ed25519.Ed25519PrivateKey.generate())


def key_from_pem(domain: str, selector: str, pem: bytes) -> DkimKey:
    """Read a private key; raises BadDkimKey for anything but RSA of 2048-4096 bits or Ed25519, unencrypted."""
    require_key_names(domain, selector)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadDkimKey(f"the key {selector} of {domain} can't be read: it must be unencrypted PEM") from error
    if isinstance(private, rsa.RSAPrivateKey) and _LEAST_RSA_BITS <= private.key_size <= _MOST_RSA_BITS:
        return DkimKey(domain, selector, private)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return DkimKey(domain, selector, private)
    raise BadDkimKey(f"the key {selector} of {domain} must be RSA of 2048-4096 bits or Ed25519")


def require_key_names(domain: str, selector: str) -> None:
    """Raise BadDkimKey unless both are lower-case ASCII names that DNS can hold (Japanese domains as A-labels)."""
    if not _DOMAIN.match(domain):
        raise BadDkimKey(f"{domain!r} is not a domain in lower-case ASCII, such as shop.example")
    if not _SELECTOR.match(selector):
        raise BadDkimKey(f"{selector!r} is not a selector: letters a-z, digits and hyphens, such as t2026a")


def sign_message(content: bytes, keys: Sequence[DkimKey], signed_at: datetime) -> bytes:
    """Return one signed message: see `sign_messages`."""
    return sign_messages((content,), keys, signed_at)[0]


def sign_messages(contents: Sequence[bytes], keys: Sequence[DkimKey], signed_at: datetime) -> list[bytes]:
    """Return each message with one DKIM-Signature for each key in front, the first key's on top.

    contents: with CRLF line ends, as they will travel (before dots are stuffed). signed_at: aware, for `t=`. Raises
    Unsignable when one has no From field, which every signature must cover (RFC 6376 section 5.4).
    """
    drafts = draft_signatures(contents, keys, signed_at)
    return [
        put_in_front(content, [(one.opening, key.sign_digest(one.digest)) for one, key in zip(row, keys, strict=True)])
        for content, row in zip(contents, drafts, strict=True)
    ]


class DraftSignature(NamedTuple):
    """A signature field but for its last tag. opening: the field up to `b=`; digest: the SHA-256 to sign."""

    opening: bytes
    digest: bytes


def draft_signatures(
    contents: Sequence[bytes], keys: Sequence[DkimKey], signed_at: datetime
) -> list[list[DraftSignature]]:
    """Return for each message what is to be signed with each key, without touching the private keys.

    So the keys' work, nearly all there is, can be done elsewhere. Raises Unsignable.
    """
    moment = b"%d" % int(require_aware(signed_at).timestamp())
    drafts = []
    for content in contents:
        headers, body = split_message(content)
        body_hash = binascii.b2a_base64(hashlib.sha256(relaxed_body(body)).digest(), newline=False)
        names, fields = zip(*relaxed_fields(headers), strict=True)
        chosen, order = _choice(names)
        covered = b"\r\n".join([fields[place] for place in order])
        row = []
        for key in keys:
            opening, relaxed = _templates(key.domain, key.selector, key.algorithm, chosen)
            digest = hashlib.sha256(covered + relaxed % (moment, body_hash)).digest()
            row.append(DraftSignature(opening % (moment, body_hash), digest))
        drafts.append(row)
    return drafts


def put_in_front(content: bytes, signatures: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the message with a field for each (opening, signature) in front of it, the first on top."""
    pieces = []
    for opening, signature in signatures:
        pieces.append(opening)
        pieces.append(_folded(binascii.b2a_base64(signature, newline=False)))
    pieces.append(content)
    return b"".join(pieces)


@lru_cache(maxsize=256)  # a run's messages have one order of fields
def _choice(names: tuple[bytes, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the folded names for `h=`, and the places of the fields that they choose.

    A name that occurs several times chooses its fields from the bottom upwards (RFC 6376 section 5.4.2).
    """
    if b"from" not in names:
        raise Unsignable("the message has no From field, so it can't be signed")
    chosen: list[bytes] = []
    order: list[int] = []
    for wanted in SIGNED:
        places = [place for place, name in enumerate(names) if name == wanted]
        order.extend(reversed(places))
        chosen.extend([wanted] * (len(places) + (wanted in SEALED)))
    return _folded_names(chosen), tuple(order)


@lru_cache(maxsize=256)
def _templates(domain: str, selector: str, algorithm: str, chosen: str) -> tuple[bytes, bytes]:
    """Return the signature field up to `b=`, as it travels and as it is hashed; moment and body hash are left open."""
    opening = (
        f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain};\r\n"
        f" s={selector}; t=%b;\r\n h={chosen};\r\n bh=%b;\r\n b="
    ).encode("ascii")
    ((_, relaxed),) = relaxed_fields(opening)
    return opening, b"\r\n" + relaxed


def without_signatures(content: bytes) -> bytes:
    """Return the message without the DKIM-Signature fields at its top, for a provider that rewrites what they cover."""
    while content[:15].lower() == b"dkim-signature:":
        end = content.find(b"\r\n")
        while content[end + 2 : end + 3] in (b" ", b"\t"):
            end = content.find(b"\r\n", end + 2)
        content = content[end + 2 :]
    return content


def _folded_names(names: Sequence[bytes]) -> str:
    lines = [""]
    for name in names:
        word = name.decode("ascii")
        if len(lines[-1]) + len(word) > _BASE64_COLUMNS:
            lines.append("")
        lines[-1] += word + ":"
    return "\r\n ".join(lines)[:-1]


def _folded(signature: bytes) -> bytes:
    places = range(0, len(signature), _BASE64_COLUMNS)
    return b"\r\n ".join(signature[at : at + _BASE64_COLUMNS] for at in places) + b"\r\n"
