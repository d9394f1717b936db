"""TLS towards the servers that sources log in to: what is checked, and how its failures are told apart."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from enum import StrEnum
from pathlib import Path

from todoku.sources.errors import CannotLook, Cause, CredentialRefused


class Encryption(StrEnum):
    """When TLS begins. NONE is for servers on the same machine and for tests: the password travels in the clear."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


def client_context(ca_pem: str = "", certificate_pem: str = "", key_pem: str = "") -> ssl.SSLContext:
    """Return a context that checks name and chain, from TLS 1.2 on.

    ca_pem: authorities to believe instead of the system's. certificate_pem, key_pem: the client's own. Raises
    CannotLook (cause `credential`) for a CA that can't be read, CredentialRefused for a certificate that can't.
    """
    try:
        context = ssl.create_default_context(cadata=ca_pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise CannotLook(Cause.CREDENTIAL, f"the CA certificates can't be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate_pem:
        _load_certificate(context, certificate_pem, key_pem)
    return context


def _load_certificate(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """Load it by way of a file that nobody else can read and that is removed at once: ssl takes paths only."""
    descriptor, path = tempfile.mkstemp(prefix="todoku-client-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{certificate_pem}\n{key_pem}")
        context.load_cert_chain(path)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CredentialRefused(f"the client certificate can't be used: {error}") from error
    finally:
        Path(path).unlink()


def tls_trouble(error: ssl.SSLError, host: str) -> CannotLook | CredentialRefused:
    """Return what a failed handshake means: the server's certificate, our own, or no TLS at all."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CannotLook(
            Cause.CREDENTIAL,
            f"the certificate of {host} is not accepted: {error.verify_message}",
            todo="its owner must renew it; a private authority's certificate can be given with the source",
        )
    if "ALERT" in (error.reason or ""):  # certificate_expired, unknown_ca, certificate_required …
        words = (error.reason or "").lower().replace("_", " ")
        return CredentialRefused(f"{host} does not accept our certificate: {words}")
    return CannotLook(Cause.PROTOCOL, f"{host} does not speak TLS as expected: {error.reason or error}")


async def connect(
    host: str, port: int, context: ssl.SSLContext | None, timeout_seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, encrypted from the start when there is a context; raises CannotLook, CredentialRefused."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.open_connection(host, port, ssl=context, server_hostname=host if context else None)
    except ssl.SSLError as error:
        raise tls_trouble(error, host) from error
    except TimeoutError as error:
        raise CannotLook(
            Cause.UNREACHABLE, f"{host}:{port} did not answer within {timeout_seconds:g} seconds"
        ) from error
    except OSError as error:
        raise CannotLook(Cause.UNREACHABLE, f"{host}:{port}: {error.strerror or error}") from error
