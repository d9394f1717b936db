"""AWS Signature Version 4 in the Authorization header.

Ours: it is forty lines, botocore is 31 MB, and what botocore is for (finding credentials) the keyring does here; the
tests let botocore's own signer judge it. Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

from todoku.kernel.clock import require_aware
from todoku.sources.credentials import Credential
from todoku.sources.errors import CredentialRefused

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Request:
    """One request before it is signed. url: path already percent-encoded, no query. query: not encoded."""

    method: str
    url: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def query_text(self) -> str:
        """Return the query as it is signed and sent: sorted, with %20 for a space."""
        pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in self.query.items())
        return "&".join(f"{name}={value}" for name, value in pairs)


def sign(request: Request, credential: Credential, service: str, region: str, at_utc: datetime) -> dict[str, str]:
    """Return all headers of the request with its signature.

    at_utc: aware; the server refuses what is more than 15 minutes from its own time. Raises CredentialRefused for keys
    that can't be put into a header, which would break the request in two.
    """
    access_key, secret_key = credential.secret("access_key"), credential.secret("secret_key")
    token = credential.secret("session_token")
    if not access_key or not secret_key:
        raise CredentialRefused("access key or secret key is empty")
    if not all(text.isascii() and text.isprintable() and " " not in text for text in (access_key, token)):
        raise CredentialRefused("access key or session token has characters that no key has")
    stamp = require_aware(at_utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(request.body).hexdigest()
    parts = urlsplit(request.url)
    headers = {**request.headers, "Host": parts.netloc, "X-Amz-Date": stamp, "X-Amz-Content-Sha256": digest}
    if token:
        headers["X-Amz-Security-Token"] = token
    signed = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    names = ";".join(name for name, _ in signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    canonical = "\n".join((request.method, parts.path or "/", request.query_text, lines, names, digest))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret_key}".encode()
    for text in scope.split("/"):
        key = hmac.digest(key, text.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers
