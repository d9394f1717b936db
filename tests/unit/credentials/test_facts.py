"""What may be said of a secret, and when it is to be worried about."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from todoku.credentials.errors import BadCredential
from todoku.credentials.facts import condition_of, facts_of, life_left
from todoku.credentials.types import Condition, Facts, Notes
from todoku.sources.credentials import CredentialKind

NOW = datetime(2026, 11, 5, 8, 47, tzinfo=UTC)


def _certificate(begin: datetime, end: datetime) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "importer.todoku.example")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    signed = built.serial_number(7).not_valid_before(begin).not_valid_after(end).sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM).decode()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, key.private_bytes(*form).decode()


def _token(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


def test_a_certificate_says_who_gave_it_and_how_long_it_lives() -> None:
    begin, end = NOW - timedelta(days=20), NOW + timedelta(days=10)
    pem, key = _certificate(begin, end)
    facts = facts_of(CredentialKind.CLIENT_CERTIFICATE, {"certificate_pem": pem, "key_pem": key})
    assert (facts.not_before_utc, facts.not_after_utc) == (begin, end)
    assert facts.issuer == "CN=importer.todoku.example"
    assert len(facts.fingerprint) == 64


def test_a_key_of_another_certificate_is_refused() -> None:
    pem, _ = _certificate(NOW, NOW + timedelta(days=30))
    _, key = _certificate(NOW, NOW + timedelta(days=30))
    with pytest.raises(BadCredential, match="not the certificate's"):
        facts_of(CredentialKind.CLIENT_CERTIFICATE, {"certificate_pem": pem, "key_pem": key})
    with pytest.raises(BadCredential, match="can't be read") as caught:
        facts_of(CredentialKind.CLIENT_CERTIFICATE, {"certificate_pem": "-----BEGIN x", "key_pem": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_token_says_its_end_and_the_earlier_of_two_counts() -> None:
    token = _token(exp=NOW.timestamp() + 3600, iat=NOW.timestamp(), iss="https://login.todoku.example")
    facts = facts_of(CredentialKind.OAUTH_TOKEN, {"username": "a", "token": token})
    assert facts.not_after_utc == NOW + timedelta(hours=1)
    assert facts.issuer == "https://login.todoku.example"
    told = NOW + timedelta(minutes=30)
    sooner = facts_of(CredentialKind.OAUTH_TOKEN, {"username": "a", "token": token}, not_after_utc=told)
    assert sooner.not_after_utc == told


_WORDS = st.text(st.characters(exclude_characters="\r\n\x00"), max_size=60)


@given(_WORDS, _WORDS, _WORDS)
def test_any_token_is_taken(head: str, body: str, tail: str) -> None:
    facts = facts_of(CredentialKind.OAUTH_TOKEN, {"username": "a", "token": f"{head}.{body}.{tail}"})
    assert facts.fingerprint == ""


@pytest.mark.parametrize("claim", [True, "soon", 1e300, -1e300, [1], None])
def test_an_odd_end_is_no_end(claim: object) -> None:
    assert facts_of(CredentialKind.OAUTH_TOKEN, {"username": "a", "token": _token(exp=claim)}).not_after_utc is None


def test_what_is_missing_is_named_and_line_ends_are_refused() -> None:
    with pytest.raises(BadCredential, match="needs password"):
        facts_of(CredentialKind.PASSWORD, {"username": "a"})
    with pytest.raises(BadCredential, match="line end"):
        facts_of(CredentialKind.PASSWORD, {"username": "a", "password": "b\r\nA1 LOGOUT"})


def test_alarm_is_by_fractions_of_a_life_and_not_by_days() -> None:
    for life in (timedelta(days=30), timedelta(hours=1)):
        facts = Facts(not_before_utc=NOW, not_after_utc=NOW + life)
        notes = Notes(used_at_utc=NOW)
        seen = []
        for part in (0.1, 0.65, 0.7, 0.85, 1.0):
            at_utc = NOW + life * part
            seen.append(condition_of(facts, notes, life_left(facts, NOW, at_utc), at_utc))
        good, ending = Condition.GOOD, Condition.ENDING
        assert seen == [good, good, ending, Condition.NEAR_ITS_END, Condition.EXPIRED]


def test_the_worst_is_said_first() -> None:
    forever = Facts()
    assert condition_of(forever, Notes(), None, NOW) is Condition.UNPROVEN
    assert condition_of(forever, Notes(refused_at_utc=NOW), None, NOW) is Condition.REFUSED
    used_again = Notes(refused_at_utc=NOW, used_at_utc=NOW + timedelta(seconds=1))
    assert condition_of(forever, used_again, None, NOW) is Condition.GOOD
    failed = Notes(used_at_utc=NOW, renewal_at_utc=NOW, renewal_why="no answer")
    assert condition_of(forever, failed, None, NOW) is Condition.RENEWAL_FAILED
    tomorrow = Facts(not_before_utc=NOW + timedelta(days=1))
    assert condition_of(tomorrow, Notes(used_at_utc=NOW), None, NOW) is Condition.NOT_YET_VALID
