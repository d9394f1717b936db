"""A NATS of our own, because a sender acts on every run it sees; a small world around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from todoku.bus.connection import Bus
from todoku.engines.nats import EmbeddedNats


@pytest.fixture(scope="session")
def delivery_nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = EmbeddedNats(tmp_path_factory.mktemp("delivery-nats"))
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture
async def bus(delivery_nats_url: str) -> AsyncIterator[Bus]:
    connected = await Bus.connect(delivery_nats_url, name="delivery-test")
    await connected.declare()
    for key in await connected.bucket("runs").keys():
        await connected.bucket("runs").delete(key)
    for key in await connected.bucket("stops").keys():
        await connected.bucket("stops").delete(key)
    yield connected
    await connected.close()


@pytest.fixture
def answers_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "answers"
    folder.mkdir()
    return folder
