"""Certificates made up on the spot."""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class CertificateFiles:
    """A certificate and its key below a folder, as something that renews them would write them."""

    def __init__(self, folder: Path, now_utc: datetime) -> None:
        self.certificate = folder / "door.pem"
        self.key = folder / "door.key"
        self._now_utc = now_utc
        self._writes = 0

    def renew(
        self,
        *names: str,
        days: float = 90.0,
        from_days: float = -1.0,
        password: bytes | None = None,
        only_certificate: bool = False,
        alternative: bool = True,
        authority_key: bool = False,
    ) -> x509.Certificate:
        """Write a fresh pair. days, from_days: the life, counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now_utc + timedelta(days=from_days))
            .not_valid_after(self._now_utc + timedelta(days=days))
        )
        if alternative:
            listed = [*(x509.DNSName(name) for name in names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
        if authority_key:
            named = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
            builder = builder.add_extension(named, critical=False)
        made = builder.sign(key, hashes.SHA256())
        self.write(self.certificate, made.public_bytes(serialization.Encoding.PEM))
        if not only_certificate:
            locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
            encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            self.write(self.key, key.private_bytes(encoding, form, locked))
        return made

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file, with a time that no earlier one had, however coarse the file system's clock is."""
        self._writes += 1
        path.write_bytes(content)
        os.utime(path, (self._writes, self._writes))
