"""Certificates from an authority (RFC 8555): ordered, proven by our door, shown to a client; and what goes wrong.

The authority is Pebble, Let's Encrypt's own test server.
"""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.integration.credentials.acme_bench import (
    CLOCK,
    HOST,
    WITHIN_SECONDS,
    challenges_of,
    web_role,
)
from tests.integration.credentials.conftest import KEY
from tests.integration.credentials.pebble import Pebble, free_port, running

from todoku.bus.connection import Bus
from todoku.credentials.acme import ACCOUNT_KEY, new_account_key
from todoku.credentials.certificate_file import CertificateFile
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import RenewalFailed
from todoku.credentials.hooks import Tools, renew
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.renewing import Renewer
from todoku.credentials.types import INSTALLATION, Condition, Row
from todoku.kernel.clock import VirtualClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.credentials import CredentialKind
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import ServedCertificate, SmtpDoor
from todoku.vault import open_vault


@pytest.fixture
async def asked(pebble: Pebble, shelf: ChallengeShelf) -> AsyncIterator[None]:
    """Let the authority find our door."""
    async with web_role(pebble.http_port, shelf):
        yield


async def _row(book: CredentialBook) -> Row:
    (row,) = await book.rows(INSTALLATION)
    return row


async def _wanted(book: CredentialBook, renewal: dict[str, str]) -> None:
    await book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, {})
    await book.renew_by(INSTALLATION, "mx", renewal)


async def test_a_certificate_is_ordered_proven_written_and_shown_by_the_smtp_door(
    bus: Bus, book: CredentialBook, pebble: Pebble, asked: None, tmp_path: Path
) -> None:
    await _wanted(book, pebble.settings(HOST, "in.shop.example"))
    assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due() == [f"{INSTALLATION}.mx"]
    row = await _row(book)
    assert row.notes.renewal_why == ""
    assert row.notes.renewal_at_utc is not None
    assert (row.condition, row.renewed_by) == (Condition.UNPROVEN, "acme")
    assert "Pebble" in row.facts.issuer
    assert row.facts.not_after_utc is not None
    assert await challenges_of(bus) == []

    path = tmp_path / "tls" / "mx.pem"
    stop = asyncio.Event()
    served = ServedCertificate(path, path, CLOCK)
    served.check()
    assert "No such file" in served.standing().trouble
    file = CertificateFile(bus, SecretCipher([KEY]), "mx", path, served.check_at_once)
    keeping = asyncio.create_task(file.run(stop))
    await _until(lambda: served.facts() is not None)
    assert path.stat().st_mode & 0o777 == 0o600
    assert served.standing().trouble == ""
    routes = RouteBook(bus)
    await routes.start()
    writer = ArrivalWriter(open_vault("", tmp_path / "vault"), bus, CLOCK)
    smtp = SmtpDoor(writer, routes, "in.shop.example", certificate=served)
    port = await smtp.start("127.0.0.1", 0)
    root = pebble.root_pem()

    def say_hello() -> str:
        context = ssl.create_default_context(cadata=root)
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client._host = HOST  # type: ignore[attr-defined]  # what is looked for in the certificate
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            der = client.sock.getpeercert(binary_form=True)
        assert der is not None
        return hashlib.sha256(der).hexdigest()

    assert await asyncio.to_thread(say_hello) == row.facts.fingerprint
    assert served.standing().used_at_utc is not None

    # a renewal: the file follows, and so does the door
    renewer = Renewer(bus, SecretCipher([KEY]), CLOCK)
    assert await renewer.renew_due() == [], "it is not due"
    assert await renewer.renew(await book.record(INSTALLATION, "mx"))
    second = (await _row(book)).facts.fingerprint
    assert second != row.facts.fingerprint
    await _until(lambda: second == served.standing().facts.fingerprint)  # type: ignore[union-attr]
    assert second == _shown(path)
    stop.set()
    await keeping
    await smtp.stop()
    await routes.stop()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def _shown(path: Path) -> str:
    return x509.load_pem_x509_certificates(path.read_bytes())[0].fingerprint(hashes.SHA256()).hex()


async def test_who_renews_looks_at_once_when_somebody_orders(
    bus: Bus, book: CredentialBook, pebble: Pebble, asked: None
) -> None:
    stop = asyncio.Event()
    renewing = asyncio.create_task(Renewer(bus, SecretCipher([KEY]), VirtualClock(CLOCK.now_utc())).run(stop))
    await _wanted(book, pebble.settings(HOST))
    async with asyncio.timeout(20):  # the next look by the clock would be after 30
        while True:
            if (await _row(book)).facts.fingerprint:
                break
            await asyncio.sleep(0.05)
    stop.set()
    await renewing


async def test_an_account_is_made_once_and_its_key_is_in_no_row(
    bus: Bus, book: CredentialBook, pebble: Pebble, asked: None
) -> None:
    before = pebble.accounts()
    await _wanted(book, pebble.settings(HOST))
    first = SecretCipher([KEY]).open(f"{INSTALLATION}.mx", (await book.record(INSTALLATION, "mx")).current.sealed)
    renewer = Renewer(bus, SecretCipher([KEY]), CLOCK)
    for _ in range(2):
        assert await renewer.renew(await book.record(INSTALLATION, "mx"))
        assert (await _row(book)).notes.renewal_why == ""
    record = await book.record(INSTALLATION, "mx")
    opened = SecretCipher([KEY]).open(record.key, record.current.sealed)
    assert opened[ACCOUNT_KEY] == first[ACCOUNT_KEY]
    assert b"PRIVATE KEY" not in record.current.sealed
    assert "PRIVATE KEY" not in repr(await _row(book))
    assert pebble.accounts() == before + 1
    await book.renew_by(INSTALLATION, "mx", pebble.settings(HOST, "other.shop.example"))
    again = SecretCipher([KEY]).open(record.key, (await book.record(INSTALLATION, "mx")).current.sealed)
    assert again == opened, "other settings keep the account and the certificate"
    assert await renewer.renew_due() == [record.key], "another host is wanted in it"
    assert await renewer.renew_due() == []
    assert pebble.accounts() == before + 1


async def test_a_name_that_does_not_lead_to_us_keeps_the_old_certificate_and_says_why(
    bus: Bus, book: CredentialBook, pebble: Pebble, shelf: ChallengeShelf
) -> None:
    clock = VirtualClock(CLOCK.now_utc())
    async with web_role(pebble.http_port, shelf):
        await _wanted(book, pebble.settings(HOST))
        assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due()
    before = (await _row(book)).facts
    renewer = Renewer(bus, SecretCipher([KEY]), clock)
    assert await renewer.renew(await book.record(INSTALLATION, "mx"))  # nobody answers at the port now
    row = await _row(book)
    assert row.facts == before, "what works stays"
    assert row.condition is Condition.RENEWAL_FAILED
    assert HOST in row.notes.renewal_why
    assert await challenges_of(bus) == []
    assert await renewer.renew_due() == []
    clock.advance(299)
    assert await renewer.renew_due() == [], "authorities count tries: five minutes at least"
    clock.advance(2)
    assert await renewer.renew_due() == [f"{INSTALLATION}.mx"]


async def test_it_is_due_at_two_thirds_of_its_life(bus: Bus, book: CredentialBook, pebble: Pebble, asked: None) -> None:
    await _wanted(book, pebble.settings(HOST))
    assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due()
    facts = (await _row(book)).facts
    assert facts.not_before_utc is not None
    assert facts.not_after_utc is not None
    life = facts.not_after_utc - facts.not_before_utc
    for part, due in ((0.55, False), (0.70, True)):
        clock = VirtualClock(facts.not_before_utc + life * part)
        renewer = Renewer(bus, SecretCipher([KEY]), clock)
        assert bool(await renewer.renew_due()) is due


async def test_an_authority_that_wants_an_account_of_its_own(
    book: CredentialBook, shelf: ChallengeShelf, tmp_path: Path
) -> None:
    hmac_key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with running(tmp_path, free_port(), eab={"kid-1": hmac_key}) as pebble:
        async with web_role(pebble.http_port, shelf):
            settings = pebble.settings(HOST, eab_kid="kid-1")
            secrets = {ACCOUNT_KEY: new_account_key(), "eab_hmac_key": hmac_key}
            fresh = await renew(settings, secrets, Tools(CLOCK, shelf))
            assert fresh.secrets["certificate_pem"].count("BEGIN CERTIFICATE") >= 2, "the chain comes along"
            assert hmac_key not in repr(fresh)
            for wrong in ({**secrets, "eab_hmac_key": hmac_key[::-1]}, {**secrets, "eab_hmac_key": ""}):
                with pytest.raises(RenewalFailed, match="authority"):
                    await renew(settings, {**wrong, ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf))


async def test_an_order_that_is_broken_off_leaves_no_answer_behind(
    bus: Bus, book: CredentialBook, pebble: Pebble, shelf: ChallengeShelf
) -> None:
    asked = asyncio.Event()

    class Slow(ChallengeShelf):
        async def find(self, token: str) -> str | None:
            asked.set()
            await asyncio.Event().wait()
            return None

    stop = asyncio.Event()
    async with web_role(pebble.http_port, Slow(bus, CLOCK)):
        await _wanted(book, pebble.settings(HOST))
        renewing = asyncio.create_task(Renewer(bus, SecretCipher([KEY]), CLOCK).run(stop))
        async with asyncio.timeout(WITHIN_SECONDS):
            await asked.wait()
        assert await challenges_of(bus)
        stop.set()
        async with asyncio.timeout(5):
            await renewing
    assert await challenges_of(bus) == []
    assert (await _row(book)).notes.renewal_why == "", "it was not its fault"
