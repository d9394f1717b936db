"""TLS towards a relay: versions, certificate checks, and words for what went wrong."""

from __future__ import annotations

import ssl

from todoku.delivery.transports.smtp.relay import Relay, TlsMode
from todoku.kernel.errors import ConfigurationError


def client_context(relay: Relay) -> ssl.SSLContext | None:
    """Return what checks host name and certificate of this relay; None when it is never encrypted.

    Raises ConfigurationError when the CA file can't be read. TLS 1.2 or newer (RFC 8996, RFC 9325).
    """
    if relay.tls is TlsMode.OFF:
        return None
    try:
        context = ssl.create_default_context(cafile=relay.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the CA file {relay.ca_file!r} can't be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def why_tls_failed(relay: Relay, error: BaseException) -> str:
    """Return words for the log and the answers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{relay.name}: its certificate is not valid for {relay.host}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{relay.name}: TLS failed: {error.reason or error}"
    if isinstance(error, OSError):
        return f"{relay.name}: TLS failed: {error.strerror or error or 'the connection was lost'}"
    return f"{relay.name}: TLS failed: {error}"
