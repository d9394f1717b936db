"""A bus on a real JetStream; every test uses subjects of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from todoku.bus.connection import Bus


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    connection = await Bus.connect(nats_url, name="test-bus", wait_seconds=10)
    await connection.declare()
    yield connection
    await connection.close()


@pytest.fixture
def run() -> str:
    """Give a subject token that nobody else uses."""
    return uuid4().hex
