"""Limits of the door: each puts mails off and costs none, which a client that comes again shows."""

from __future__ import annotations

import asyncio
import ipaddress
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from todoku.kernel.clock import VirtualClock
from todoku.mail.smtp_dialogue import DialogueLimits
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.smtp import DoorLimits, SmtpDoor

if TYPE_CHECKING:
    from tests.integration.smtp.conftest import House

DOMAIN = "in.todoku.example"
OpenDoor = Callable[[DoorLimits], AbstractAsyncContextManager[tuple[SmtpDoor, int]]]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def open_door(house: House, clock: VirtualClock) -> OpenDoor:
    """Make doors whose time is the test's."""

    @asynccontextmanager
    async def make(limits: DoorLimits) -> AsyncIterator[tuple[SmtpDoor, int]]:
        door = SmtpDoor(ArrivalWriter(house.vault, house.bus, clock), house.routes, DOMAIN, limits)
        port = await door.start("127.0.0.1", 0)
        try:
            yield door, port
        finally:
            await door.stop()

    return make


def send_until_kept(port: int, address: str, mails: list[bytes], come_again: Callable[[], None]) -> int:
    """Send like an honest mail server: what is put off stays in its queue. Returns how often it had to come again."""
    queue, returns = list(mails), 0
    while queue:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                while queue:
                    client.sendmail("yoyaku@site.example", [address], queue[0])
                    queue.pop(0)
        except smtplib.SMTPResponseException as error:
            if error.smtp_code >= 500:  # refused for good: an honest client would bounce the mail
                raise
        except smtplib.SMTPRecipientsRefused as error:
            if any(code >= 500 for code, _ in error.recipients.values()):
                raise
        except smtplib.SMTPServerDisconnected:
            pass
        if queue:
            returns += 1
            assert returns < 500, "an honest client makes no progress"
            come_again()
    return returns


def some_mails(count: int) -> list[bytes]:
    return [b"Subject: %d\r\n\r\nseven o'clock\r\n" % number for number in range(count)]


@pytest.mark.parametrize(
    ("limits", "returns"),
    [
        (DoorLimits(max_mails_per_connection=3), 3),
        (DoorLimits(max_commands_per_connection=10), 5),
        (DoorLimits(max_mails_per_connection=1, new_connections_per_minute=6, new_connections_burst=2), 20),
    ],
)
async def test_a_limit_costs_an_honest_client_time_and_no_mail(
    house: House, clock: VirtualClock, open_door: OpenDoor, limits: DoorLimits, returns: int
) -> None:
    mails = some_mails(12)
    async with open_door(limits) as (_, port):
        came_again = await asyncio.to_thread(send_until_kept, port, house.address, mails, lambda: clock.advance(5.0))
    assert await house.contents() == mails
    assert 3 <= came_again <= returns


async def test_mails_of_a_trusted_network_are_not_counted(house: House, open_door: OpenDoor) -> None:
    limits = DoorLimits(
        max_mails_per_connection=1,
        max_commands_per_connection=2,
        max_connections=0,
        max_connections_per_host=0,
        new_connections_burst=0,
        trusted_networks=LOOPBACK,
    )
    mails = some_mails(5)
    async with open_door(limits) as (_, port):
        assert await asyncio.to_thread(send_until_kept, port, house.address, mails, lambda: None) == 0
    assert await house.contents() == mails


async def test_too_fast_a_client_hears_421_and_is_let_in_later(clock: VirtualClock, open_door: OpenDoor) -> None:
    limits = DoorLimits(new_connections_per_minute=60, new_connections_burst=2)
    async with open_door(limits) as (_, port):
        greetings = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            greetings.append(await reader.readline())
            writer.close()
        assert [greeting[:4] for greeting in greetings] == [b"220 ", b"220 ", b"421 "]
        assert b"421 4.7.0" in greetings[2]
        clock.advance(1.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 ")
        writer.close()


async def test_recipients_beyond_the_limit_are_left_to_the_next_mail(house: House, open_door: OpenDoor) -> None:
    limits = DoorLimits(dialogue=DialogueLimits(max_recipients=2))
    local_part = house.address.partition("@")[0]
    wanted = [f"{local_part}+{number}@{DOMAIN}" for number in range(5)]
    left, mails = list(wanted), 0

    def send(recipients: list[str]) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            return client.sendmail("yoyaku@site.example", recipients, b"Subject: many\r\n\r\n%d\r\n" % mails)

    async with open_door(limits) as (_, port):
        while left:
            refused = await asyncio.to_thread(send, left)
            assert {code for code, _ in refused.values()} <= {452}
            left, mails = list(refused), mails + 1
    assert mails == 3
    assert len(await house.arrivals()) == 3


SILENT = [
    (b"", 300.0),
    (b"EHLO c\r\n", 300.0),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\n", 300.0),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nDATA\r\nhalf", 180.0),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nBDAT 4\r\nhalf", 300.0),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nBDAT 40\r\nhalf", 300.0),
]


@pytest.mark.parametrize(("said", "seconds"), SILENT)
async def test_silence_ends_after_the_time_of_its_state(
    house: House, clock: VirtualClock, open_door: OpenDoor, said: bytes, seconds: float
) -> None:
    async with open_door(DoorLimits()) as (door, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((said % house.address.encode() if b"%s" in said else said) + b"")
        await reader.readline()
        for command in said.split(b"\r\n")[:-1]:
            while not command.startswith(b"BDAT 40") and (await reader.readline())[3:4] == b"-":
                continue
        clock.advance(seconds)
        door.sweep()
        clock.advance(0.5)
        door.sweep()
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"421 4.4.2")
        writer.close()
    assert await house.arrivals() == []


DRIPS = [
    (b"", b"x"),
    (b"EHLO c\r\n", b"NOOP\r\n"),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nDATA\r\n", b"x"),
    (b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nBDAT 100000\r\n", b"x"),
]


@pytest.mark.parametrize(("said", "drop"), DRIPS)
async def test_who_drips_octets_cannot_hold_a_place_for_ever(
    house: House, clock: VirtualClock, open_door: OpenDoor, said: bytes, drop: bytes
) -> None:
    limits = DoorLimits(max_connections=1)
    async with open_door(limits) as (door, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said % house.address.encode() if b"%s" in said else said)
        drips = 0
        with capture_logs() as logs:
            while not (cut := [entry for entry in logs if entry["event"] == "smtp.cut_off"]):
                writer.write(drop)
                drips += 1
                assert drips < 100, "the place is held for ever"
                for _ in range(20):  # let the drop reach the door
                    await asyncio.sleep(0)
                clock.advance(100.0)
                door.sweep()
        assert "421 4.4.2 too long for one mail" in cut[0]["reply"]
        assert drips == 19
        writer.close()
        answer = await asyncio.to_thread(send_until_kept, port, house.address, some_mails(1), lambda: None)
        assert answer <= 1
    assert len(await house.arrivals()) == 1


async def test_an_honest_client_that_sends_for_hours_is_not_cut_off(
    house: House, clock: VirtualClock, open_door: OpenDoor
) -> None:
    async with open_door(DoorLimits()) as (door, port):

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                for raw in some_mails(30):
                    client.sendmail("yoyaku@site.example", [house.address], raw)
                    clock.advance(290.0)

        sending = asyncio.create_task(asyncio.to_thread(send))
        while not sending.done():
            door.sweep()
            await asyncio.sleep(0.002)
        await sending
    assert await house.contents() == some_mails(30)


async def test_a_client_that_never_reads_its_good_bye_gives_its_place_back(
    clock: VirtualClock, open_door: OpenDoor
) -> None:
    limits = DoorLimits(max_connections=1, dialogue=DialogueLimits(max_errors=10**9, max_idle_commands=10**9))
    async with open_door(limits) as (door, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"HELP\r\n" * 2_000_000)
        for _ in range(60):
            clock.advance(100.0)
            door.sweep()
            await asyncio.sleep(0.01)
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await other_reader.readline()).startswith(b"220 ")
        other_writer.close()
        writer.transport.abort()


async def test_plus_addresses_reach_the_same_owner(house: House) -> None:
    local_part = house.address.partition("@")[0]

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", house.port, timeout=20) as client:
            for extension in ("+tabelog", "+a+b", "+", "+" + "x" * 20):
                client.sendmail("a@b.example", [f"{local_part}{extension}@{DOMAIN}"], extension.encode() + b"\r\n")

    await asyncio.to_thread(send)
    assert [arrival.shop_code for arrival in await house.arrivals()] == ["honten"] * 4
