"""kill -9 the door at random moments under load: what was answered with 250 is there, once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET, MAIL
from todoku.sources.types import Arrival
from todoku.vault import open_vault

KILLS = 6
CLIENTS = 8


class Ledger:
    """What the clients know: which mails were answered with 250, which were sent to their end without an answer."""

    def __init__(self) -> None:
        self.answered: set[int] = set()
        self.open: set[int] = set()
        self._next = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def answer(self, number: int) -> None:
        """Note a 250."""
        self.answered.add(number)
        self.open.discard(number)
        if len(self.answered) >= self._wanted:
            self._reached.set()

    async def until_more(self, count: int) -> None:
        """Return when that many more mails were answered."""
        self._wanted = len(self.answered) + count
        self._reached.clear()
        await self._reached.wait()

    def number(self) -> int:
        """Return a number that no other mail has."""
        self._next += 1
        return self._next


async def send_for_ever(port: int, address: str, ledger: Ledger) -> None:
    """Send one mail after the other, never the same twice; connect again whenever the door dies."""
    envelope = f"MAIL FROM:<s@site.example>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            writer.write(b"EHLO c\r\n")
            while not (await _line(reader)).startswith(b"250 "):
                continue
            while True:
                number = ledger.number()
                writer.write(envelope)
                while not (await _line(reader)).startswith(b"354"):
                    continue
                ledger.open.add(number)
                writer.write(b"Subject: %d\r\n\r\n" % number + b"x" * 3_000 + b"\r\n.\r\n")
                if (await _line(reader)).startswith(b"250 "):
                    ledger.answer(number)
        except OSError:
            await asyncio.sleep(0.02)
        finally:
            writer.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line:
        raise ConnectionResetError("the door is gone")
    return line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(180)
async def test_every_250_is_one_arrival_and_its_bytes(nats_url: str, tmp_path: Path) -> None:
    project, local_part, port = f"kill-{uuid4().hex[:12]}", f"r-{uuid4().hex}", free_port()
    script = Path(__file__).with_name("door_process.py")
    source = Path(__file__).parents[3] / "src"
    ledger = Ledger()
    clients = [
        asyncio.create_task(send_for_ever(port, f"{local_part}@in.todoku.example", ledger)) for _ in range(CLIENTS)
    ]
    try:
        for _ in range(KILLS):
            door = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                nats_url,
                str(tmp_path / "vault"),
                local_part,
                project,
                str(port),
                env={**os.environ, "PYTHONPATH": str(source)},
                stdout=asyncio.subprocess.PIPE,
            )
            assert door.stdout is not None
            while await door.stdout.readline() != b"ready\n":
                assert door.returncode is None, "the door did not start"
            drain = asyncio.create_task(door.stdout.read())
            await ledger.until_more(20)
            await asyncio.sleep(random.uniform(0.0, 0.4))
            door.send_signal(signal.SIGKILL)
            await door.wait()
            await drain
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    await _compare(nats_url, tmp_path / "vault", project, ledger)
    bus = await Bus.connect(nats_url, name="after-kill")
    await bus.purge(MAIL, f"mail.{project}.*")
    await bus.bucket(ADDRESSES_BUCKET).delete(local_part)
    await bus.close()


async def _compare(nats_url: str, folder: Path, project: str, ledger: Ledger) -> None:
    bus = await Bus.connect(nats_url, name="compare")
    vault = open_vault("", folder)
    arrived: Counter[int] = Counter()
    async for message in bus.messages(MAIL, f"mail.{project}.*"):
        raw = await vault.get(msgspec.msgpack.decode(message.payload, type=Arrival).vault_key)
        assert len(raw) > 3_000
        arrived[int(raw.split(b"\r\n")[0].removeprefix(b"Subject: "))] += 1
    await vault.close()
    await bus.close()
    assert len(ledger.answered) > KILLS * 20
    assert ledger.answered - set(arrived) == set(), "lost after 250"
    assert [number for number, times in arrived.items() if times > 1] == [], "arrived twice"
    assert set(arrived) - ledger.answered <= ledger.open, "arrived without having been sent to its end"
