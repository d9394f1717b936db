"""What only a cluster can show: copies, leaders, servers that are told of and servers that serve nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.bus.nats_cluster import CAN_CUT, Cluster, Node, start_cluster

from todoku.bus import wire
from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable, SequenceConflict
from todoku.bus.streams import BUCKETS, JOURNAL, STREAMS
from todoku.bus.types import StoredMessage
from todoku.kernel.clock import SystemClock

CLOCK = SystemClock()
needs_namespaces = pytest.mark.skipif(not CAN_CUT, reason="cutting a server off takes root and iproute2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a cluster of this module's own, because its servers are cut off."""
    own = start_cluster(tmp_path_factory.mktemp("own-cluster") / "nats", number=8)
    yield own
    own.stop()


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Bus]:
    made = await Bus.connect(cluster.url, name="cluster-test", wait_seconds=20)
    await made.declare()
    yield made
    await made.close()


class StreamFacts(wire.StreamAnswer):
    """Information about a stream with its Raft group."""

    cluster: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it


async def leader_of(bus: Bus, cluster: Cluster, stream: str) -> Node:
    async with asyncio.timeout(40):
        while True:
            answer = await bus.link.api(f"STREAM.INFO.{stream}", None, StreamFacts)
            if "leader" in answer.cluster:  # else one is being elected
                return cluster.node(str(answer.cluster["leader"]))
            await asyncio.sleep(0.1)


async def until_current(bus: Bus, stream: str) -> None:
    """Wait until all three copies are complete."""
    async with asyncio.timeout(40):
        while True:
            try:
                answer = await bus.link.api(f"STREAM.INFO.{stream}", None, StreamFacts)
            except BusUnavailable:
                continue
            replicas = answer.cluster.get("replicas") or []
            if len(replicas) == 2 and all(one.get("current") for one in replicas):
                return
            await asyncio.sleep(0.2)


async def test_every_stream_and_bucket_has_three_copies(connection: Bus) -> None:
    for name in [spec.name for spec in STREAMS] + [f"KV_{name}" for name in BUCKETS]:
        answer = await connection.link.api(f"STREAM.INFO.{name}", None, wire.StreamAnswer)
        assert answer.config["num_replicas"] == 3, name


async def test_a_stream_with_one_copy_gets_three_and_keeps_its_messages(connection: Bus) -> None:
    subject = f"alert.{uuid4().hex}.check"
    config = (await connection.link.api("STREAM.INFO.ALERTS", None, wire.StreamAnswer)).config
    answer = await connection.link.api("STREAM.UPDATE.ALERTS", config | {"num_replicas": 1}, wire.StreamAnswer, 10.0)
    assert answer.error is None
    await connection.publish(subject, b"kept", timeout_seconds=20)
    await connection.declare()
    config = (await connection.link.api("STREAM.INFO.ALERTS", None, wire.StreamAnswer)).config
    assert config["num_replicas"] == 3
    await until_current(connection, "ALERTS")
    last = await connection.last_message("ALERTS", subject)
    assert last is not None
    assert last.payload == b"kept"


@needs_namespaces
async def test_a_follower_that_is_behind_answers_direct_reads_and_is_not_asked(
    cluster: Cluster, connection: Bus
) -> None:
    subject = f"journal.{uuid4().hex}.1.0"
    first = await connection.publish(subject, b"old", message_id=uuid4().hex, expected_last_subject_sequence=0)
    await until_current(connection, JOURNAL)
    leader = await leader_of(connection, cluster, JOURNAL)
    follower = next(node for node in cluster.nodes if node is not leader)
    others = [node for node in cluster.nodes if node is not follower]
    apart = await Bus.connect(follower.url, name="apart", wait_seconds=10)  # knows no other server
    follower.lose_sight_of(others)
    try:
        second = await connection.publish(
            subject, b"new", message_id=uuid4().hex, expected_last_subject_sequence=first, timeout_seconds=30
        )
        stale = await direct_read(apart, subject)
        assert stale.payload == b"old", "the follower was expected to be behind; else this test shows nothing"
        fresh = await last_of(connection, subject)
        assert (fresh.payload, fresh.sequence) == (b"new", second)
        # who believed the stale line is refused, and learns the truth from the leader
        with pytest.raises(SequenceConflict):
            await connection.publish(
                subject, b"late", message_id=uuid4().hex, expected_last_subject_sequence=stale.sequence
            )
    finally:
        follower.see_again(others)
        await apart.close()
    await until_current(connection, JOURNAL)


@needs_namespaces
async def test_a_server_that_sees_no_other_is_left_for_one_that_does(cluster: Cluster, connection: Bus) -> None:
    await until_current(connection, JOURNAL)
    url = connection.link._client.connected_url
    assert url is not None
    here = next(node for node in cluster.nodes if node.address == url.hostname)
    others = [node for node in cluster.nodes if node is not here]
    here.lose_sight_of(others)
    began = CLOCK.monotonic_seconds()
    try:
        subject = f"journal.{uuid4().hex}.1.0"
        sequence = await publish_until_known(connection, subject)
        moved_to = connection.link._client.connected_url
        assert moved_to is not None
        assert moved_to.hostname != here.address
        assert CLOCK.monotonic_seconds() - began < 30
        assert (await last_of(connection, subject)).sequence == sequence
    finally:
        here.see_again(others)
    await until_current(connection, JOURNAL)


@needs_namespaces
async def test_a_leader_whose_cable_is_pulled_is_replaced(cluster: Cluster, connection: Bus) -> None:
    await until_current(connection, JOURNAL)
    leader = await leader_of(connection, cluster, JOURNAL)
    leader.cut_off()
    began = CLOCK.monotonic_seconds()
    try:
        subject = f"journal.{uuid4().hex}.1.0"
        sequence = await publish_until_known(connection, subject)
        print(f"gap after a pulled cable: {CLOCK.monotonic_seconds() - began:.1f} s")  # noqa: T201
        assert CLOCK.monotonic_seconds() - began < 40
        assert (await last_of(connection, subject)).sequence == sequence
    finally:
        leader.plug_in()
    await until_current(connection, JOURNAL)


async def test_a_leader_that_is_killed_is_replaced_and_nothing_acknowledged_is_lost(
    cluster: Cluster, connection: Bus
) -> None:
    await until_current(connection, JOURNAL)
    run = uuid4().hex
    acknowledged: dict[int, bytes] = {}
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        sequence, number = 0, 0
        while not stop.is_set():
            payload = f"{writer}-{number}".encode()
            sequence = await publish_until_known(connection, f"journal.{run}.1.{writer}", payload, sequence)
            acknowledged[sequence] = payload
            number += 1

    writers = [asyncio.create_task(write(number)) for number in range(8)]
    await asyncio.sleep(0.5)
    leader = await leader_of(connection, cluster, JOURNAL)
    leader.kill()
    began, before = CLOCK.monotonic_seconds(), len(acknowledged)
    try:
        async with asyncio.timeout(60):
            while len(acknowledged) < before + 100:  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.01)
        print(f"gap after a kill: {CLOCK.monotonic_seconds() - began:.1f} s")  # noqa: T201
        stop.set()
        await asyncio.gather(*writers)
    finally:
        for writer in writers:
            writer.cancel()
    leader.start()
    await until_current(connection, JOURNAL)
    stored = {one.sequence: one.payload async for one in connection.messages(JOURNAL, f"journal.{run}.>")}
    assert stored == acknowledged


async def last_of(bus: Bus, subject: str) -> StoredMessage:
    """Read as every reader does: again when there is no leader just now."""
    async with asyncio.timeout(30):
        while True:
            try:
                found = await bus.last_message(JOURNAL, subject)
            except BusUnavailable:
                await asyncio.sleep(0.05)
                continue
            assert found is not None
            return found


async def direct_read(bus: Bus, subject: str) -> StoredMessage:
    """Read from whatever copy answers; as long as routes are not known to be dead, some requests go into the void."""
    async with asyncio.timeout(30):
        while True:
            try:
                answer = await bus.link.request(f"{wire.API}DIRECT.GET.{JOURNAL}.{subject}", b"", 0.5)
            except BusUnavailable:
                continue
            if wire.header(answer.headers, "Nats-Sequence"):
                return wire.stored_message(answer.data, answer.headers)
            await asyncio.sleep(0.1)


async def publish_until_known(bus: Bus, subject: str, payload: bytes = b"x", expected: int = 0) -> int:
    """Do what every writer does: the same id until the answer is known."""
    message_id = uuid4().hex
    async with asyncio.timeout(60):
        while True:
            try:
                return await bus.publish(
                    subject, payload, message_id=message_id, expected_last_subject_sequence=expected
                )
            except SequenceConflict:
                raise
            except Exception as error:
                if not getattr(error, "transient", False):
                    raise
            await asyncio.sleep(0.05)


async def test_a_server_that_takes_the_connection_and_hangs_is_left_and_closed(nats_url: str) -> None:
    """Python warns when a connection is dropped without being closed, and here warnings are errors."""
    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    connection = await Bus.connect(f"{nats_url},nats://127.0.0.1:{port}", name="test-hanging", wait_seconds=20)
    try:
        await connection.link._client.force_reconnect()  # to the next in turn
        async with asyncio.timeout(30):
            await left.wait()
        await connection.link.until_up(20)
    finally:
        await connection.close()
        silent.close()
    gc.collect()
