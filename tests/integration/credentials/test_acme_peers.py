"""Authorities that are away, lie, say nonsense, too much or nothing, and strangers who ask for answers (RFC 8555)."""

from __future__ import annotations

import asyncio
import gzip
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.integration.credentials.acme_bench import (
    CLOCK,
    HOST,
    WITHIN_SECONDS,
    challenges_of,
    directory,
    iso,
    pages,
)
from tests.integration.credentials.conftest import KEY
from tests.integration.credentials.pebble import Pebble, free_port

from todoku.api import challenges as door
from todoku.api.challenges import PREFIX, ChallengeDoor
from todoku.bus.connection import Bus
from todoku.credentials.acme import ACCOUNT_KEY, new_account_key, suggested_renewal
from todoku.credentials.challenges import VALID_FOR, ChallengeShelf
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import BadCredential, CredentialUnknown, RenewalFailed
from todoku.credentials.hooks import Tools, renew, require_renewal
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.renewing import Renewer
from todoku.credentials.types import INSTALLATION
from todoku.kernel.clock import VirtualClock
from todoku.sources.credentials import CredentialKind


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
        async with directory({"newNonce": nonce, "newAccount": nonce, "newOrder": nonce}) as url:
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
    async with directory(told) as url:
        with pytest.raises(RenewalFailed, match="the authority did not give"):
            await renew({**settings, "directory": url}, {ACCOUNT_KEY: new_account_key()}, Tools(CLOCK, shelf))


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"[" * 1_100_000, {}, "larger than any"),
        (gzip.compress(b"{}" * 1000, mtime=0), {"Content-Encoding": "gzip"}, "packed"),
        (b"[" * 100_000, {}, "not understood"),
    ],
    ids=["large", "packed", "nonsense"],
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
    window = {"start": iso(now_utc - timedelta(hours=2)), "end": iso(now_utc - timedelta(hours=1))}
    told = {"renewalInfo": "HERE/ari"}
    async with directory(told, ari={"suggestedWindow": window}) as url:
        settings = {"by": "acme", "directory": url, "domains": HOST, "contact": "o@s.example", "terms": "agreed"}
        await book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, pair)
        await book.renew_by(INSTALLATION, "mx", settings)
        at_utc = await suggested_renewal(settings, {**pair, ACCOUNT_KEY: new_account_key()})
        assert at_utc is not None
        assert now_utc - timedelta(hours=3) < at_utc < now_utc
        assert made.not_valid_after_utc - now_utc > timedelta(days=50), "by its life it is not due"
        assert await Renewer(bus, SecretCipher([KEY]), CLOCK).renew_due() == [f"{INSTALLATION}.mx"]
    told.clear()
    async with directory({"newNonce": "HERE/n"}) as url:
        assert await suggested_renewal({**settings, "directory": url}, {**pair, ACCOUNT_KEY: new_account_key()}) is None


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
    assert await challenges_of(bus), "it may still be asked for"
    await late.tidy()
    assert await challenges_of(bus) == []


async def _get(path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await ChallengeDoor(pages)({"type": "http", "path": path, "method": method}, receive, send)
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
