"""A bus with an inventory of a project's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from tests.integration.credentials.pebble import Pebble, free_port, running

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET, OWNERS_BUCKET, SOURCES_BUCKET
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.cipher import SecretCipher, new_key
from todoku.credentials.inventory import CredentialBook
from todoku.kernel.clock import SystemClock

KEY = new_key()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, name="test-credentials")
    await bus.declare()
    yield bus
    for name in (CREDENTIALS_BUCKET, SOURCES_BUCKET, OWNERS_BUCKET):
        bucket = bus.bucket(name)
        for key in await bucket.keys():
            await bucket.delete(key)
    await bus.close()


@pytest.fixture
def project() -> str:
    return f"group-{uuid4().hex[:12]}"


@pytest.fixture
def book(bus: Bus) -> CredentialBook:
    return CredentialBook(bus, SecretCipher([KEY]), SystemClock())


@pytest.fixture
async def shelf(bus: Bus) -> ChallengeShelf:
    return ChallengeShelf(bus, SystemClock())


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble"), free_port()) as authority:
        yield authority
