"""The SMTP door with real clients, a real bus and a real vault."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET, UNROUTED_PROJECT
from todoku.kernel.clock import SystemClock
from todoku.mail.smtp_dialogue import DialogueLimits
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import DoorLimits, SmtpDoor
from todoku.sources.types import Route
from todoku.vault import open_vault

if TYPE_CHECKING:
    from tests.integration.smtp.conftest import House

DOMAIN = "in.todoku.example"
MAIL_TEXT = b"From: <yoyaku@site.example>\r\nSubject: =?ISO-2022-JP?B?GyRCTT1McxsoQg==?=\r\n\r\n\x1b$BM=Ls\x1b(B\r\n"


async def smtp(port: int, act: Callable[[smtplib.SMTP], object]) -> object:
    """Run stdlib's client in a thread."""

    def run() -> object:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            return act(client)

    return await asyncio.to_thread(run)


async def send(port: int, rcpt_to: str) -> None:
    """Send one mail to one recipient."""
    await smtp(port, lambda client: client.sendmail("a@b.example", [rcpt_to], MAIL_TEXT))


async def talk(port: int, *pieces: bytes) -> bytes:
    """Write the pieces, end the writing side, and return all that is answered until the door closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fails after 10 s."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition never held")


def envelope(rcpt_to: str, hello: bytes = b"EHLO c") -> bytes:
    return hello + b"\r\nMAIL FROM:<s@site.example>\r\nRCPT TO:<" + rcpt_to.encode() + b">\r\nDATA\r\n"


async def test_mail_is_in_vault_and_on_the_bus_when_250_comes(house: House) -> None:
    await smtp(house.port, lambda client: client.sendmail("yoyaku@site.example", [house.address], MAIL_TEXT))
    (arrival,) = await house.arrivals()
    assert (arrival.source, arrival.mail_from, arrival.rcpt_to) == ("smtp", "yoyaku@site.example", house.address)
    assert (arrival.shop_code, arrival.site, arrival.size_bytes) == ("honten", "tabelog", len(MAIL_TEXT))
    assert await house.vault.get(arrival.vault_key) == MAIL_TEXT


async def test_address_is_known_in_any_case_and_with_an_extension(house: House) -> None:
    local_part = house.address.partition("@")[0]
    spelled = [f"{local_part.upper()}@{DOMAIN.upper()}", f"{local_part}+shinjuku@{DOMAIN}"]
    for rcpt_to in spelled:
        await send(house.port, rcpt_to)
    assert [arrival.rcpt_to for arrival in await house.arrivals()] == spelled


async def test_two_spellings_of_one_address_are_one_arrival(house: House) -> None:
    local_part = house.address.partition("@")[0]
    both = [house.address, f"{local_part}+x@{DOMAIN}"]
    await smtp(house.port, lambda client: client.sendmail("a@b.example", both, MAIL_TEXT))
    assert len(await house.arrivals()) == 1


async def test_mail_to_two_addresses_arrives_at_both(house: House) -> None:
    other = f"r-{uuid4().hex}"
    addresses = house.bus.bucket(ADDRESSES_BUCKET)
    await addresses.put(other, msgspec.msgpack.encode(Route(project_id=house.project, shop_code="ekimae")))
    await eventually(lambda: house.routes.resolve(other) is not None)
    try:
        both = [house.address, f"{other}@{DOMAIN}"]
        await smtp(house.port, lambda client: client.sendmail("a@b.example", both, MAIL_TEXT))
        assert {arrival.shop_code for arrival in await house.arrivals()} == {"honten", "ekimae"}
    finally:
        await addresses.delete(other)


async def test_unknown_address_of_our_domain_is_kept_not_bounced(house: House) -> None:
    unknown = f"nobody-{uuid4().hex}@{DOMAIN}"
    await smtp(house.port, lambda client: client.sendmail("a@b.example", [unknown], MAIL_TEXT))
    found = [arrival for arrival in await house.arrivals(UNROUTED_PROJECT) if arrival.rcpt_to == unknown]
    assert len(found) == 1
    assert await house.vault.get(found[0].vault_key) == MAIL_TEXT


@pytest.mark.parametrize(
    "rcpt_to",
    ["someone@elsewhere.example", f"a@sub.{DOMAIN}", f"@{DOMAIN}", "nodomain", f"a%elsewhere.example@x{DOMAIN}"],
)
async def test_foreign_domain_is_refused_for_good(house: House, rcpt_to: str) -> None:
    assert b"550 5.7.1" in await talk(house.port, envelope(rcpt_to))
    assert await house.arrivals() == []


async def test_postmaster_without_a_domain_is_taken(house: House) -> None:
    marker = uuid4().bytes
    answer = await talk(house.port, envelope("Postmaster") + marker.hex().encode() + b"\r\n.\r\nQUIT\r\n")
    assert b"250 2.0.0 kept as" in answer
    sha256 = hashlib.sha256(marker.hex().encode() + b"\r\n").hexdigest()
    assert [a.rcpt_to for a in await house.arrivals(UNROUTED_PROJECT) if a.sha256 == sha256] == ["Postmaster"]


async def test_oversized_mail_is_refused_and_the_connection_goes_on(house: House) -> None:
    def act(client: smtplib.SMTP) -> int:
        client.ehlo()
        assert client.esmtp_features["size"] == "4000000"
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("a@b.example", [house.address], b"x" * 4_100_000)
        client.sendmail("a@b.example", [house.address], MAIL_TEXT)
        return refused.value.smtp_code

    assert await smtp(house.port, act) == 552
    answer = await talk(house.port, envelope(house.address) + b"y\r\n" * 1_400_000 + b".\r\nQUIT\r\n")
    assert b"552 5.3.4" in answer
    assert await house.contents() == [MAIL_TEXT]


async def test_odd_mails_are_kept_byte_for_byte(house: House) -> None:
    odd = [
        b"",
        b"\x00\x00\xff\xfe no headers \x80\r\n",
        b"".join(b"X-Header-%d: %s\r\n" % (number, b"h" * 180) for number in range(10_000)) + b"\r\nsmall\r\n",
        b"Subject: dots\r\n\r\n..\r\n.hidden\r\n...\r\n",
        b"Subject: bare\r\n\r\na\nb\rc\n.\nd\r\n",
    ]
    assert len(odd[2]) > 1_900_000
    for raw in odd:
        stuffed = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]
        answer = await talk(house.port, envelope(house.address), stuffed, b".\r\nQUIT\r\n")
        assert b"250 2.0.0 kept as" in answer
    assert await house.contents() == odd


async def test_rubbish_harms_nobody(house: House) -> None:
    for rubbish in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 100_000,
        b"\n" * 50,
    ):
        assert (await talk(house.port, rubbish)).startswith(b"220 ")
    await smtp(house.port, lambda client: client.sendmail("a@b.example", [house.address], MAIL_TEXT))
    assert await house.contents() == [MAIL_TEXT]


async def test_pipelined_mails_of_one_connection_all_arrive_in_order(house: House) -> None:
    count = 40
    mails = b"".join(
        envelope(house.address, b"RSET") + b"Subject: %d\r\n\r\n" % number + b"p" * 20_000 + b"\r\n.\r\n"
        for number in range(count)
    )
    answer = await talk(house.port, b"EHLO c\r\n" + mails + b"QUIT\r\n")
    assert answer.count(b"250 2.0.0 kept as") == count
    assert [raw.split(b"\r\n")[0] for raw in await house.contents()] == [b"Subject: %d" % n for n in range(count)]


async def test_lmtp_answers_for_each_recipient(house: House) -> None:
    unknown = f"nobody-{uuid4().hex}@{DOMAIN}"
    answer = await talk(
        house.lmtp_port,
        b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<" + house.address.encode() + b">\r\nRCPT TO:<x@elsewhere.example>\r\n"
        b"RCPT TO:<" + unknown.encode() + b">\r\nDATA\r\n" + MAIL_TEXT + b".\r\nQUIT\r\n",
    )
    codes = [line[:3] for line in answer.splitlines() if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"550", b"250", b"354", b"250", b"250", b"221"]
    (arrival,) = await house.arrivals()
    assert (arrival.source, arrival.mail_from) == ("lmtp", "")


async def test_mail_is_put_off_while_addresses_are_not_loaded(house: House) -> None:
    door = SmtpDoor(house.writer, RouteBook(house.bus), mail_domain=DOMAIN)
    port = await door.start("127.0.0.1", 0)
    answer = await talk(port, envelope(house.address) + b"QUIT\r\n")
    await door.stop()
    assert b"451 4.3.0" in answer
    assert b"250 2.1.5" not in answer


async def test_vault_that_is_gone_means_451_and_no_arrival(house: House, tmp_path: Path) -> None:
    vault = open_vault("", tmp_path / "lost")
    door = SmtpDoor(ArrivalWriter(vault, house.bus, SystemClock()), house.routes, mail_domain=DOMAIN)
    port = await door.start("127.0.0.1", 0)
    shutil.rmtree(tmp_path / "lost")
    (tmp_path / "lost").write_bytes(b"a file where the folder was")
    answer = await talk(port, envelope(house.address) + MAIL_TEXT + b".\r\nQUIT\r\n")
    await door.stop()
    await vault.close()
    assert b"451 4.3.0" in answer
    assert await house.arrivals() == []


async def test_bus_that_is_gone_means_451_and_the_next_try_arrives(house: House, nats_url: str) -> None:
    lost = await Bus.connect(nats_url, name="lost")
    await lost.close()
    door = SmtpDoor(ArrivalWriter(house.vault, lost, SystemClock()), house.routes, mail_domain=DOMAIN)
    port = await door.start("127.0.0.1", 0)
    answer = await talk(port, envelope(house.address) + MAIL_TEXT + b".\r\nQUIT\r\n")
    await door.stop()
    assert b"451 4.3.0" in answer
    assert await house.arrivals() == []
    await smtp(house.port, lambda client: client.sendmail("a@b.example", [house.address], MAIL_TEXT))
    assert await house.contents() == [MAIL_TEXT]


async def test_stop_finishes_the_mail_in_hand_and_turns_the_next_away(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", house.port)
    await idle_reader.readline()
    writer.write(envelope(house.address) + b"first half ")
    await writer.drain()
    while not (await reader.readline()).startswith(b"354"):
        continue
    stopping = asyncio.create_task(house.door.stop())
    assert (await idle_reader.readline()).startswith(b"421 ")
    writer.write(b"second half\r\n.\r\n")
    assert (await reader.readline()).startswith(b"250 2.0.0 kept as")
    assert (await reader.readline()).startswith(b"421 4.3.2")
    await asyncio.wait_for(stopping, 5)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", house.port)
    assert await house.contents() == [b"first half second half\r\n"]
    writer.close()
    idle_writer.close()


async def test_mail_is_kept_when_its_client_goes_away_after_the_dot(house: House) -> None:
    client = socket.create_connection(("127.0.0.1", house.port))
    client.sendall(envelope(house.address) + MAIL_TEXT + b".\r\n")
    client.close()
    for _ in range(500):
        if await house.arrivals():
            break
        await asyncio.sleep(0.02)
    assert await house.contents() == [MAIL_TEXT]


async def test_half_a_mail_is_no_mail(house: House) -> None:
    await talk(house.port, envelope(house.address) + MAIL_TEXT)
    assert await house.arrivals() == []


async def test_connections_beyond_the_limit_are_put_off(house: House) -> None:
    limits = DoorLimits(max_connections=3, max_connections_per_host=2, stop_seconds=1.0)
    door = SmtpDoor(house.writer, house.routes, mail_domain=DOMAIN, limits=limits)
    port = await door.start("127.0.0.1", 0)
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    greetings = [await reader.readline() for reader, _ in streams]
    assert [greeting[:3] for greeting in greetings] == [b"220", b"220", b"421"]
    streams[0][1].close()
    async with asyncio.timeout(5):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            greeting = await reader.readline()
            writer.close()
            if greeting.startswith(b"220"):
                break
    for _, writer in streams:
        writer.close()
    await door.stop()


async def test_too_much_mail_at_once_is_put_off_not_swallowed(house: House) -> None:
    limits = DoorLimits(dialogue=DialogueLimits(max_mail_bytes=1_000_000), max_held_bytes=300_000)
    door = SmtpDoor(house.writer, house.routes, mail_domain=DOMAIN, limits=limits)
    port = await door.start("127.0.0.1", 0)
    answer = await talk(
        port,
        envelope(house.address),
        b"z" * 600_000 + b"\r\n.\r\n",
        envelope(house.address, b"RSET"),
        MAIL_TEXT + b".\r\nQUIT\r\n",
    )
    await door.stop()
    assert b"452 4.3.1" in answer
    assert await house.contents() == [MAIL_TEXT]
