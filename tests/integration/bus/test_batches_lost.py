"""What is published together when answers are lost or late, and connections break: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.integration.bus.half_deaf_link import HalfDeafLink

from todoku.bus.connection import Bus
from todoku.bus.errors import BusUnavailable, MessageTooLarge, PublishUnknown
from todoku.bus.gathering import Gathering
from todoku.bus.streams import MAIL


@pytest.fixture
async def direct(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, name="test-direct")
    await bus.declare()
    yield bus
    await bus.close()


@pytest.fixture
async def link(nats_url: str) -> AsyncIterator[HalfDeafLink]:
    half_deaf = HalfDeafLink(nats_url)
    yield half_deaf
    await half_deaf.stop()


@pytest.fixture
async def bus(link: HalfDeafLink) -> AsyncIterator[Bus]:
    connection = await Bus.connect(await link.start(), name="test-batches")
    yield connection
    await connection.close()


@pytest.fixture
def run() -> str:
    return uuid4().hex


async def stored(direct: Bus, run: str) -> dict[str, int]:
    """Return the sequence of each id; an id that is there twice fails."""
    found: dict[str, int] = {}
    async for message in direct.messages(MAIL, f"mail.{run}.*"):
        assert message.message_id is not None
        assert message.message_id not in found
        found[message.message_id] = message.sequence
    return found


async def until_stored(direct: Bus, run: str, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await stored(direct, run)) < count:  # noqa: ASYNC110  # a stream has no event for it
            await asyncio.sleep(0.01)


def together(bus: Bus, run: str, count: int) -> list[asyncio.Task[int]]:
    return [
        asyncio.create_task(bus.publish_together(f"mail.{run}.t", b"%d" % number, f"{run}-{number}"))
        for number in range(count)
    ]


async def test_an_answer_lost_with_the_connection_leaves_one_of_each(
    bus: Bus, direct: Bus, link: HalfDeafLink, run: str
) -> None:
    link.answers.clear()
    tasks = together(bus, run, 50)
    await until_stored(direct, run, 50)
    link.cut()
    lost = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in lost} == {PublishUnknown}
    link.answers.set()
    again = await asyncio.gather(*together(bus, run, 50))
    assert await stored(direct, run) == {f"{run}-{number}": sequence for number, sequence in enumerate(again)}


async def test_an_answer_after_its_time_is_nobody_elses(
    bus: Bus, direct: Bus, link: HalfDeafLink, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Gathering._send_together, "__defaults__", (0.2,))
        link.answers.clear()
        late = await asyncio.gather(*together(bus, run, 20), return_exceptions=True)
    assert {type(answer) for answer in late} == {PublishUnknown}
    await until_stored(direct, run, 20)
    others = [
        asyncio.create_task(bus.publish_together(f"mail.{run}.o", b"o", f"{run}-other{number}")) for number in range(20)
    ]
    await until_stored(direct, run, 40)
    link.answers.set()
    told = await asyncio.gather(*others)
    again = await asyncio.gather(*together(bus, run, 20))
    assert await stored(direct, run) == {f"{run}-{number}": one for number, one in enumerate(again)} | {
        f"{run}-other{number}": one for number, one in enumerate(told)
    }


@pytest.mark.parametrize("strangers", [{0, 1, 2}, {9, 17}, {19}, {0, 19}, set(range(0, 20, 2))])
async def test_some_that_no_stream_takes_leave_the_others_alone(
    bus: Bus, direct: Bus, run: str, strangers: set[int]
) -> None:
    answers = await asyncio.gather(
        *(
            bus.publish_together(f"nobody.{run}.t" if number in strangers else f"mail.{run}.t", b"x", f"{run}-{number}")
            for number in range(20)
        ),
        return_exceptions=True,
    )
    assert {number for number, answer in enumerate(answers) if isinstance(answer, BusUnavailable)} == strangers
    found = await stored(direct, run)
    assert found == {f"{run}-{n}": answer for n, answer in enumerate(answers) if n not in strangers}


@pytest.mark.parametrize("over", [-61, -60, -1, 0, 1, 1_000])
async def test_one_at_the_limit_of_the_server_does_not_take_its_neighbours_along(
    bus: Bus, direct: Bus, run: str, over: int
) -> None:
    """The server counts the headers too, and ends the connection of who sends more than it takes."""
    most = bus.link._client.max_payload
    answers = await asyncio.gather(
        *(
            bus.publish_together(f"mail.{run}.t", b"x" * (most + over if number == 7 else 10), f"{run}-{number}")
            for number in range(20)
        ),
        return_exceptions=True,
    )
    refused = {number for number, answer in enumerate(answers) if not isinstance(answer, int)}
    assert refused <= {7}
    assert all(isinstance(answers[number], MessageTooLarge) for number in refused)
    assert over == -61 or refused == {7}
    assert set(await stored(direct, run)) == {f"{run}-{number}" for number in range(20) if number not in refused}


@pytest.mark.parametrize("seed", range(4))
async def test_connections_that_break_at_any_moment_lose_and_double_nothing(
    bus: Bus, direct: Bus, link: HalfDeafLink, run: str, seed: int
) -> None:
    chance = random.Random(seed)
    answered: dict[str, int] = {}

    async def publish(number: int) -> None:
        name = f"{run}-{number}"
        while name not in answered:
            try:
                answered[name] = await bus.publish_together(f"mail.{run}.t", b"x" * chance.randint(1, 3_000), name)
            except (BusUnavailable, PublishUnknown):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(publish(number)) for number in range(900)]
    async with asyncio.timeout(60):
        for _ in range(5):
            for _ in range(chance.randint(1, 60)):
                await asyncio.sleep(0)  # a moment of the event loop, not of the clock
            link.cut()
            await bus.link.until_up(10)
        await asyncio.gather(*tasks)
    assert await stored(direct, run) == answered
    assert len(answered) == 900
