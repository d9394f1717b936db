"""TLS and login towards a relay: what is wrong fails the relay in clear words, and nothing ever goes on in clear."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from todoku.delivery.transports.conformance import WatchingSink, envelopes_for
from todoku.delivery.transports.scripted_relay import Fault, ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Answer, AnswerKind
from todoku.kernel.errors import ConfigurationError

SECRET = "s3cr3t/with:letters@"
IN_URL = "s3cr3t%2Fwith%3Aletters%40"
MakeContext = Callable[..., ssl.SSLContext]


@pytest.fixture
def certify(tmp_path: Path) -> MakeContext:
    """Return a maker of server contexts; the authority's certificate is in `ca.pem`."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Test authority", authority_key, None, [], days=10)
    (tmp_path / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))

    def make(*, names: tuple[str, ...] = ("127.0.0.1",), days: int = 10, self_signed: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        signer = None if self_signed else (authority, authority_key)
        certificate = _certificate("relay", key, signer, list(names), days=days)
        pair = tmp_path / "relay.pem"
        pair.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair)
        return context

    return make


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay(chunking=True)
    yield scripted
    await scripted.stop()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    hosts: list[str],
    *,
    days: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer[1] if signer else key, hashes.SHA256())


async def _send(url: str, options: str = "", count: int = 12, login: str = "") -> list[Answer]:
    scheme, _, place = url.partition("://")
    transport = SmtpTransport(f"{scheme}://{login}{place}?connections=3{options}")
    try:
        return await transport.send(envelopes_for(["accept"] * count), WatchingSink())
    finally:
        await transport.close()


def _all_accepted(answers: list[Answer]) -> bool:
    return {one.kind for one in answers} == {AnswerKind.ACCEPTED}


def _relay_failure(answers: list[Answer]) -> str:
    """Return the words of a relay that failed for everybody, and nobody is worse off."""
    assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, True)}
    return answers[0].text


@pytest.mark.parametrize("mode", ["required", "opportunistic"])
async def test_starttls_with_a_valid_certificate(
    relay: ScriptedRelay, certify: MakeContext, tmp_path: Path, mode: str
) -> None:
    relay.tls = certify()
    assert _all_accepted(await _send(await relay.start(), f"&tls={mode}&ca={tmp_path / 'ca.pem'}"))
    assert relay.commands.count("STARTTLS") == relay.connections


async def test_tls_from_the_first_octet(relay: ScriptedRelay, certify: MakeContext, tmp_path: Path) -> None:
    relay.tls, relay.implicit_tls = certify(), True
    url = await relay.start()
    assert url.startswith("smtps://")
    assert _all_accepted(await _send(url, f"&ca={tmp_path / 'ca.pem'}", count=200))


async def test_without_an_offer_opportunistic_goes_in_clear_and_required_does_not(relay: ScriptedRelay) -> None:
    url = await relay.start()
    assert _all_accepted(await _send(url, "&tls=opportunistic"))
    assert "offers no STARTTLS" in _relay_failure(await _send(url, "&tls=required"))


@pytest.mark.parametrize("mode", ["required", "opportunistic"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"names": ("mail.example.com",)}, "IP address mismatch"),
        ({"self_signed": True}, "self-signed"),
        ({"days": -1}, "expired"),
    ],
)
async def test_a_certificate_that_is_not_valid_fails_the_relay(
    relay: ScriptedRelay, certify: MakeContext, tmp_path: Path, mode: str, how: dict[str, object], words: str
) -> None:
    relay.tls = certify(**how)
    text = _relay_failure(await _send(await relay.start(), f"&tls={mode}&ca={tmp_path / 'ca.pem'}"))
    assert "its certificate is not valid for 127.0.0.1" in text
    assert words in text
    assert not any(command.startswith("MAIL") for command in relay.commands)


async def test_the_same_over_smtps(relay: ScriptedRelay, certify: MakeContext, tmp_path: Path) -> None:
    relay.tls, relay.implicit_tls = certify(names=("mail.example.com",)), True
    text = _relay_failure(await _send(await relay.start(), f"&ca={tmp_path / 'ca.pem'}"))
    assert "its certificate is not valid" in text


async def test_words_injected_before_the_handshake_end_the_connection(certify: MakeContext, tmp_path: Path) -> None:
    """RFC 3207 section 6, CVE-2021-38371 and its siblings: what came in clear must not be taken for an answer."""
    relay = ScriptedRelay(fault=Fault.INJECTS_AFTER_STARTTLS)
    relay.tls = certify()
    text = _relay_failure(await _send(await relay.start(), f"&tls=required&ca={tmp_path / 'ca.pem'}"))
    assert "said more than it was asked" in text
    assert not any(command.startswith("MAIL") for command in relay.commands)
    await relay.stop()


async def test_garbage_in_the_handshake(certify: MakeContext, tmp_path: Path) -> None:
    relay = ScriptedRelay(fault=Fault.GARBAGE_IN_HANDSHAKE)
    relay.tls = certify()
    text = _relay_failure(await _send(await relay.start(), f"&tls=required&ca={tmp_path / 'ca.pem'}"))
    assert "TLS failed" in text
    await relay.stop()


async def test_a_relay_that_refuses_starttls_gets_mail_only_if_that_is_allowed(
    certify: MakeContext, tmp_path: Path
) -> None:
    relay = ScriptedRelay(fault=Fault.REFUSES_STARTTLS)
    relay.tls = certify()
    url = await relay.start()
    assert "refuses STARTTLS: 454 4.7.0" in _relay_failure(await _send(url, "&tls=required"))
    assert _all_accepted(await _send(url, "&tls=opportunistic"))
    await relay.stop()


@pytest.mark.parametrize("mechanism", ["auto", "plain", "login", "xoauth2"])
async def test_a_login_and_no_secret_in_the_log(
    relay: ScriptedRelay, certify: MakeContext, tmp_path: Path, mechanism: str
) -> None:
    relay.tls, relay.logins = certify(), {"shop@todoku.example": SECRET}
    url = await relay.start()
    options = f"&tls=required&ca={tmp_path / 'ca.pem'}&auth={mechanism}"
    with capture_logs() as lines:
        assert _all_accepted(await _send(url, options, login=f"shop%40todoku.example:{IN_URL}@"))
        refused = _relay_failure(await _send(url, options, login="shop%40todoku.example:wrongsecret@"))
    assert "refuses the login of 'shop@todoku.example': 535 5.7.8 wrong: …" in refused
    assert SECRET not in str(lines)
    assert "wrongsecret" not in str(lines)


async def test_on_this_machine_a_secret_may_go_in_clear(relay: ScriptedRelay) -> None:
    relay.logins = {"shop": "secret"}
    assert _all_accepted(await _send(await relay.start(), login="shop:secret@"))


async def test_a_relay_without_a_login_that_we_know(relay: ScriptedRelay) -> None:
    text = _relay_failure(await _send(await relay.start(), login="shop:secret@"))
    assert "no way to log in: the relay offers none" in text


@pytest.mark.parametrize("names", [("127.0.0.1",), ("mail.example.com",)])
def test_the_event_loop_of_the_senders_does_the_same(
    certify: MakeContext, tmp_path: Path, names: tuple[str, ...]
) -> None:
    async def play() -> list[Answer]:
        relay = ScriptedRelay(chunking=True)
        relay.tls = certify(names=names)
        answers = await _send(await relay.start(), f"&tls=required&ca={tmp_path / 'ca.pem'}", count=200)
        await relay.stop()
        return answers

    answers = uvloop.run(play())
    if names == ("127.0.0.1",):
        assert _all_accepted(answers)
    else:
        assert "its certificate is not valid" in _relay_failure(answers)


def test_a_ca_file_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"/nowhere/ca\.pem"):
        SmtpTransport("smtps://relay.example?ca=/nowhere/ca.pem")
