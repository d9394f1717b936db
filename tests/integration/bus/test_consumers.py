from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from todoku.bus.connection import Bus
from todoku.bus.consumers import Consumer
from todoku.bus.streams import MAIL


@pytest.fixture
async def consumer(bus: Bus, run: str) -> AsyncIterator[Consumer]:
    made = await bus.consumer(MAIL, durable=run, filter_subject=f"mail.{run}.*", ack_wait_seconds=1.0)
    yield made
    await made.close()
    await bus.delete_consumer(MAIL, run)


async def test_nothing_there_is_an_empty_list_after_the_wait(consumer: Consumer) -> None:
    started = asyncio.get_running_loop().time()
    assert await consumer.fetch(10, 0.2) == []
    assert 0.15 < asyncio.get_running_loop().time() - started < 1.0
    assert await consumer.fetch(10, 0.0) == []


async def test_fetch_returns_what_is_there_without_waiting_for_more(bus: Bus, run: str, consumer: Consumer) -> None:
    for n in range(7):
        await bus.publish(f"mail.{run}.smtp", str(n).encode(), message_id=f"{run}{n}")
    started = asyncio.get_running_loop().time()
    first = await consumer.fetch(5, 5.0)
    second = await consumer.fetch(5, 5.0)
    assert asyncio.get_running_loop().time() - started < 2.0
    assert [message.payload for message in first + second] == [str(n).encode() for n in range(7)]
    assert first[0].subject == f"mail.{run}.smtp"
    assert first[3].message_id == f"{run}3"
    assert not first[0].redelivered
    assert await consumer.pending() == 7
    for message in first + second:
        await message.ack()
    assert await consumer.fetch(1, 0.1) == []
    assert await consumer.pending() == 0


async def test_a_waiting_fetch_wakes_with_the_first_message(bus: Bus, run: str, consumer: Consumer) -> None:
    waiting = asyncio.create_task(consumer.fetch(100, 10.0))
    await asyncio.sleep(0.1)
    started = asyncio.get_running_loop().time()
    await bus.publish(f"mail.{run}.smtp", b"x")
    assert len(await waiting) == 1
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_what_is_not_acknowledged_comes_again(bus: Bus, run: str, consumer: Consumer) -> None:
    sequence = await bus.publish(f"mail.{run}.smtp", b"x")
    (first,) = await consumer.fetch(1, 2.0)
    (second,) = await consumer.fetch(1, 5.0)
    assert first.sequence == second.sequence == sequence
    assert second.redelivered
    await second.nak(0.3)
    assert await consumer.fetch(1, 0.05) == []
    (third,) = await consumer.fetch(1, 5.0)
    assert third.redelivered
    for _ in range(3):
        await asyncio.sleep(0.5)
        await third.extend()  # 1.5 s of work with an ack_wait of 1 s
    assert await consumer.fetch(1, 0.05) == []
    await third.ack()
    assert await consumer.fetch(1, 1.5) == []


async def test_two_processes_share_one_durable(bus: Bus, bus_url: str, run: str, consumer: Consumer) -> None:
    other_bus = await Bus.connect(bus_url, name="other", wait_seconds=10)
    other = await other_bus.consumer(MAIL, durable=run, filter_subject=f"mail.{run}.*", ack_wait_seconds=1.0)
    for n in range(40):
        await bus.publish(f"mail.{run}.smtp", str(n).encode())
    seen = []
    for _ in range(4):
        for one in (consumer, other):
            for message in await one.fetch(5, 1.0):
                seen.append(int(message.payload))
                await message.ack()
    assert sorted(seen) == list(range(40))
    await other_bus.close()


async def test_a_lost_durable_is_made_again(bus: Bus, run: str, consumer: Consumer) -> None:
    await bus.publish(f"mail.{run}.smtp", b"x")
    await bus.delete_consumer(MAIL, run)
    assert [message.payload for message in await consumer.fetch(1, 5.0)] == [b"x"]


async def test_deleting_a_consumer_that_is_not_there_is_no_error(bus: Bus, run: str) -> None:
    await bus.delete_consumer(MAIL, f"never-{run}")
