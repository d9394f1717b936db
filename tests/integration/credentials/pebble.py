"""Let's Encrypt's own test server, Pebble, with a DNS of its own: an authority as it is in the world, on loopback.

Needs the Debian package pebble. Every host name leads to 127.0.0.1; HTTP-01 is asked at `http_port`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_START_SECONDS = 20.0


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "directory")])
    now_utc = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now_utc - timedelta(days=1))
        .not_valid_after(now_utc + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "directory.pem", folder / "directory.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return certificate, private


@dataclass(frozen=True)
class Pebble:
    """A running authority. ca: what its directory is believed by."""

    directory: str
    management: str
    dns_port: int
    dns_management: str
    http_port: int
    ca: Path
    log: Path

    def settings(self, *domains: str, **more: str) -> dict[str, str]:
        """Return how a certificate is ordered here."""
        return {
            "by": "acme",
            "directory": self.directory,
            "ca": str(self.ca),
            "domains": " ".join(domains),
            "contact": "ops@shop.example",
            "terms": "agreed",
            **more,
        }

    def root_pem(self) -> str:
        """Return the root of the certificates that it gives."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(f"{self.management}/roots/0", context=context, timeout=10) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text

    def accounts(self) -> int:
        """Return how many accounts were opened here."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(" accounts in memory")

    def set_txt(self, name: str, text: str | None) -> None:
        """Let DNS answer with one TXT record, None = with none."""
        command, told = ("clear-txt", {}) if text is None else ("set-txt", {"value": text})
        body = json.dumps({"host": f"{name}.", **told}).encode()
        with urllib.request.urlopen(f"{self.dns_management}/{command}", body, timeout=10):  # noqa: S310
            return


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(folder: Path, http_port: int, *, eab: dict[str, str] | None = None) -> Iterator[Pebble]:
    """Run Pebble and its DNS; skips the test when the package is not there.

    eab: keys of external accounts by their id; None = whoever comes may open an account.
    """
    if shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None:
        pytest.skip("Pebble is not installed (apt install pebble)")
    certificate, key = own_certificate(folder)
    listen, management, dns, dns_management = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": eab or {},
    }
    path = folder / "pebble.json"
    path.write_text(json.dumps({"pebble": config}), encoding="utf-8")
    log = folder / "pebble.log"
    names = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "")
    # a twentieth of good nonces rejected, as is Pebble's way, would fail one order in fifty: the library tries twice
    steady = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0"}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        for argv in (
            ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}", *names],
            ["pebble", "-strict", "-config", str(path), "-dnsserver", f"127.0.0.1:{dns}"],
        ):
            process = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **steady})
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for port in (listen, management, dns_management):
            _until_open(port, log)
        yield Pebble(
            directory=f"https://127.0.0.1:{listen}/dir",
            management=f"https://127.0.0.1:{management}",
            dns_port=dns,
            dns_management=f"http://127.0.0.1:{dns_management}",
            http_port=http_port,
            ca=certificate,
            log=log,
        )


def _until_open(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.02)
