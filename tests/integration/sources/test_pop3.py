"""POP3 against a real Dovecot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.integration.sources.conftest import Intake
from tests.integration.sources.dovecot import Address, Dovecot
from tests.integration.sources.imap_bench import password_of, token_of
from tests.integration.sources.pop3_bench import Pop3Bench

from todoku.kernel.clock import SystemClock
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.conformance import NotedKeyring, check_logins, check_source
from todoku.sources.errors import CannotLook, Cause
from todoku.sources.pop3 import Pop3Source
from todoku.sources.tls import Encryption
from todoku.sources.types import Fetch


@pytest.fixture(scope="module")
def dovecot(open_folder: Callable[[], Path]) -> Iterator[Dovecot]:
    server = Dovecot.started(open_folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def locking(open_folder: Callable[[], Path]) -> Iterator[Dovecot]:
    """Return a server that lets one session at a time into a mailbox."""
    server = Dovecot.started(open_folder, extra="pop3_lock_session = yes")
    yield server
    server.stop()


@pytest.fixture
async def bench(dovecot: Dovecot) -> AsyncIterator[Pop3Bench]:
    made = Pop3Bench(dovecot)
    yield made
    await made.close()


async def _keys(source: Pop3Source) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def test_a_mailbox_does_what_sources_do(bench: Pop3Bench) -> None:
    await check_source(bench)


async def test_credentials_are_told_apart(bench: Pop3Bench) -> None:
    await check_logins(bench)


async def test_looking_and_fetching_leaves_no_trace(bench: Pop3Bench) -> None:
    """Neither removed nor marked as read: QUIT, which would do it, is never sent."""
    file = bench.server.deliver(bench.user, b"Subject: a\r\n\r\nx\r\n")
    source = bench.open()
    (key,) = await _keys(source)
    await source.fetch(key)
    await source.close()
    found = list(file.parent.parent.glob("[cn]*/1*"))
    assert [one.name.partition(":2,")[2] for one in found] == [""], "a flag was set"


async def test_a_mailbox_that_is_locked_is_no_refusal(locking: Dovecot) -> None:
    bench = Pop3Bench(locking)
    keyring = NotedKeyring([password_of(bench.user)])
    await bench.deliver(b"Subject: a\r\n\r\nx\r\n")
    first, second = bench.in_clear(), bench.in_clear(keyring)
    (key,) = await _keys(first)
    with pytest.raises(CannotLook) as caught:
        await _keys(second)
    assert caught.value.cause is Cause.UNREACHABLE
    assert keyring.refusals == []
    await first.until_changed(0.0)
    assert await _keys(second) == [key], "who waits must let others in"
    await second.close()
    assert await first.fetch(key) == b"Subject: a\r\n\r\nx\r\n"
    await bench.close()


async def test_a_session_that_nobody_uses_ends_by_itself(locking: Dovecot) -> None:
    bench = Pop3Bench(locking)
    first, second = bench.in_clear(unused_seconds=0.05), bench.in_clear()
    assert await _keys(first) == []
    assert await _keys(second) == [], "Dovecot waits 10 seconds for its lock"
    await bench.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address.EXPIRED, "certificate has expired"),
        (Address.NOT_YET, "not yet valid"),
        (Address.OTHER_NAME, "mismatch"),
    ],
)
@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.STARTTLS])
async def test_a_servers_bad_certificate_is_told_as_what_it_is(
    bench: Pop3Bench, address: Address, words: str, encryption: Encryption
) -> None:
    port = bench.server.pop3s if encryption is Encryption.TLS else bench.server.pop3
    keyring = NotedKeyring([password_of(bench.user)])
    settings = msgspec.structs.replace(bench.settings, host=address, encryption=encryption, port=port)
    with pytest.raises(CannotLook, match=words) as caught:
        await _keys(Pop3Source(settings, keyring, SystemClock()))
    assert caught.value.cause is Cause.CREDENTIAL
    assert keyring.refusals == [], "our own credential is not to blame"


async def test_stls_encrypts_before_anything_is_said(bench: Pop3Bench) -> None:
    await bench.deliver(b"Subject: a\r\n\r\nx\r\n")
    settings = msgspec.structs.replace(
        bench.settings, host=Address.GOOD, encryption=Encryption.STARTTLS, port=bench.server.pop3
    )
    source = Pop3Source(settings, NotedKeyring([password_of(bench.user)]), SystemClock())
    assert len(await _keys(source)) == 1
    await source.close()


async def test_a_token_that_is_longer_than_a_command_may_be_is_sent_after_it(bench: Pop3Bench) -> None:
    from tests.integration.sources.dovecot import token_for

    token = token_for(bench.user)
    assert len(token) > 200
    keyring = NotedKeyring([token_of(bench.user, token)])
    assert await _keys(bench.in_clear(keyring)) == []
    assert keyring.uses == ["token"]


async def test_mails_with_no_message_id_or_the_same_one_arrive_all_once(intake: Intake, bench: Pop3Bench) -> None:
    for number in range(6):
        message_id = "" if number < 3 else "<same@example.jp>"
        await bench.deliver(f"Message-ID: {message_id}\r\nSubject: {number}\r\n\r\n".encode())
    place = Place(intake.project, "pop3-ginza")
    for expected in (6, 0):
        keys = await ArrivedKeys.load(intake.bus, place.project_id, place.source)
        look = await Collector(place, bench.open(), intake.writer, keys).look()
        assert (look.outcome, look.listed, look.arrived) == (Fetch.FETCHED, 6, expected)
    assert len({one.sha256 for one in await intake.arrivals()}) == 6


async def test_a_server_that_is_killed_and_started_again(intake: Intake, bench: Pop3Bench) -> None:
    await bench.deliver(b"Subject: a\r\n\r\n")
    place = Place(intake.project, "pop3-ginza")
    keys = await ArrivedKeys.load(intake.bus, place.project_id, place.source)
    collector = Collector(place, bench.open(), intake.writer, keys)
    assert (await collector.look()).arrived == 1
    bench.server.stop(kill=True)
    look = await collector.look()
    assert (look.outcome, look.listed) == (Fetch.COULD_NOT, None)
    assert look.why.startswith("unreachable: ")
    bench.server.start()
    await bench.deliver(b"Subject: b\r\n\r\n")
    look = await collector.look()
    assert (look.outcome, look.listed, look.arrived) == (Fetch.FETCHED, 2, 1)


async def test_a_hundred_thousand_mails_are_listed_in_bounded_memory(bench: Pop3Bench) -> None:
    bench.server.fill(bench.user, 100_000)
    source = bench.in_clear()
    process = psutil.Process()  # tracemalloc would take ten seconds more
    before_bytes = peak_bytes = process.memory_info().rss
    count = 0
    async for _ in source.list_mails():
        count += 1
        if count % 1_000 == 0:
            peak_bytes = max(peak_bytes, process.memory_info().rss)
    assert count == 100_000
    assert peak_bytes - before_bytes < 80 * 1024 * 1024
