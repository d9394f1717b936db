"""Messages of Amazon SNS over HTTPS: what they say, and that Amazon has signed them.

Source: docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html and http-notification-json.html.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from todoku.sources.errors import CredentialRefused
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.forms import read_json

Web = Callable[[str], Awaitable[bytes]]  # GET of an address that was looked at before; raises CannotLook

NOTIFICATION: Final = "Notification"
SUBSCRIPTION: Final = "SubscriptionConfirmation"
UNSUBSCRIPTION: Final = "UnsubscribeConfirmation"
_SIGNED: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
# One label between `sns` and `amazonaws`, shaped like a region: the name of a bucket can't stand there.
_HOST: Final = re.compile(r"sns\.[a-z]{2,3}(?:-[a-z]+){1,3}-\d{1,2}\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,128}\.pem")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9:/?&=%._~+-]{1,2048}")
_MAX_KEYS: Final = 32


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """One message. values: the text fields of its JSON."""

    kind: str
    topic: str
    values: dict[str, str] = field(repr=False)


def read_message(body: bytes) -> SnsMessage:
    """Read an envelope; raises MalformedCall, not proven, because what can't be read can't be verified."""
    try:
        found = read_json(body)
    except MalformedCall as error:
        raise MalformedCall(error.what, proven=False) from error
    values = {name: value for name, value in found.items() if isinstance(value, str)}
    kind = values.get("Type", "")
    if kind not in _SIGNED:
        raise MalformedCall(
            f"the call is of the type {kind[:40]!r}, which SNS does not send",
            proven=False,
            todo="raw message delivery has no signature: switch it off at the subscription",
        )
    return SnsMessage(kind, values.get("TopicArn", ""), values)


class SnsVerifier:
    """Verifies signatures with the certificates of Amazon, each of which is fetched once."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._keys: dict[str, rsa.RSAPublicKey] = {}

    async def verify(self, message: SnsMessage) -> None:
        """Return when Amazon has signed the message; raises CredentialRefused, and CannotLook without a certificate."""
        algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(  # noqa: S303  # version 1 is Amazon's default
            message.values.get("SignatureVersion", "")
        )
        if algorithm is None:
            raise _refused("it names no version of a signature that is known")
        key = await self._key(message.values.get("SigningCertURL", ""))
        try:
            signature = base64.b64decode(message.values.get("Signature", ""), validate=True)
            key.verify(signature, signed_text(message).encode(), padding.PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError) as error:
            raise _refused("its signature does not fit it") from error

    async def _key(self, address: str) -> rsa.RSAPublicKey:
        address = require_certificate_address(address)
        known = self._keys.get(address)
        if known is not None:
            return known
        try:
            key = x509.load_pem_x509_certificate(await self._web(address)).public_key()
        except ValueError as error:
            raise _refused("what lies at the address of its certificate is none") from error
        if not isinstance(key, rsa.RSAPublicKey):
            raise _refused("its certificate has no RSA key")
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        self._keys[address] = key
        return key


def signed_text(message: SnsMessage) -> str:
    """Return what is signed of a message: its fields with their names, those that are there."""
    names = (name for name in _SIGNED[message.kind] if name in message.values)
    return "".join(f"{name}\n{message.values[name]}\n" for name in names)


def require_certificate_address(address: str) -> str:
    """Return the address when it is one of Amazon's certificates; raises CredentialRefused.

    Whoever knows the token can name any address here, also of machines that only we can reach (SSRF).
    """
    host, path, query = _amazon_address(address)
    if not _CERTIFICATE_PATH.fullmatch(path) or query:
        raise _refused("the address of its certificate is not one of Amazon SNS")
    return f"https://{host}{path}"


def require_confirm_address(address: str, topic: str) -> str:
    """Return the address when all it does is confirm this topic's subscription; raises CredentialRefused."""
    host, path, query = _amazon_address(address)
    asked = parse_qs(query)
    if path not in {"", "/"} or asked.get("Action") != ["ConfirmSubscription"] or asked.get("TopicArn") != [topic]:
        raise _refused("the address that confirms it does something else")
    return f"https://{host}/?{query}"


def _amazon_address(address: str) -> tuple[str, str, str]:
    """Return host, path and query, put together anew by the caller: two readers of one address may differ."""
    if not _ADDRESS.fullmatch(address):
        raise _refused("it names an address with odd characters, or none")
    parts = urlsplit(address)
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc):
        raise _refused("it names an address that is not Amazon's")
    return parts.netloc, parts.path, parts.query


def _refused(why: str) -> CredentialRefused:
    return CredentialRefused(
        f"the message is not proven to come from Amazon SNS: {why}", kept="nothing: SNS tries again for an hour"
    )
