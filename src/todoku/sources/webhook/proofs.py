"""Prove that a call comes from its provider, by any of the secrets that may still be in use."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from todoku.sources.credentials import Credential, CredentialKind
from todoku.sources.errors import CredentialRefused
from todoku.sources.webhook.types import Call

SENDGRID_SIGNATURE = "x-twilio-email-event-webhook-signature"
SENDGRID_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


def first_that_proves(secrets: Sequence[Credential], proves: Callable[[Credential], bool], what: str) -> str:
    """Return the id of the first secret that proves the call, "" when none is asked for; raises CredentialRefused."""
    if not secrets:
        return ""
    for secret in secrets:
        if proves(secret):
            return secret.credential_id
    raise CredentialRefused(
        f"{what} fits none of: {', '.join(secret.credential_id for secret in secrets)}",
        kept="the mail, at the provider, which tries again",
        todo="give this source the secret that the provider has",
    )


def proven_by_password(call: Call, secret: Credential) -> bool:
    """Tell whether the call carries this user name and password (RFC 7617); compared in constant time."""
    if secret.kind is not CredentialKind.PASSWORD:
        return False
    scheme, _, given = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        plain = base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    wanted = f"{secret.secret('username')}:{secret.secret('password')}".encode()
    return len(wanted) > 1 and hmac.compare_digest(plain, wanted)


def proven_by_sendgrid(call: Call, secret: Credential) -> bool:
    """Tell whether the call is signed by the key pair of this verification key: ECDSA, SHA-256, timestamp + body.

    Source: twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks.
    """
    signature, timestamp = call.headers.get(SENDGRID_SIGNATURE, ""), call.headers.get(SENDGRID_TIMESTAMP, "")
    if secret.kind is not CredentialKind.STATIC_KEY or not signature:
        return False
    try:
        key = serialization.load_der_public_key(base64.b64decode(secret.secret("secret_key")))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        signed = timestamp.encode() + call.body
        key.verify(base64.b64decode(signature, validate=True), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def proven_by_mailgun(token: str, timestamp: str, signature: str, secret: Credential) -> bool:
    """Tell whether timestamp and token are signed by this signing key: HMAC-SHA256 in hexadecimal.

    The body is not signed. Source: documentation.mailgun.com, Securing Webhooks.
    """
    key = secret.secret("secret_key")
    if secret.kind is not CredentialKind.STATIC_KEY or not key:
        return False
    wanted = hmac.new(key.encode(), f"{timestamp}{token}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), signature.strip().lower().encode("utf-8", "replace"))
