"""A door on a real bus and a real vault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import ADDRESSES_BUCKET, MAIL
from todoku.kernel.clock import SystemClock
from todoku.mail.smtp_dialogue import DialogueLimits
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import DoorLimits, SmtpDoor
from todoku.sources.types import Arrival, Route
from todoku.vault import Vault, open_vault

DOMAIN = "in.todoku.example"
LIMITS = DoorLimits(dialogue=DialogueLimits(max_mail_bytes=4_000_000), stop_seconds=5.0)


@dataclass
class House:
    """What a test needs to knock at the door and to look behind it."""

    bus: Bus
    vault: Vault
    writer: ArrivalWriter
    routes: RouteBook
    door: SmtpDoor
    port: int
    lmtp_port: int
    project: str
    address: str

    async def arrivals(self, project: str | None = None) -> list[Arrival]:
        """Return what is on the MAIL stream for the project, in order."""
        found = self.bus.messages(MAIL, f"mail.{project or self.project}.*")
        return [msgspec.msgpack.decode(message.payload, type=Arrival) async for message in found]

    async def contents(self, project: str | None = None) -> list[bytes]:
        """Return the raw bytes behind those arrivals."""
        return [await self.vault.get(arrival.vault_key) for arrival in await self.arrivals(project)]


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    connected = await Bus.connect(nats_url, name="test-smtp")
    await connected.declare()
    yield connected
    await connected.close()


@pytest.fixture
async def house(bus: Bus, tmp_path: Path) -> AsyncIterator[House]:
    project = f"smtp-{uuid4().hex[:12]}"
    local_part = f"r-{uuid4().hex}"
    addresses = bus.bucket(ADDRESSES_BUCKET)
    await addresses.put(
        local_part, msgspec.msgpack.encode(Route(project_id=project, shop_code="honten", site="tabelog"))
    )
    vault = open_vault("", tmp_path / "vault")
    writer = ArrivalWriter(vault, bus, SystemClock())
    routes = RouteBook(bus)
    await routes.start()
    await routes.until_ready(10)
    door = SmtpDoor(writer, routes, mail_domain=DOMAIN, limits=LIMITS)
    port = await door.start("127.0.0.1", 0)
    lmtp_port = await door.start("127.0.0.1", 0, lmtp=True)
    yield House(bus, vault, writer, routes, door, port, lmtp_port, project, f"{local_part}@{DOMAIN}")
    await door.stop()
    await routes.stop()
    await addresses.delete(local_part)
    await vault.close()
    await bus.purge(MAIL, f"mail.{project}.*")
