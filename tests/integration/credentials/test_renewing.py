"""Renewal: by command, files, HTTP and OAuth; proven by a real login before the old secret goes.

TableCheck, 2020-11-05: a certificate that renews itself every month was not obtained, and nobody was told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.integration.credentials.conftest import KEY
from tests.integration.sources.dovecot import PASSWORD, Address, Dovecot

from todoku.bus.connection import Bus
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.errors import BadCredential, RenewalFailed
from todoku.credentials.hooks import Tools, renew, require_renewal
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.renewing import Renewer
from todoku.credentials.types import Condition, Row
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.sources.credentials import CredentialKind
from todoku.sources.registry import SourceBook, SourceEntry

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def dovecot(open_folder: Callable[[], Path]) -> Iterator[Dovecot]:
    server = Dovecot.started(open_folder)
    yield server
    server.stop(kill=True)


@asynccontextmanager
async def _issuer(answer: Callable[[dict[str, str]], Any], status: int = 200) -> AsyncIterator[str]:
    """Give the address of a server that answers each POST with JSON."""

    async def post(request: web.Request) -> web.Response:
        told = dict(request.headers)
        if request.content_type == "application/x-www-form-urlencoded":
            told |= {name: str(value) for name, value in (await request.post()).items()}
        return web.json_response(answer(told), status=status)

    application = web.Application()
    application.router.add_post("/", post)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/"
    await runner.cleanup()


def _says(folder: Path, document: object) -> str:
    """Return a command that prints the document."""
    script = folder / "renew.py"
    script.write_text(f"import sys\nsys.stdin.read()\nprint({json.dumps(document)!r})\n", encoding="utf-8")
    return f"{sys.executable} {script}"


async def _row(book: CredentialBook, project: str) -> Row:
    (row,) = await book.rows(project)
    return row


async def _imap(bus: Bus, project: str, dovecot: Dovecot) -> str:
    """Name a source at the Dovecot; return the user."""
    user = dovecot.new_user()
    dovecot.deliver(user, b"Subject: one\r\n\r\n")
    settings: dict[str, str | int | float | bool] = {
        "host": Address.GOOD.value,
        "port": dovecot.imap,
        "encryption": "none",
    }
    entry = SourceEntry(project_id=project, source="imap", kind="imap", settings=settings, credential_ids=("imap",))
    await SourceBook(bus).add(entry)
    return user


async def test_a_new_password_is_proven_at_the_server_before_the_old_one_goes(
    bus: Bus, book: CredentialBook, project: str, dovecot: Dovecot, tmp_path: Path
) -> None:
    user = await _imap(bus, project, dovecot)
    await book.add(project, "imap", CredentialKind.PASSWORD, {"username": user, "password": "the old one"})
    renewer = Renewer(bus, SecretCipher([KEY]), CLOCK)
    await book.renew_by(project, "imap", {"by": "command", "argv": _says(tmp_path, {"password": "not-right-either"})})
    assert await renewer.renew(await book.record(project, "imap"))
    row = await _row(book, project)
    assert row.condition is Condition.RENEWAL_FAILED
    assert row.notes.renewal_why.startswith("not accepted: imap:")
    assert not row.has_candidate
    assert (await book.open(project, "imap")).secret("password") == "the old one"

    await book.renew_by(project, "imap", {"by": "command", "argv": _says(tmp_path, {"password": PASSWORD})})
    assert await renewer.renew(await book.record(project, "imap"))
    row = await _row(book, project)
    assert (row.notes.renewal_why, row.has_candidate) == ("", False)
    assert (await book.open(project, "imap")).secret("password") == PASSWORD


async def test_a_server_that_is_away_proves_nothing_and_costs_nothing(
    bus: Bus, book: CredentialBook, project: str, tmp_path: Path
) -> None:
    settings: dict[str, str | int | float | bool] = {"host": "127.0.0.1", "port": 1, "encryption": "none"}
    await SourceBook(bus).add(
        SourceEntry(project_id=project, source="imap", kind="imap", settings=settings, credential_ids=("imap",))
    )
    await book.add(project, "imap", CredentialKind.PASSWORD, {"username": "a", "password": "the old one"})
    await book.renew_by(project, "imap", {"by": "command", "argv": _says(tmp_path, {"password": "new"})})
    await Renewer(bus, SecretCipher([KEY]), CLOCK).renew(await book.record(project, "imap"))
    row = await _row(book, project)
    assert row.has_candidate, "it is tried at the next login, and the old one beside it"
    assert row.notes.renewal_why == ""


async def test_renewal_begins_at_two_thirds_of_a_life_and_what_fails_is_tried_again(
    bus: Bus, project: str, tmp_path: Path
) -> None:
    clock = VirtualClock(CLOCK.now_utc())
    book = CredentialBook(bus, SecretCipher([KEY]), clock)
    secrets = {"username": "a", "token": "opaque"}
    await book.add(project, "token", CredentialKind.OAUTH_TOKEN, secrets)
    await book.offer(
        project, "token", {**secrets, "token": "second"}, not_after_utc=clock.now_utc() + timedelta(days=30)
    )
    candidate = (await book.record(project, "token")).candidate
    assert candidate is not None
    await book.promote(project, "token", candidate)
    await book.renew_by(project, "token", {"by": "command", "argv": "/nowhere/renew"})
    renewer = Renewer(bus, SecretCipher([KEY]), clock)
    assert await renewer.renew_due() == []
    clock.advance(timedelta(days=18).total_seconds())
    assert await renewer.renew_due() == [], "at 60 % of its life it is left alone"
    clock.advance(timedelta(days=2, hours=1).total_seconds())
    assert await renewer.renew_due() == [f"{project}.token"]
    assert "can't be run" in (await _row(book, project)).notes.renewal_why
    assert await renewer.renew_due() == [], "not again at once"
    clock.advance(61)
    assert await renewer.renew_due() == [f"{project}.token"]
    ends = {"token": "third", "not_after": (clock.now_utc() + timedelta(days=30)).isoformat()}
    await book.renew_by(project, "token", {"by": "command", "argv": _says(tmp_path, ends)})
    clock.advance(121)
    assert await renewer.renew_due() == [f"{project}.token"]
    assert (await book.open(project, "token")).secret("token") == "third"
    clock.advance(121)
    assert await renewer.renew_due() == []


async def test_files_that_somebody_else_renews_are_taken_when_they_change(
    bus: Bus, book: CredentialBook, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n", encoding="utf-8")
    await book.add(project, "imap", CredentialKind.PASSWORD, {"username": "a", "password": "first"})
    await book.renew_by(project, "imap", {"by": "file", "password": str(file)})
    renewer = Renewer(bus, SecretCipher([KEY]), CLOCK)
    assert await renewer.renew_due() == []
    file.write_text("second\n", encoding="utf-8")
    assert await renewer.renew_due() == [f"{project}.imap"]
    assert (await book.open(project, "imap")).secret("password") == "second"
    file.unlink()
    await renewer.renew(await book.record(project, "imap"))
    assert "can't be read" in (await _row(book, project)).notes.renewal_why


async def test_oauth_keeps_the_refresh_token_that_comes_with_the_new_one() -> None:
    """paperless-ngx PR 11341: the new refresh token was not kept, and all ended after 90 days."""

    def answer(told: dict[str, str]) -> object:
        assert (told["grant_type"], told["refresh_token"], told["client_id"]) == ("refresh_token", "r1", "todoku")
        assert told["client_secret"] == "c1"
        return {"access_token": "t2", "refresh_token": "r2", "expires_in": 3600}

    secrets = {"username": "a", "token": "t1", "refresh_token": "r1", "client_secret": "c1"}
    async with _issuer(answer) as url:
        fresh = await renew({"by": "oauth", "token_url": url, "client_id": "todoku"}, secrets, Tools(CLOCK))
    assert (fresh.secrets["token"], fresh.secrets["refresh_token"]) == ("t2", "r2")
    assert fresh.not_after_utc is not None
    assert "t2" not in repr(fresh)


async def test_a_vault_gives_certificate_and_key() -> None:
    def answer(told: dict[str, str]) -> object:
        assert told["X-Vault-Token"] == "hvs.1"
        return {"data": {"certificate": "CERT", "private_key": "KEY"}}

    renewal = {
        "by": "http",
        "header": "X-Vault-Token",
        "fields": "certificate_pem=data.certificate key_pem=data.private_key",
    }
    secrets = {"certificate_pem": "old", "key_pem": "old", "renewal_token": "hvs.1"}
    async with _issuer(answer) as url:
        fresh = await renew({**renewal, "url": url}, secrets, Tools(CLOCK))
    assert (fresh.secrets["certificate_pem"], fresh.secrets["key_pem"]) == ("CERT", "KEY")


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [({}, 200, "no access_token"), ([1], 200, "JSON object"), ({"error": "invalid_grant"}, 400, "answered 400")],
)
async def test_an_issuer_that_does_not_give_is_told_without_its_secrets(
    answer: object, status: int, words: str
) -> None:
    secrets = {"username": "a", "token": "t1", "refresh_token": "hush-hush-77"}
    async with _issuer(lambda _: answer, status) as url:
        with pytest.raises(RenewalFailed, match=words) as caught:
            await renew({"by": "oauth", "token_url": url}, secrets, Tools(CLOCK))
    assert "hush-hush" not in str(caught.value)


async def test_an_issuer_that_is_away_is_told(unused_tcp_port: int) -> None:
    with pytest.raises(RenewalFailed, match="can't be asked"):
        await renew({"by": "oauth", "token_url": f"http://127.0.0.1:{unused_tcp_port}/"}, {}, Tools(CLOCK))


@pytest.mark.parametrize(
    ("renewal", "words"),
    [
        ({"by": "pigeon"}, "no renewal by"),
        ({"by": "command"}, "needs argv"),
        ({"by": "file"}, "NAME=PATH"),
        ({"by": "oauth", "token_url": "http://login.todoku.example/"}, "https"),
        ({"by": "http", "url": "ftp://x/", "fields": "a=b"}, "https"),
    ],
)
def test_odd_settings_are_refused(renewal: dict[str, str], words: str) -> None:
    with pytest.raises(BadCredential, match=words):
        require_renewal(renewal)
