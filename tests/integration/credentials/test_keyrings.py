"""Credentials on a real bus: ordered, noted, renewed and encrypted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from tests.integration.credentials.conftest import KEY

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.cipher import SecretCipher, new_key
from todoku.credentials.errors import BadCredential, CredentialExists, CredentialUnknown
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.keyrings import KeyringDesk
from todoku.credentials.types import Condition, Row
from todoku.kernel.clock import SystemClock
from todoku.sources.credentials import Credential, CredentialKind, log_in
from todoku.sources.errors import CannotLook, CredentialRefused

_LIMIT_SECONDS = 60.0  # only a guard against hanging


@asynccontextmanager
async def _desk(bus: Bus) -> AsyncIterator[KeyringDesk]:
    desk, stop = KeyringDesk(bus, SecretCipher([KEY]), SystemClock()), asyncio.Event()
    running = asyncio.create_task(desk.run(stop))
    await asyncio.wait_for(desk.until_loaded(), _LIMIT_SECONDS)
    yield desk
    stop.set()
    await asyncio.wait_for(running, _LIMIT_SECONDS)


def _password(password: str) -> dict[str, str]:
    return {"username": "reserve@example.com", "password": password}


async def _row(book: CredentialBook, project: str, name: str, wanted: Callable[[Row], bool]) -> Row:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            for row in await book.rows(project):
                if row.credential_id == name and wanted(row):
                    return row
            await asyncio.sleep(0.02)


class _Server:
    """Lets in whoever brings one of its passwords."""

    def __init__(self, *accepted: str) -> None:
        self.accepted = set(accepted)

    async def __call__(self, credential: Credential) -> str:
        if credential.secret("password") not in self.accepted:
            raise CredentialRefused("authentication failed")
        return credential.credential_id


async def test_the_next_is_used_at_once_and_both_are_written_down(bus: Bus, book: CredentialBook, project: str) -> None:
    await book.add(project, "monthly", CredentialKind.PASSWORD, _password("expired"))
    await book.add(project, "static", CredentialKind.PASSWORD, _password("good"))
    async with _desk(bus) as desk:
        keyring = desk.keyring(project, ["monthly", "static"])
        assert await log_in(keyring, _Server("good")) == "static"
        first = await _row(book, project, "monthly", lambda row: row.notes.refused_at_utc is not None)
        assert first.condition is Condition.REFUSED
        assert first.notes.refused_why == "authentication failed"
        second = await _row(book, project, "static", lambda row: row.notes.used_at_utc is not None)
        assert second.condition is Condition.GOOD


async def test_a_renewed_secret_replaces_the_old_one_when_a_server_takes_it(
    bus: Bus, book: CredentialBook, project: str
) -> None:
    await book.add(project, "imap", CredentialKind.PASSWORD, _password("old"))
    async with _desk(bus) as desk:
        keyring = desk.keyring(project, ["imap"])
        await book.offer(project, "imap", _password("new"))
        server = _Server("old")
        await _until(lambda: len(keyring.in_order()) == 2)
        assert await log_in(keyring, server) == "imap", "the old one goes on while the new one is not accepted"
        row = await _row(book, project, "imap", lambda row: row.notes.renewal_why != "")
        assert row.condition is Condition.RENEWAL_FAILED
        assert row.has_candidate
        server.accepted = {"new"}
        await log_in(keyring, server)
        row = await _row(book, project, "imap", lambda row: not row.has_candidate and not row.notes.renewal_why)
        assert row.condition is Condition.GOOD
        await _until(lambda: len(keyring.in_order()) == 1)
        assert keyring.in_order()[0].secret("password") == "new"


async def test_what_is_out_of_its_life_is_tried_last(bus: Bus, book: CredentialBook, project: str) -> None:
    token = {"username": "reserve@example.com", "token": "opaque"}
    await book.add(project, "first", CredentialKind.OAUTH_TOKEN, token)
    await book.offer(project, "first", token, not_after_utc=SystemClock().now_utc() - timedelta(hours=1))
    await book.add(project, "second", CredentialKind.PASSWORD, _password("x"))
    async with _desk(bus) as desk:
        keyring = desk.keyring(project, ["first", "second", "never-added"])
        assert [one.credential_id for one in keyring.in_order()] == ["first", "second", "first~new"]


async def test_with_none_left_the_source_says_so(bus: Bus, book: CredentialBook, project: str) -> None:
    await book.add(project, "imap", CredentialKind.PASSWORD, _password("wrong-password"))
    async with _desk(bus) as desk:
        with pytest.raises(CannotLook, match="imap: authentication failed") as caught:
            await log_in(desk.keyring(project, ["imap"]), _Server())
        assert "wrong-password" not in str(caught.value)


async def test_nothing_on_the_bus_shows_a_secret(bus: Bus, book: CredentialBook, project: str) -> None:
    await book.add(project, "imap", CredentialKind.PASSWORD, _password("open-sesame-1"))
    await book.offer(project, "imap", _password("open-sesame-2"))
    async with _desk(bus) as desk:
        with pytest.raises(CannotLook):
            await log_in(desk.keyring(project, ["imap"]), _Server())
        await _row(book, project, "imap", lambda row: row.notes.refused_at_utc is not None)
    bucket = bus.bucket(CREDENTIALS_BUCKET)
    for key in await bucket.keys():
        entry = await bucket.get(key)
        assert entry is not None
        assert b"sesame" not in entry.value
    assert "sesame" not in repr(await book.rows(project)) + repr(await book.record(project, "imap"))


async def test_keys_are_rotated_and_the_old_one_is_needed_no_more(bus: Bus, book: CredentialBook, project: str) -> None:
    await book.add(project, "imap", CredentialKind.PASSWORD, _password("a"))
    await book.offer(project, "imap", _password("b"))
    fresh = new_key()
    both = CredentialBook(bus, SecretCipher([fresh, KEY]), SystemClock())
    assert await both.encrypt_anew() >= 1
    record = await both.record(project, "imap")
    assert SecretCipher([fresh]).open(record.key, record.current.sealed)["password"] == "a"
    assert record.candidate is not None
    assert SecretCipher([fresh]).open(record.key, record.candidate.sealed)["password"] == "b"


async def test_the_inventory_answers_clearly(book: CredentialBook, project: str) -> None:
    await book.add(project, "imap", CredentialKind.PASSWORD, _password("a"), note="見本")
    with pytest.raises(CredentialExists):
        await book.add(project, "imap", CredentialKind.PASSWORD, _password("b"))
    with pytest.raises(BadCredential, match="needs password"):
        await book.offer(project, "imap", {"username": "a"})
    with pytest.raises(BadCredential, match="short name"):
        await book.add(project, "a b", CredentialKind.PASSWORD, _password("b"))
    assert [row.note for row in await book.rows(project)] == ["見本"]
    assert await book.rows("another") == []
    await book.remove(project, "imap")
    with pytest.raises(CredentialUnknown):
        await book.offer(project, "imap", _password("b"))


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)
