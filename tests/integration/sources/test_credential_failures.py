"""A credential fails, with and without another to fall back on; written down as what it is; all mails come in the end.

TableCheck, 2020-11-05: the importer's certificate was not renewed; booking mails were not imported for hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.integration.sources.conftest import Intake
from tests.integration.sources.dovecot import PASSWORD, Address, Dovecot
from tests.integration.sources.s3_bench import S3Bench, s3_bench
from tests.integration.sources.s3_servers import REGION, STATIC, seaweed_port, session_key

from todoku.bus.streams import CREDENTIALS_BUCKET, LOOKS_BUCKET, OWNERS_BUCKET, SOURCES_BUCKET
from todoku.credentials.cipher import SecretCipher, new_key
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.keyrings import KeyringDesk
from todoku.credentials.types import Condition
from todoku.kernel.clock import SystemClock
from todoku.sources.credentials import CredentialKind
from todoku.sources.fleet import Fleet
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.sources.standing import Standing, Truth, read_standings, truth_of

__all__ = ["seaweed_port"]
_LIMIT_SECONDS = 60.0  # the promise: recorded within a minute
_CIPHER = SecretCipher([new_key()])
Settings = dict[str, str | int | float | bool]


@pytest.fixture(scope="module")
def dovecot(open_folder: Callable[[], Path]) -> Iterator[Dovecot]:
    server = Dovecot.started(open_folder)
    yield server
    server.stop(kill=True)


@pytest.fixture
async def bench(seaweed_port: int) -> AsyncIterator[S3Bench]:
    async with s3_bench(seaweed_port) as one:
        yield one


@pytest.fixture
async def book(intake: Intake) -> AsyncIterator[CredentialBook]:
    yield CredentialBook(intake.bus, _CIPHER, SystemClock())
    for name in (SOURCES_BUCKET, LOOKS_BUCKET, OWNERS_BUCKET, CREDENTIALS_BUCKET):
        bucket = intake.bus.bucket(name)
        for key in await bucket.keys():
            if key.startswith(intake.project):
                await bucket.delete(key)


@asynccontextmanager
async def _collecting(intake: Intake, entry: SourceEntry) -> AsyncIterator[None]:
    stop = asyncio.Event()
    desk = KeyringDesk(intake.bus, _CIPHER, SystemClock())
    fleet = Fleet(intake.bus, intake.writer, lambda one: desk.keyring(one.project_id, one.credential_ids))
    following = asyncio.create_task(desk.run(stop))
    await desk.until_loaded()
    await SourceBook(intake.bus).add(entry)
    running = asyncio.create_task(fleet.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({running, following}, timeout=_LIMIT_SECONDS)
        for task in (running, following):
            task.cancel()
        await asyncio.gather(running, following, return_exceptions=True)


async def _standing(intake: Intake, entry: SourceEntry, wanted: Truth) -> Standing:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            standing = (await read_standings(intake.bus, intake.project)).get(entry.source)
            if standing is not None and truth_of(entry, standing, standing.at_utc) is wanted:
                return standing
            await asyncio.sleep(0.05)


async def _condition(book: CredentialBook, intake: Intake, name: str, wanted: Condition) -> str:
    """Wait until the inventory says so; return the server's words."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            for row in await book.rows(intake.project):
                if row.credential_id == name and row.condition is wanted:
                    return row.notes.refused_why
            await asyncio.sleep(0.05)


async def _arrived(intake: Intake, count: int) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            if len(await intake.arrivals()) >= count:
                return
            await asyncio.sleep(0.05)


def _imap(intake: Intake, dovecot: Dovecot, address: Address, *credentials: str) -> SourceEntry:
    settings: Settings = {
        "host": address.value,
        "port": dovecot.imaps,
        "ca_pem": dovecot.authority.ca_pem,
        "timeout_seconds": 10.0,
    }
    return SourceEntry(
        project_id=intake.project,
        source="imap",
        kind="imap",
        settings=settings,
        credential_ids=credentials,
        poll_seconds=1.0,
    )


async def _fails_then_repaired(
    intake: Intake, book: CredentialBook, entry: SourceEntry, deliver: Callable[[], object], repair: dict[str, str]
) -> None:
    """Without a fall-back: told as what it is, mails wait, and after the repair each comes once."""
    for _ in range(3):
        await _called(deliver)
    async with _collecting(intake, entry):
        standing = await _standing(intake, entry, Truth.COULD_NOT)
        assert standing.look is not None
        assert standing.look.why.startswith("credential:")
        assert await intake.arrivals() == []
        assert all(len(value) < 8 or value not in standing.look.why for value in repair.values())
        await book.offer(intake.project, entry.credential_ids[0], repair)
        await _arrived(intake, 3)
        await _standing(intake, entry, Truth.FETCHED)
        await _condition(book, intake, entry.credential_ids[0], Condition.GOOD)
    assert len({one.cursor for one in await intake.arrivals()}) == len(await intake.arrivals()) == 3


async def _called(deliver: Callable[[], object]) -> None:
    made = deliver()
    if asyncio.iscoroutine(made):
        await made


async def test_an_imap_password_fails_without_another(intake: Intake, book: CredentialBook, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    await book.add(intake.project, "password", CredentialKind.PASSWORD, {"username": user, "password": "expired-word"})
    entry = _imap(intake, dovecot, Address.GOOD, "password")
    repair = {"username": user, "password": PASSWORD}
    await _fails_then_repaired(intake, book, entry, lambda: dovecot.deliver(user, b"Subject: a\r\n\r\n"), repair)


async def test_an_imap_certificate_expires_and_the_password_carries_on(
    intake: Intake, book: CredentialBook, dovecot: Dovecot
) -> None:
    user = dovecot.new_user()
    old = dovecot.authority.pair(user, first_day=-30, last_day=-1)
    await book.add(
        intake.project,
        "certificate",
        CredentialKind.CLIENT_CERTIFICATE,
        {"certificate_pem": old[0], "key_pem": old[1], "username": user},
    )
    await book.add(intake.project, "password", CredentialKind.PASSWORD, {"username": user, "password": PASSWORD})
    dovecot.deliver(user, b"Subject: a\r\n\r\n")
    entry = _imap(intake, dovecot, Address.CLIENT_CERTIFICATE, "certificate", "password")
    async with _collecting(intake, entry):
        await _arrived(intake, 1)
        await _standing(intake, entry, Truth.FETCHED)
        await _condition(book, intake, "password", Condition.GOOD)
        (row,) = [row for row in await book.rows(intake.project) if row.credential_id == "certificate"]
        assert row.condition is Condition.EXPIRED, "it is told although mails go on coming"
        assert row.life_left == 0.0


async def test_an_imap_certificate_that_was_not_renewed_stops_nothing_for_good(
    intake: Intake, book: CredentialBook, dovecot: Dovecot
) -> None:
    user = dovecot.new_user()

    def secrets(first_day: int, last_day: int) -> dict[str, str]:
        certificate, key = dovecot.authority.pair(user, first_day=first_day, last_day=last_day)
        return {"certificate_pem": certificate, "key_pem": key, "username": user}

    await book.add(intake.project, "certificate", CredentialKind.CLIENT_CERTIFICATE, secrets(-30, -1))
    entry = _imap(intake, dovecot, Address.CLIENT_CERTIFICATE, "certificate")
    await _fails_then_repaired(
        intake, book, entry, lambda: dovecot.deliver(user, b"Subject: a\r\n\r\n"), secrets(-1, 30)
    )


def _s3(intake: Intake, bench: S3Bench, seaweed_port: int, *credentials: str) -> SourceEntry:
    settings: Settings = {
        "bucket": bench.bucket,
        "region": REGION,
        "endpoint": f"http://127.0.0.1:{seaweed_port}",
        "allow_http": True,
        "poll_seconds": 1.0,
    }
    return SourceEntry(
        project_id=intake.project,
        source="s3",
        kind="s3",
        settings=settings,
        credential_ids=credentials,
        poll_seconds=1.0,
    )


async def test_a_static_key_fails_without_another(
    intake: Intake, book: CredentialBook, bench: S3Bench, seaweed_port: int
) -> None:
    wrong = {**STATIC.secrets, "secret_key": "w" * 30}
    await book.add(intake.project, "key", CredentialKind.STATIC_KEY, wrong)
    entry = _s3(intake, bench, seaweed_port, "key")
    await _fails_then_repaired(intake, book, entry, lambda: bench.deliver(b"Subject: a\r\n\r\n"), dict(STATIC.secrets))


async def test_a_session_key_fails_and_the_static_one_carries_on(
    intake: Intake, book: CredentialBook, bench: S3Bench, seaweed_port: int
) -> None:
    session = session_key(seaweed_port)
    broken = {**session.secrets, "session_token": session.secret("session_token")[:-8] + "aaaaaaaa"}
    await book.add(intake.project, "session", CredentialKind.SESSION_KEY, broken)
    await book.add(intake.project, "static", CredentialKind.STATIC_KEY, dict(STATIC.secrets))
    await bench.deliver(b"Subject: a\r\n\r\n")
    async with _collecting(intake, _s3(intake, bench, seaweed_port, "session", "static")):
        await _arrived(intake, 1)
        assert await _condition(book, intake, "session", Condition.REFUSED) != ""
        await _condition(book, intake, "static", Condition.GOOD)


async def test_a_paused_source_says_so_whatever_its_credentials_are(intake: Intake, dovecot: Dovecot) -> None:
    entry = msgspec.structs.replace(_imap(intake, dovecot, Address.GOOD, "nobody"), paused=True)
    assert truth_of(entry, None, SystemClock().now_utc()) is Truth.PAUSED
