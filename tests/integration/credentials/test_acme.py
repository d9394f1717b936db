"""Certificates from an authority (RFC 8555): ordered, proven by our door, shown to a client; and what goes wrong.

The authority is Pebble, Let's Encrypt's own test server.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from granian.constants import Interfaces
from granian.server.embed import Server
from tests.integration.credentials.conftest import KEY
from tests.integration.credentials.pebble import Pebble, free_port, running

from todoku.api import challenges as door
from todoku.api.challenges import PREFIX, ChallengeDoor, Receive, Scope, Send
from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.acme import ACCOUNT_KEY, new_account_key, suggested_renewal
from todoku.credentials.certificate_file import CertificateFile
from todoku.credentials.challenges import VALID_FOR, ChallengeShelf
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import BadCredential, CredentialUnknown, RenewalFailed
from todoku.credentials.hooks import Tools, renew, require_renewal
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.renewing import Renewer
from todoku.credentials.types import INSTALLATION, Condition, Row
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.credentials import CredentialKind
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import ServedCertificate, SmtpDoor
from todoku.vault import open_vault

CLOCK = SystemClock()
HOST = "mx.shop.example"
WITHIN_SECONDS = 30.0  # only a guard against hanging


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble"), free_port()) as authority:
        yield authority


async def _pages(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def _web_role(port: int, shelf: ChallengeShelf) -> AsyncIterator[None]:
    """Serve as the role web does: the challenge door before everything else."""
    door.connect(shelf)
    server = Server(
        ChallengeDoor(_pages), address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    while True:
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        break
    try:
        yield
    finally:
        server.stop()
        await serving
        door.connect(None)


@pytest.fixture
async def shelf(bus: Bus) -> ChallengeShelf:
    return ChallengeShelf(bus, CLOCK)


@pytest.fixture
async def asked(pebble: Pebble, shelf: ChallengeShelf) -> AsyncIterator[None]:
    """Let the authority find our door."""
    async with _web_role(pebble.http_port, shelf):
        yield


async def _row(book: CredentialBook) -> Row:
    (row,) = await book.rows(INSTALLATION)
    return row


async def _wanted(book: CredentialBook, renewal: dict[str, str]) -> None:
    await book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, {})
    await book.renew_by(INSTALLATION, "mx", renewal)


async def _challenges(bus: Bus) -> list[str]:
    return [key for key in await bus.bucket(CREDENTIALS_BUCKET).keys() if key.startswith("_challenge.")]


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
    assert await _challenges(bus) == []

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
    async with _web_role(pebble.http_port, shelf):
        await _wanted(book, pebble.settings(HOST))
        assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due()
    before = (await _row(book)).facts
    renewer = Renewer(bus, SecretCipher([KEY]), clock)
    assert await renewer.renew(await book.record(INSTALLATION, "mx"))  # nobody answers at the port now
    row = await _row(book)
    assert row.facts == before, "what works stays"
    assert row.condition is Condition.RENEWAL_FAILED
    assert HOST in row.notes.renewal_why
    assert await _challenges(bus) == []
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
        async with _web_role(pebble.http_port, shelf):
            settings = pebble.settings(HOST, eab_kid="kid-1")
            secrets = {ACCOUNT_KEY: new_account_key(), "eab_hmac_key": hmac_key}
            fresh = await renew(settings, secrets, Tools(CLOCK, shelf))
            assert fresh.secrets["certificate_pem"].count("BEGIN CERTIFICATE") >= 2, "the chain comes along"
            assert hmac_key not in repr(fresh)
            for wrong in ({**secrets, "eab_hmac_key": hmac_key[::-1]}, {**secrets, "eab_hmac_key": ""}):
                with pytest.raises(RenewalFailed, match="authority"):
                    await renew(settings, {**wrong, ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf))


@asynccontextmanager
async def _directory(told: dict[str, Any], **more: Any) -> AsyncIterator[str]:
    """Give the address of a directory that says what it likes. more: paths and their JSON."""

    async def say(request: web.Request) -> web.StreamResponse:
        if request.path == "/away":
            raise web.HTTPFound("http://127.0.0.2:1/secret")
        found = more.get(request.path.strip("/").split("/")[0], told if request.path == "/dir" else None)
        return web.json_response(found) if found is not None else web.Response(status=404)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for name, value in told.items():
        if isinstance(value, str):
            told[name] = value.replace("HERE", f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}/dir"
    await runner.cleanup()


async def test_a_directory_can_t_send_us_to_other_machines(shelf: ChallengeShelf) -> None:
    """SSRF: what is asked next is named by the authority's answers."""
    caught: list[bytes] = []

    async def inside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(inside, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    secrets = {ACCOUNT_KEY: new_account_key()}
    settings = {"by": "acme", "domains": HOST, "contact": "ops@shop.example", "terms": "agreed"}
    for nonce in (f"http://127.0.0.1:{port}/latest/meta-data", "HERE/away", "file:///etc/passwd", "//127.0.0.1"):
        async with _directory({"newNonce": nonce, "newAccount": nonce, "newOrder": nonce}) as url:
            with pytest.raises(RenewalFailed) as told:
                await renew({**settings, "directory": url}, secrets, Tools(CLOCK, shelf))
            assert "another server" in told.value.what or not nonce.startswith(("http", "HERE"))
    assert caught == []
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "told", [{}, {"newNonce": 7}, {"newNonce": "HERE/n", "newAccount": "HERE/a"}, {"newNonce": "HERE/dir"}]
)
async def test_a_directory_that_says_nonsense_is_one_that_failed(told: dict[str, Any], shelf: ChallengeShelf) -> None:
    settings = {"by": "acme", "domains": HOST, "contact": "ops@shop.example", "terms": "agreed"}
    async with _directory(told) as url:
        with pytest.raises(RenewalFailed, match="the authority did not give"):
            await renew({**settings, "directory": url}, {ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf))


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"[" * 1_100_000, {}, "larger than any"),
        (gzip.compress(b"{}" * 1000), {"Content-Encoding": "gzip"}, "packed"),
        (b"[" * 100_000, {}, "not understood"),
    ],
)
async def test_an_answer_is_bounded(body: bytes, headers: dict[str, str], words: str, shelf: ChallengeShelf) -> None:
    async def say(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/dir"
    settings = {"by": "acme", "directory": url, "domains": HOST, "contact": "o@s.example", "terms": "agreed"}
    with pytest.raises(RenewalFailed, match=words):
        await renew(settings, {ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf))
    await runner.cleanup()


async def test_an_authority_that_is_away_or_shows_a_certificate_that_nobody_believes(
    pebble: Pebble, shelf: ChallengeShelf
) -> None:
    secrets = {ACCOUNT_KEY: new_account_key()}
    away = pebble.settings(HOST, directory=f"https://127.0.0.1:{free_port()}/dir")
    for settings in (away, pebble.settings(HOST, ca="")):
        with pytest.raises(RenewalFailed, match="can't be asked"):
            await renew(settings, secrets, Tools(CLOCK, shelf))


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
    async with _web_role(pebble.http_port, Slow(bus, CLOCK)):
        await _wanted(book, pebble.settings(HOST))
        renewing = asyncio.create_task(Renewer(bus, SecretCipher([KEY]), CLOCK).run(stop))
        async with asyncio.timeout(WITHIN_SECONDS):
            await asked.wait()
        assert await _challenges(bus)
        stop.set()
        async with asyncio.timeout(5):
            await renewing
    assert await _challenges(bus) == []
    assert (await _row(book)).notes.renewal_why == "", "it was not its fault"


async def test_who_is_not_waited_for_does_not_keep_the_process(shelf: ChallengeShelf) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/dir"
    settings = {"by": "acme", "directory": url, "domains": HOST, "contact": "o@s.example", "terms": "agreed"}
    asking = asyncio.create_task(renew(settings, {ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf)))
    silent.settimeout(WITHIN_SECONDS)
    connection, _ = await asyncio.to_thread(silent.accept)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    connection.close()
    silent.close()


async def test_the_authority_s_own_moment_is_asked_for(book: CredentialBook, bus: Bus, tmp_path: Path) -> None:
    """RFC 9773. Pebble of Debian does not speak it yet, so a directory of two answers stands in."""
    from tests.integration.smtp.certificates import CertificateFiles

    files = CertificateFiles(tmp_path, CLOCK.now_utc())
    made = files.renew(HOST, days=60, authority_key=True)
    pair = {"certificate_pem": files.certificate.read_text(), "key_pem": files.key.read_text()}
    now_utc = CLOCK.now_utc()
    window = {"start": _iso(now_utc - timedelta(hours=2)), "end": _iso(now_utc - timedelta(hours=1))}
    told = {"renewalInfo": "HERE/ari"}
    async with _directory(told, ari={"suggestedWindow": window}) as url:
        settings = {"by": "acme", "directory": url, "domains": HOST, "contact": "o@s.example", "terms": "agreed"}
        await book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, pair)
        await book.renew_by(INSTALLATION, "mx", settings)
        at_utc = await suggested_renewal(settings, {**pair, ACCOUNT_KEY: new_account_key()})
        assert at_utc is not None
        assert now_utc - timedelta(hours=3) < at_utc < now_utc
        assert made.not_valid_after_utc - now_utc > timedelta(days=50), "by its life it is not due"
        assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due() == [f"{INSTALLATION}.mx"]
    told.clear()
    async with _directory({"newNonce": "HERE/n"}) as url:
        assert await suggested_renewal({**settings, "directory": url}, {**pair, ACCOUNT_KEY: new_account_key()}) is None


def _iso(at_utc: datetime) -> str:
    return at_utc.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("domains", "*.shop.example", "HTTP-01"),
        ("domains", "予約.example", "HTTP-01"),
        ("domains", "127.0.0.1", "HTTP-01"),
        ("domains", "a.example b..example", r"b\.\.example"),
        ("contact", "nobody", "mail address"),
        ("contact", "a@b.example\r\nx", "mail address"),
        ("terms", "yes", "terms of service"),
        ("directory", "http://ca.example/dir", "https"),
        ("directory", "", "needs directory"),
    ],
)
def test_settings_that_can_t_work_are_refused(setting: str, value: str, words: str) -> None:
    good = {
        "by": "acme",
        "directory": "https://ca.example/dir",
        "domains": "mx.shop.example in.shop.example",
        "contact": "mailto:ops@shop.example",
        "terms": "agreed",
    }
    require_renewal(good)
    with pytest.raises(BadCredential, match=words):
        require_renewal({**good, setting: value})


async def test_certificates_belong_to_the_installation_and_nothing_else_does(
    book: CredentialBook, project: str
) -> None:
    with pytest.raises(BadCredential, match="installation"):
        await book.add(project, "mx", CredentialKind.TLS_CERTIFICATE, {})
    with pytest.raises(BadCredential, match="installation"):
        await book.add(INSTALLATION, "p", CredentialKind.PASSWORD, {"username": "a", "password": "b"})
    await book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, {})
    assert await book.rows(project) == []
    with pytest.raises(CredentialUnknown):
        await book.record(project, "mx")
    with pytest.raises(BadCredential, match="or neither"):
        await book.install(INSTALLATION, "mx", {"certificate_pem": "x"})


async def test_answers_are_given_for_an_hour_and_tidied(bus: Bus, shelf: ChallengeShelf) -> None:
    token = "t" * 43
    await shelf.put(token, f"{token}.thumb")
    assert await shelf.find(token) == f"{token}.thumb"
    for odd in ("short", "a.b" * 20, "*" * 43, ">", "", "../" * 10):
        assert await shelf.find(odd) is None
        with pytest.raises(RenewalFailed):
            await shelf.put(odd, "x")
    late = ChallengeShelf(bus, VirtualClock(CLOCK.now_utc() + VALID_FOR + timedelta(seconds=1)))
    assert await late.find(token) is None
    await shelf.tidy()
    assert await _challenges(bus), "it may still be asked for"
    await late.tidy()
    assert await _challenges(bus) == []


async def _get(path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await ChallengeDoor(_pages)({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_the_door_answers_tokens_and_nothing_else(shelf: ChallengeShelf) -> None:
    token = "A-z_" * 8
    assert await _get(PREFIX + token) == (503, b""), "not connected"
    await shelf.put(token, f"{token}.thumb")
    door.connect(shelf)
    try:
        assert await _get(PREFIX + token) == (200, f"{token}.thumb".encode())
        assert await _get(PREFIX + token, "HEAD") == (200, b"")
        assert await _get(PREFIX + token, "POST") == (405, b"")
        for odd in ("b" * 32, "", "../../etc", token + "/x", "%2e%2e"):
            assert (await _get(PREFIX + odd))[0] == 404
        assert (await _get("/online"))[0] == 418, "everything else is the pages'"
    finally:
        door.connect(None)
