"""IMAP against a real Dovecot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.integration.sources.conftest import Intake
from tests.integration.sources.dovecot import Address, Dovecot
from tests.integration.sources.imap_bench import ImapBench, password_of

from todoku.kernel.clock import SystemClock
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.conformance import NotedKeyring, check_logins, check_source
from todoku.sources.errors import CannotLook, Cause, MailVanished
from todoku.sources.imap import ImapSource
from todoku.sources.tls import Encryption
from todoku.sources.types import Fetch


@pytest.fixture(scope="module")
def dovecot(open_folder: Callable[[], Path]) -> Iterator[Dovecot]:
    server = Dovecot.started(open_folder)
    yield server
    server.stop()


@pytest.fixture
async def bench(dovecot: Dovecot) -> AsyncIterator[ImapBench]:
    made = ImapBench(dovecot)
    yield made
    await made.close()


async def _keys(source: ImapSource) -> list[str]:
    return [one.key async for one in source.list_mails()]


async def test_a_folder_does_what_sources_do(bench: ImapBench) -> None:
    await check_source(bench)


async def test_credentials_are_told_apart(bench: ImapBench) -> None:
    await check_logins(bench)


async def test_looking_and_fetching_leaves_no_trace(bench: ImapBench) -> None:
    file = bench.server.deliver(bench.user, b"Subject: a\r\n\r\nx\r\n")
    source = bench.open()
    (key,) = await _keys(source)
    await source.fetch(key)
    await source.close()
    found = list(file.parent.parent.glob("[cn]*/1*"))
    assert [one.name.partition(":2,")[2] for one in found] == [""], "a flag was set"


async def test_what_somebody_has_read_is_fetched_like_the_rest(bench: ImapBench) -> None:
    """FreeScout and paperless-ngx look for unread mail: what a person opened first never comes."""
    file = bench.server.deliver(bench.user, b"Subject: read\r\n\r\n")
    file.rename(file.parent.parent / "cur" / f"{file.name}:2,S")
    source = bench.open()
    (key,) = await _keys(source)
    assert await source.fetch(key) == b"Subject: read\r\n\r\n"


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
    bench: ImapBench, address: Address, words: str, encryption: Encryption
) -> None:
    port = bench.server.imaps if encryption is Encryption.TLS else bench.server.imap
    keyring = NotedKeyring([password_of(bench.user)])
    settings = msgspec.structs.replace(bench.settings, host=address, encryption=encryption, port=port)
    with pytest.raises(CannotLook, match=words) as caught:
        await _keys(ImapSource(settings, keyring, SystemClock()))
    assert caught.value.cause is Cause.CREDENTIAL
    assert keyring.refusals == [], "our own credential is not to blame"


async def test_a_server_of_an_authority_that_nobody_knows_is_not_believed(bench: ImapBench) -> None:
    settings = msgspec.structs.replace(bench.settings, ca_pem="")
    with pytest.raises(CannotLook, match=r"unable to get local issuer certificate|self-signed") as caught:
        await _keys(ImapSource(settings, NotedKeyring([password_of(bench.user)]), SystemClock()))
    assert caught.value.cause is Cause.CREDENTIAL


async def test_starttls_encrypts_before_anything_is_said(bench: ImapBench) -> None:
    await bench.deliver(b"Subject: a\r\n\r\nx\r\n")
    settings = msgspec.structs.replace(
        bench.settings, host=Address.GOOD, encryption=Encryption.STARTTLS, port=bench.server.imap
    )
    source = ImapSource(settings, NotedKeyring([password_of(bench.user)]), SystemClock())
    (key,) = await _keys(source)
    assert await source.fetch(key) == b"Subject: a\r\n\r\nx\r\n"
    await source.close()


async def test_tls_at_a_port_that_speaks_in_clear_is_said(bench: ImapBench) -> None:
    settings = msgspec.structs.replace(bench.settings, port=bench.server.imap)
    with pytest.raises(CannotLook, match="does not speak TLS") as caught:
        await _keys(ImapSource(settings, NotedKeyring([password_of(bench.user)]), SystemClock()))
    assert caught.value.cause is Cause.PROTOCOL


async def test_a_folder_with_a_japanese_name(bench: ImapBench) -> None:
    bench.server.deliver(bench.user, b"Subject: a\r\n\r\n", ".&Toh9BGXlZyyKng-")
    source = bench.in_clear(folder="予約日本語")
    (key,) = await _keys(source)
    assert await source.fetch(key) == b"Subject: a\r\n\r\n"


async def test_a_folder_that_is_not_there_is_said_and_found_when_it_comes(bench: ImapBench) -> None:
    await bench.deliver(b"Subject: elsewhere\r\n\r\n")
    source = bench.in_clear(folder="予約")
    with pytest.raises(CannotLook, match="there is no folder 予約") as caught:
        await _keys(source)
    assert caught.value.cause is Cause.MISSING
    bench.server.deliver(bench.user, b"Subject: a\r\n\r\n", ".&Toh9BA-")
    assert len(await _keys(source)) == 1


async def test_folders_of_one_user_never_share_a_key(bench: ImapBench) -> None:
    await bench.deliver(b"Subject: a\r\n\r\n")
    bench.server.deliver(bench.user, b"Subject: b\r\n\r\n", ".b")
    assert not set(await _keys(bench.in_clear())) & set(await _keys(bench.in_clear(folder="b")))


async def test_a_folder_that_is_numbered_anew_has_new_keys(bench: ImapBench) -> None:
    for number in range(3):
        await bench.deliver(f"Subject: {number}\r\n\r\n".encode())
    source = bench.open()
    before = await _keys(source)
    await source.close()
    box = bench.server.maildir(bench.user)
    numbers = (box / "dovecot-uidlist").read_text()
    validity = before[0].partition(".")[0]
    (box / "dovecot-uidlist").write_text(numbers.replace(f"V{validity}", f"V{int(validity) + 1}"))
    for index in box.glob("dovecot.index*"):
        index.unlink()
    after = await _keys(source)
    assert len(after) == 3
    assert not set(before) & set(after)
    with pytest.raises(MailVanished):
        await source.fetch(before[0])
    assert {await source.fetch(key) for key in after} == {f"Subject: {n}\r\n\r\n".encode() for n in range(3)}


async def test_of_many_fetched_side_by_side_only_what_was_removed_is_gone(bench: ImapBench) -> None:
    files = [bench.server.deliver(bench.user, f"Subject: {number}\r\n\r\n".encode()) for number in range(12)]
    source = bench.open()
    keys = sorted(await _keys(source), key=lambda key: int(key.split(".")[1]))
    for file in files[::3]:
        for place in file.parent.parent.glob(f"[cn]*/{file.name}*"):
            place.unlink()
    results = await asyncio.gather(*(source.fetch(key) for key in keys), return_exceptions=True)
    kept = [result for result in results if isinstance(result, bytes)]
    assert len(kept) == 8
    assert set(kept).isdisjoint({f"Subject: {number}\r\n\r\n".encode() for number in (0, 3, 6, 9)})
    assert [type(result) for result in results if not isinstance(result, bytes)] == [MailVanished] * 4


async def test_mails_with_no_message_id_or_the_same_one_arrive_all_once(intake: Intake, bench: ImapBench) -> None:
    """FreeScout stops at the first mail with an empty Message-ID, or takes it for fetched."""
    for number in range(20):
        message_id = "" if number < 10 else "<same@example.jp>"
        await bench.deliver(f"Message-ID: {message_id}\r\nSubject: {number}\r\n\r\n".encode())
    place = Place(intake.project, "imap-ginza")
    for expected in (20, 0):
        keys = await ArrivedKeys.load(intake.bus, place.project_id, place.source)
        look = await Collector(place, bench.open(), intake.writer, keys).look()
        assert (look.outcome, look.listed, look.arrived) == (Fetch.FETCHED, 20, expected)
    assert len({one.sha256 for one in await intake.arrivals()}) == 20


async def test_a_server_that_is_killed_and_started_again(intake: Intake, bench: ImapBench) -> None:
    await bench.deliver(b"Subject: a\r\n\r\n")
    place = Place(intake.project, "imap-ginza")
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


async def test_a_hundred_thousand_mails_are_listed_in_bounded_memory(bench: ImapBench) -> None:
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
    assert peak_bytes - before_bytes < 28 * 1024 * 1024
