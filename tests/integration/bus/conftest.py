"""A bus on a real JetStream, one server and a cluster of three; every test uses subjects of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from tests.integration.bus.nats_cluster import start_cluster

from todoku.bus.connection import Bus


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the servers of a cluster that nobody kills."""
    cluster = start_cluster(tmp_path_factory.mktemp("cluster") / "nats", number=9)
    yield cluster.url
    cluster.stop()


@pytest.fixture(params=["one server", "cluster"])
def bus_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("nats_url" if request.param == "one server" else "cluster_url"))


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[Bus]:
    connection = await Bus.connect(bus_url, name="test-bus", wait_seconds=10)
    await connection.declare()
    yield connection
    await connection.close()


@pytest.fixture
def run() -> str:
    """Give a subject token that nobody else uses."""
    return uuid4().hex
