"""STARTTLS at the door: real TLS clients, and clients that misbehave on purpose (RFC 3207)."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
import uvloop
from structlog.testing import capture_logs
from tests.integration.smtp.certificates import CertificateFiles

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET, MAIL
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import DoorLimits, ServedCertificate, SmtpDoor
from todoku.sources.smtp.certificate import CHECK_SECONDS
from todoku.sources.types import Arrival, Route
from todoku.vault import open_vault

if TYPE_CHECKING:
    from tests.integration.smtp.conftest import House

DOMAIN = "in.todoku.example"
MAIL_TEXT = b"Subject: secret\r\n\r\nround table at seven\r\n"
HELLO = b"EHLO c.example\r\n"


@dataclass
class TlsDoor:
    """A door that offers TLS. clock: the door's own."""

    house: House
    door: SmtpDoor
    port: int
    lmtp_port: int
    files: CertificateFiles
    clock: VirtualClock

    def client_context(self) -> ssl.SSLContext:
        """Believe in the certificate that is in the file now, and in nothing else."""
        return ssl.create_default_context(cafile=str(self.files.certificate))


@pytest.fixture
async def tls(house: House, tmp_path: Path) -> AsyncIterator[TlsDoor]:
    clock = VirtualClock(SystemClock().now_utc())  # the clients look at the machine's clock, and must agree
    files = CertificateFiles(tmp_path, clock.now_utc())
    files.renew(DOMAIN, days=3650)
    writer = ArrivalWriter(house.vault, house.bus, clock)
    served = ServedCertificate(files.certificate, files.key, clock)
    limits = DoorLimits(handshake_seconds=5.0, stop_seconds=5.0)
    door = SmtpDoor(writer, house.routes, DOMAIN, limits, certificate=served)
    port = await door.start("127.0.0.1", 0)
    lmtp_port = await door.start("127.0.0.1", 0, lmtp=True)
    yield TlsDoor(house, door, port, lmtp_port, files, clock)
    await door.stop()


@dataclass
class Talk:
    """A conversation by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: bytes) -> bytes:
        """Send, and return the whole reply."""
        self.writer.write(line)
        await self.writer.drain()
        return await self.hear()

    async def hear(self) -> bytes:
        """Return one reply, all its lines; b"" when the door has closed."""
        answer = b""
        async with asyncio.timeout(10):
            while True:
                line = await self.reader.readline()
                answer += line
                if line[3:4] != b"-":
                    return answer

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands."""
        await self.writer.start_tls(context, server_hostname="127.0.0.1")


async def open_talk(port: int) -> Talk:
    talk = Talk(*await asyncio.open_connection("127.0.0.1", port))
    assert (await talk.hear()).startswith(b"220 ")
    return talk


def send_encrypted(port: int, context: ssl.SSLContext, rcpt_to: str, lmtp: bool = False) -> str:
    with smtplib.LMTP("127.0.0.1", port) if lmtp else smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo_or_helo_if_needed()
        assert client.has_extn("starttls")
        client.starttls(context=context)
        client.ehlo_or_helo_if_needed()
        assert not client.has_extn("starttls")
        client.sendmail("yoyaku@site.example", [rcpt_to], MAIL_TEXT)
        assert isinstance(client.sock, ssl.SSLSocket)
        return str(client.sock.version())


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_mail_by_tls_arrives(tls: TlsDoor, lmtp: bool, version: ssl.TLSVersion) -> None:
    context = tls.client_context()
    context.maximum_version = version
    port = tls.lmtp_port if lmtp else tls.port
    spoken = await asyncio.to_thread(send_encrypted, port, context, tls.house.address, lmtp)
    assert spoken == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    assert await tls.house.contents() == [MAIL_TEXT]


async def test_a_big_mail_by_tls_arrives_byte_for_byte(tls: TlsDoor) -> None:
    body = b"Subject: big\r\n\r\n" + bytes(range(32, 127)) * 100_000 + b"\r\n"

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", tls.port, timeout=30) as client:
            client.starttls(context=tls.client_context())
            client.sendmail("yoyaku@site.example", [tls.house.address], body)

    await asyncio.to_thread(send)
    assert await tls.house.contents() == [body]


async def test_tls_older_than_1_2_is_refused_and_the_door_goes_on(tls: TlsDoor) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match=r"TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.to_thread(send_encrypted, tls.port, context, tls.house.address)
    await asyncio.to_thread(send_encrypted, tls.port, tls.client_context(), tls.house.address)
    assert len(await tls.house.arrivals()) == 1


async def test_what_a_stranger_pipelines_behind_starttls_is_dropped(tls: TlsDoor) -> None:
    """CVE-2011-0411: a stranger on the way adds commands in the clear, to be obeyed inside TLS."""
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    injected = f"RSET\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<{tls.house.address}>\r\nDATA\r\nx\r\n.\r\n"
    assert (await talk.say(b"STARTTLS\r\n" + injected.encode())).startswith(b"220 ")
    await talk.secure(tls.client_context())
    assert (await talk.say(b"NOOP\r\n")).startswith(b"250 "), "the first reply is to the first encrypted command"
    assert (await talk.say(b"QUIT\r\n")).startswith(b"221 ")
    assert await tls.house.arrivals() == []
    talk.writer.close()


async def test_clear_commands_after_the_220_are_no_handshake(tls: TlsDoor) -> None:
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    assert (await talk.say(b"STARTTLS\r\n")).startswith(b"220 ")
    talk.writer.write(f"MAIL FROM:<evil@b.example>\r\nRCPT TO:<{tls.house.address}>\r\nDATA\r\n".encode())
    answer = await asyncio.wait_for(talk.reader.read(), 10)
    assert b"250" not in answer
    assert b"354" not in answer
    talk.writer.close()


async def test_all_that_was_said_before_is_forgotten(tls: TlsDoor) -> None:
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    await talk.say(b"MAIL FROM:<a@b.example>\r\n")
    await talk.say(b"RCPT TO:<" + tls.house.address.encode() + b">\r\n")
    assert (await talk.say(b"STARTTLS\r\n")).startswith(b"220 ")
    await talk.secure(tls.client_context())
    assert (await talk.say(b"DATA\r\n")).startswith(b"503 ")
    assert (await talk.say(b"MAIL FROM:<a@b.example>\r\n")).startswith(b"503 "), "greet anew (RFC 3207 section 4.2)"
    assert b"STARTTLS" not in await talk.say(HELLO)
    assert (await talk.say(b"MAIL FROM:<a@b.example>\r\n")).startswith(b"250 ")
    talk.writer.close()


async def test_a_second_starttls_is_out_of_order_and_harms_nothing(tls: TlsDoor) -> None:
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    await talk.say(b"STARTTLS\r\n")
    await talk.secure(tls.client_context())
    assert (await talk.say(HELLO)).startswith(b"250")
    assert (await talk.say(b"STARTTLS\r\n")).startswith(b"503 5.5.1")
    assert (await talk.say(b"NOOP\r\n")).startswith(b"250 ")
    talk.writer.close()


async def test_starttls_takes_no_argument(tls: TlsDoor) -> None:
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    assert (await talk.say(b"STARTTLS now\r\n")).startswith(b"501 ")
    assert (await talk.say(b"NOOP\r\n")).startswith(b"250 ")
    talk.writer.close()


async def test_a_client_that_greets_in_its_last_handshake_packet_is_heard(tls: TlsDoor) -> None:
    """Commands that come together with the end of the handshake must neither be lost nor answered in the clear."""
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", tls.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        await reader.readline()
        writer.write(HELLO + b"STARTTLS\r\n")
        while not (await reader.readline()).startswith(b"220 "):
            continue
        done = False
        while not done:
            try:
                client.do_handshake()
                done = True
                client.write(HELLO)
            except ssl.SSLWantReadError:
                pass
            writer.write(outgoing.read())
            if not done:
                incoming.write(await asyncio.wait_for(reader.read(65_536), 10))
        answer = b""
        while b"250 ENHANCEDSTATUSCODES" not in answer:
            try:
                answer += client.read(65_536)
            except ssl.SSLWantReadError:
                more = await asyncio.wait_for(reader.read(65_536), 10)
                assert more, "the door closed"
                incoming.write(more)
        writer.close()


@pytest.mark.parametrize("rubbish", [b"", b"\x16\x03\x01\x00\x05hello", b"\x00" * 4_000, b"EHLO again\r\n"])
async def test_a_failed_handshake_ends_its_own_connection_only(tls: TlsDoor, rubbish: bytes) -> None:
    other = await open_talk(tls.port)
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    await talk.say(b"STARTTLS\r\n")
    talk.writer.write(rubbish)
    talk.writer.write_eof()
    await asyncio.wait_for(talk.reader.read(), 10)
    talk.writer.close()
    assert (await other.say(b"NOOP\r\n")).startswith(b"250 ")
    other.writer.close()
    await asyncio.to_thread(send_encrypted, tls.port, tls.client_context(), tls.house.address)


async def test_a_client_that_never_shakes_hands_gives_its_place_back(house: House, tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path, SystemClock().now_utc())
    files.renew(DOMAIN)
    limits = DoorLimits(handshake_seconds=0.05, max_connections=1)
    served = ServedCertificate(files.certificate, files.key, SystemClock())
    door = SmtpDoor(house.writer, house.routes, DOMAIN, limits, certificate=served)
    port = await door.start("127.0.0.1", 0)
    talk = await open_talk(port)
    await talk.say(HELLO)
    await talk.say(b"STARTTLS\r\n")
    assert await asyncio.wait_for(talk.reader.read(), 10) == b""
    await asyncio.wait_for(_until_let_in(port), 10)
    talk.writer.close()
    await door.stop()


async def _until_let_in(port: int) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        greeting = await reader.readline()
        writer.close()
        if greeting.startswith(b"220"):
            return


async def test_stopping_does_not_wait_for_a_handshake(tls: TlsDoor) -> None:
    talk = await open_talk(tls.port)
    await talk.say(HELLO)
    await talk.say(b"STARTTLS\r\n")
    with capture_logs() as logs:
        await tls.door.stop()
    assert "smtp.stopped_with_mail_in_hand" not in [entry["event"] for entry in logs]
    talk.writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart_and_open_connections_live_on(tls: TlsDoor) -> None:
    old = await open_talk(tls.port)
    await old.say(HELLO)
    await old.say(b"STARTTLS\r\n")
    await old.secure(tls.client_context())
    before = tls.door.certificate_facts()
    assert before is not None
    tls.files.renew(DOMAIN, "mx.todoku.example", days=3650)
    tls.clock.advance(CHECK_SECONDS)
    await asyncio.to_thread(send_encrypted, tls.port, tls.client_context(), tls.house.address)
    after = tls.door.certificate_facts()
    assert after is not None
    assert after.fingerprint != before.fingerprint
    assert "mx.todoku.example" in after.names
    assert (await old.say(HELLO)).startswith(b"250")
    old.writer.close()


async def test_a_broken_renewal_leaves_the_door_as_it_was(tls: TlsDoor) -> None:
    context = tls.client_context()
    tls.door.sweep()
    tls.files.write(tls.files.certificate, b"-----BEGIN CERTIFICATE-----\nhalf")
    tls.clock.advance(CHECK_SECONDS)
    with capture_logs() as logs:
        tls.door.sweep()
    assert [entry["event"] for entry in logs] == ["smtp.certificate_not_reloaded"]
    await asyncio.to_thread(send_encrypted, tls.port, context, tls.house.address)
    assert await tls.house.contents() == [MAIL_TEXT]


async def test_starttls_is_not_offered_without_a_certificate(house: House) -> None:
    talk = await open_talk(house.port)
    assert b"STARTTLS" not in await talk.say(HELLO)
    assert (await talk.say(b"STARTTLS\r\n")).startswith(b"500 ")
    assert house.door.certificate_facts() is None
    talk.writer.close()


async def test_the_clear_stays_open_for_those_who_cannot_encrypt(tls: TlsDoor) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", tls.port, timeout=20) as client:
            client.sendmail("yoyaku@site.example", [tls.house.address], MAIL_TEXT)

    await asyncio.to_thread(send)
    assert await tls.house.contents() == [MAIL_TEXT]


def test_it_works_on_the_loop_that_the_roles_run_on(nats_url: str, tmp_path: Path) -> None:
    """uvloop has its own TLS: what holds for asyncio's has to be seen there too."""
    project, local_part = f"smtp-{uuid4().hex[:12]}", f"r-{uuid4().hex}"

    async def run() -> tuple[list[str], bytes]:
        bus = await Bus.connect(nats_url, name="test-uvloop")
        await bus.declare()
        await bus.bucket(ADDRESSES_BUCKET).put(local_part, msgspec.msgpack.encode(Route(project_id=project)))
        files = CertificateFiles(tmp_path, SystemClock().now_utc())
        files.renew(DOMAIN)
        vault = open_vault("", tmp_path / "vault")
        routes = RouteBook(bus)
        await routes.start()
        await routes.until_ready(10)
        served = ServedCertificate(files.certificate, files.key, SystemClock())
        door = SmtpDoor(ArrivalWriter(vault, bus, SystemClock()), routes, DOMAIN, certificate=served)
        port = await door.start("127.0.0.1", 0)
        context = ssl.create_default_context(cafile=str(files.certificate))
        talk = await open_talk(port)
        await talk.say(HELLO)
        await talk.say(b"STARTTLS\r\nRSET\r\nVRFY x\r\n")
        await talk.secure(context)
        first = await talk.say(b"NOOP\r\n")
        talk.writer.close()
        broken = await open_talk(port)
        await broken.say(HELLO)
        await broken.say(b"STARTTLS\r\n")
        broken.writer.write(b"no handshake at all\r\n")
        await broken.reader.read()
        broken.writer.close()
        gone = await open_talk(port)
        await gone.say(HELLO)
        await gone.say(b"STARTTLS\r\n")
        gone.writer.close()
        waiting = await open_talk(port)
        await waiting.say(HELLO)
        await waiting.say(b"STARTTLS\r\n")
        versions = [await asyncio.to_thread(send_encrypted, port, context, f"{local_part}@{DOMAIN}") for _ in range(3)]
        with capture_logs() as logs:
            await door.stop()
        assert "smtp.stopped_with_mail_in_hand" not in [entry["event"] for entry in logs]
        waiting.writer.close()
        arrived = [one async for one in bus.messages(MAIL, f"mail.{project}.*")]
        raw = {await vault.get(msgspec.msgpack.decode(one.payload, type=Arrival).vault_key) for one in arrived}
        assert (len(arrived), raw) == (3, {MAIL_TEXT})
        await routes.stop()
        await bus.bucket(ADDRESSES_BUCKET).delete(local_part)
        await bus.purge(MAIL, f"mail.{project}.*")
        await bus.close()
        await vault.close()
        return versions, first

    versions, first = uvloop.run(run())
    assert versions == ["TLSv1.3"] * 3
    assert first.startswith(b"250 ")
