"""Stops reach the senders' bucket, and leave it again; on a bus of its own, because sweeping looks at all projects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from todoku.bus.connection import Bus
from todoku.bus.streams import STOPS_BUCKET
from todoku.campaigns.database_thread import DatabaseThread
from todoku.campaigns.stop_relay import StopRelay
from todoku.delivery.engine.runs import put_stop, stop_key
from todoku.engines.nats import EmbeddedNats
from todoku.guests import services as guests
from todoku.guests.types import SuppressionReason
from todoku.kernel.clock import SystemClock, VirtualClock

ADDRESS = "guest00001@example.com"


@pytest.fixture
def own_nats(open_folder: Callable[[], Path]) -> Iterator[str]:
    engine = EmbeddedNats(open_folder())
    yield engine.start()
    engine.stop()


@pytest.fixture
async def own_bus(own_nats: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(own_nats, name="test-stops")
    await bus.declare()
    yield bus
    await bus.close()


@pytest.fixture
async def thread(project: str) -> AsyncIterator[DatabaseThread]:
    database = DatabaseThread("test")
    yield database
    await database.close()


async def test_stops_since_an_hour_before_the_oldest_seal_are_passed_on_once(
    project: str, own_bus: Bus, thread: DatabaseThread, clock: VirtualClock
) -> None:
    def stop(address: str) -> None:
        guests.suppress(project, address, SuppressionReason.COMPLAINED, evidence="a letter", clock=clock)

    sealed_at = clock.now_utc() + timedelta(minutes=90)
    await thread(stop, "long-ago@example.com")
    clock.advance(3600)
    await thread(stop, ADDRESS)
    clock.advance(3600)
    relay = StopRelay(own_bus, thread)
    await relay.pass_on({project: sealed_at}, clock.now_utc())
    bucket = own_bus.bucket(STOPS_BUCKET)
    assert await bucket.keys() == [stop_key(project, ADDRESS)]
    clock.advance(5)
    await bucket.delete(stop_key(project, ADDRESS))
    await relay.pass_on({project: sealed_at}, clock.now_utc())
    assert await bucket.keys() == []  # it was passed on once

    await thread(stop, "another@example.com")
    clock.advance(5)
    await relay.pass_on({project: sealed_at}, clock.now_utc())
    assert await bucket.keys() == [stop_key(project, "another@example.com")]
    clock.advance(5)
    await relay.pass_on({project: sealed_at - timedelta(minutes=60)}, clock.now_utc())  # an older seal came up
    assert stop_key(project, "long-ago@example.com") in await bucket.keys()


async def test_stops_are_forgotten_when_every_open_seal_knows_them(own_bus: Bus, thread: DatabaseThread) -> None:
    now_utc = SystemClock().now_utc()
    bucket = own_bus.bucket(STOPS_BUCKET)
    for project_id in ("open", "sealed-since", "closed"):
        await put_stop(own_bus, project_id, ADDRESS, "unsubscribed")
    later = now_utc + timedelta(hours=3)
    oldest_seals = {"open": now_utc - timedelta(minutes=5), "sealed-since": now_utc + timedelta(hours=2)}
    await StopRelay(own_bus, thread).sweep(oldest_seals, later)
    assert await bucket.keys() == [stop_key("open", ADDRESS)]
    assert len(await own_bus.subject_counts(bucket.stream, bucket.every_subject)) == 3  # two say "deleted" to senders
    await StopRelay(own_bus, thread).sweep(oldest_seals, later)
    assert list(await own_bus.subject_counts(bucket.stream, bucket.every_subject)) == [
        f"$KV.{STOPS_BUCKET}.{stop_key('open', ADDRESS)}"
    ]


async def test_a_stop_that_is_said_again_while_it_is_swept_stays(
    own_bus: Bus, thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_stop(own_bus, "p", ADDRESS, "unsubscribed")
    read = own_bus.messages_with_headers

    async def read_then_somebody_stops(stream: str, subjects: str) -> AsyncIterator[object]:
        async for entry in read(stream, subjects):
            yield entry
        await put_stop(own_bus, "p", ADDRESS, "complained")

    monkeypatch.setattr(own_bus, "messages_with_headers", read_then_somebody_stops)
    await StopRelay(own_bus, thread).sweep({}, SystemClock().now_utc() + timedelta(hours=3))
    entry = await own_bus.bucket(STOPS_BUCKET).get(stop_key("p", ADDRESS))
    assert entry is not None
    assert entry.value == b"complained"
