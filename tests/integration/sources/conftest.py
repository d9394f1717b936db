"""A writer on a real bus and a real vault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.kernel.clock import SystemClock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.types import Arrival
from todoku.vault import Vault, open_vault


@dataclass
class Intake:
    """A writer, and what lies behind it."""

    bus: Bus
    vault: Vault
    writer: ArrivalWriter
    project: str

    async def arrivals(self) -> list[Arrival]:
        """Return what is on the MAIL stream for the project, in order."""
        found = self.bus.messages(MAIL, f"mail.{self.project}.*")
        return [msgspec.msgpack.decode(message.payload, type=Arrival) async for message in found]


@pytest.fixture
async def intake(nats_url: str, tmp_path: Path) -> AsyncIterator[Intake]:
    bus = await Bus.connect(nats_url, name="test-sources")
    await bus.declare()
    vault = open_vault("", tmp_path / "vault")
    project = f"files-{uuid4().hex[:12]}"
    yield Intake(bus, vault, ArrivalWriter(vault, bus, SystemClock()), project)
    await bus.purge(MAIL, f"mail.{project}.*")
    await vault.close()
    await bus.close()
