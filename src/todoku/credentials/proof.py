"""Prove a certificate before a door shows it: a handshake in memory, with a client that looks at everything."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from todoku.credentials.errors import RenewalFailed

_KEPT = "the old certificate, in use"


def require_servable(secrets: Mapping[str, str], hosts: Iterable[str]) -> None:
    """Raise RenewalFailed unless a client that believes the last certificate of the chain reaches each host with it.

    So the key fits, the chain hangs together, names and dates are right. Whether clients of the world believe in the
    authority is not looked at: it may be a private one. hosts: none = the first of its own names.
    """
    chain = secrets["certificate_pem"]
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise RenewalFailed("the certificate can't be read", kept=_KEPT) from error
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the last of a chain is seldom a root
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(server, chain, secrets["key_pem"])
    client.load_verify_locations(cadata=certificates[-1].public_bytes(serialization.Encoding.PEM).decode("ascii"))
    for host in list(hosts) or own_names(certificates[0])[:1]:
        try:
            _shake_hands(server, client, host)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
            raise RenewalFailed(f"the new certificate is not good for {host}: {why}", kept=_KEPT) from error


def own_names(certificate: x509.Certificate) -> list[str]:
    """Return the host names of a certificate."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(listed.get_values_for_type(x509.DNSName))


def _load(server: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """Load it by way of a file that nobody else can read and that is removed at once: ssl takes paths only."""
    descriptor, path = tempfile.mkstemp(prefix="todoku-served-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{chain_pem}\n{key_pem}")
        server.load_cert_chain(path)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise RenewalFailed("the certificate and its key can't be used together", kept=_KEPT) from error
    finally:
        Path(path).unlink()


def _shake_hands(server_context: ssl.SSLContext, client_context: ssl.SSLContext, host: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    waiting = [client, server]
    for _ in range(8):  # TLS 1.3 takes three turns
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return
    raise RenewalFailed("a handshake in memory did not come to its end", kept=_KEPT)
