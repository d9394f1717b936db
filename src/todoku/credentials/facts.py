"""Read from a secret what may be said of it: issuer, life, fingerprint. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from todoku.credentials.errors import BadCredential
from todoku.credentials.types import Condition, Facts, Notes
from todoku.sources.credentials import CredentialKind

ENDING_BELOW: Final = 1 / 3
NEAR_END_BELOW: Final = 1 / 6

NEEDED: Final[dict[CredentialKind, tuple[str, ...]]] = {
    CredentialKind.PASSWORD: ("username", "password"),
    CredentialKind.OAUTH_TOKEN: ("username", "token"),
    CredentialKind.CLIENT_CERTIFICATE: ("certificate_pem", "key_pem"),
    CredentialKind.STATIC_KEY: ("access_key", "secret_key"),
    CredentialKind.SESSION_KEY: ("access_key", "secret_key", "session_token"),
    CredentialKind.TLS_CERTIFICATE: (),  # both or none: an authority may have to be asked for the first one
}


def facts_of(kind: CredentialKind, secrets: Mapping[str, str], *, not_after_utc: datetime | None = None) -> Facts:
    """Return what can be said of these secrets.

    not_after_utc: an end that the issuer told beside the secret (`expires_in`, `Expiration`). Raises BadCredential,
    with no secret in its words, when a value is missing, a certificate can't be read or its key is another one's.
    """
    missing = [name for name in NEEDED[kind] if not secrets.get(name)]
    if missing:
        raise BadCredential(f"a credential of kind {kind} needs {', '.join(missing)}")
    if any(character in value for name, value in secrets.items() for character in _never_in(name)):
        raise BadCredential("a secret of one line must not hold a line end or NUL")
    pair = [bool(secrets.get(name)) for name in ("certificate_pem", "key_pem")]
    if kind is CredentialKind.TLS_CERTIFICATE and not any(pair):
        return Facts()
    if kind is CredentialKind.TLS_CERTIFICATE and not all(pair):
        raise BadCredential(f"a credential of kind {kind} needs certificate_pem and key_pem, or neither")
    if kind in {CredentialKind.CLIENT_CERTIFICATE, CredentialKind.TLS_CERTIFICATE}:
        return certificate_facts(secrets["certificate_pem"], secrets["key_pem"])
    if kind is CredentialKind.OAUTH_TOKEN:
        return _token_facts(secrets["token"], not_after_utc)
    return Facts(not_after_utc=not_after_utc)


def certificate_facts(certificate_pem: str, key_pem: str = "") -> Facts:
    """Return the facts of the first certificate; raises BadCredential. key_pem: checked to belong to it when given."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        key = serialization.load_pem_private_key(key_pem.encode(), password=None) if key_pem else None
    except (ValueError, TypeError) as error:
        raise BadCredential("the certificate or its key can't be read: both must be unencrypted PEM") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key is not None and key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise BadCredential("the key is not the certificate's")
    return Facts(
        issuer=certificate.issuer.rfc4514_string(),
        subject=certificate.subject.rfc4514_string(),
        not_before_utc=certificate.not_valid_before_utc,
        not_after_utc=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def life_left(facts: Facts, since_utc: datetime, now_utc: datetime) -> float | None:
    """Return which fraction of its life is left, 0-1; None when it has no end. since_utc: for those without a start."""
    if facts.not_after_utc is None:
        return None
    start_utc = facts.not_before_utc or since_utc
    life_seconds = (facts.not_after_utc - start_utc).total_seconds()
    left_seconds = (facts.not_after_utc - now_utc).total_seconds()
    return min(1.0, max(0.0, left_seconds / life_seconds)) if life_seconds > 0 else 0.0


def condition_of(facts: Facts, notes: Notes, left: float | None, now_utc: datetime) -> Condition:
    """Return the worst that is true of a credential now."""
    if facts.not_after_utc is not None and now_utc >= facts.not_after_utc:
        return Condition.EXPIRED
    if facts.not_before_utc is not None and now_utc < facts.not_before_utc:
        return Condition.NOT_YET_VALID
    if notes.refused_at_utc is not None and (notes.used_at_utc is None or notes.used_at_utc < notes.refused_at_utc):
        return Condition.REFUSED
    if notes.renewal_why:
        return Condition.RENEWAL_FAILED
    if left is not None and left < NEAR_END_BELOW:
        return Condition.NEAR_ITS_END
    if left is not None and left < ENDING_BELOW:
        return Condition.ENDING
    return Condition.UNPROVEN if notes.used_at_utc is None else Condition.GOOD


def _never_in(name: str) -> str:
    return "\x00" if name.endswith("_pem") else "\r\n\x00"


def _token_facts(token: str, not_after_utc: datetime | None) -> Facts:
    """Return what a JSON Web Token says of itself, unverified (RFC 7519 section 4.1); others say nothing."""
    claims = _claims(token)
    told_utc = _moment(claims.get("exp"))
    ends = [moment for moment in (told_utc, not_after_utc) if moment is not None]
    issuer = claims.get("iss")
    return Facts(
        issuer=issuer[:200] if isinstance(issuer, str) else "",
        not_before_utc=_moment(claims.get("nbf")) or _moment(claims.get("iat")),
        not_after_utc=min(ends) if ends else None,
    )


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _moment(seconds: Any) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
