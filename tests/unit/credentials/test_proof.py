"""A certificate is proven before a door shows it: by a handshake with a client that looks at everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from todoku.credentials.errors import RenewalFailed
from todoku.credentials.proof import require_servable

HOST = "mx.shop.example"
NOW_UTC = datetime.now(UTC)  # the handshake looks at the machine's clock
PLAIN = serialization.NoEncryption()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, PLAIN).decode()


class Authority:
    """A root that gives certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
        built = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.pem = built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def gives(self, *hosts: str, days: float = 90, from_days: float = -1) -> dict[str, str]:
        """Return a chain and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        listed = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        built = self._builder(name, key, days, from_days).add_extension(listed, critical=False)
        own = built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        return {"certificate_pem": own + self.pem, "key_pem": _pem(key)}

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 90, from_days: float = -1
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW_UTC + timedelta(days=from_days))
            .not_valid_after(NOW_UTC + timedelta(days=days))
        )


AUTHORITY = Authority()
GOOD = AUTHORITY.gives(HOST, "in.shop.example")


def test_a_good_one_is_good_for_each_of_its_hosts() -> None:
    require_servable(GOOD, [HOST, "in.shop.example"])
    require_servable(GOOD, [])


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        (AUTHORITY.gives("other.example"), "not good for mx.shop.example: Hostname mismatch"),
        (AUTHORITY.gives(HOST, days=-0.5, from_days=-2), "certificate has expired"),
        (AUTHORITY.gives(HOST, from_days=1), "not yet valid"),
        ({**GOOD, "key_pem": _pem(AUTHORITY.key)}, "can't be used together"),
        ({**GOOD, "key_pem": "rubbish"}, "can't be used together"),
        ({**GOOD, "certificate_pem": "rubbish"}, "can't be read"),
        ({**GOOD, "certificate_pem": ""}, "can't be read"),
        (
            {**GOOD, "certificate_pem": GOOD["certificate_pem"].replace(AUTHORITY.pem, Authority().pem)},
            "not good for mx.shop.example",
        ),
    ],
    ids=["other-host", "expired", "not-yet", "other-key", "no-key", "no-certificate", "empty", "broken-chain"],
)
def test_what_a_client_would_refuse_is_refused(secrets: dict[str, str], words: str) -> None:
    with pytest.raises(RenewalFailed) as told:
        require_servable(secrets, [HOST])
    assert words in told.value.what
    assert "PRIVATE" not in str(told.value)
