"""What others lose, send twice or leave unsaid, one test each; docs/peers.md says whose complaint it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.integration.delivery.delivery_world import (
    CLOCK,
    outcomes,
    put_order,
    quick_options,
    seal_and_post,
    sending,
    settled,
    until,
)

from todoku.bus.connection import Bus
from todoku.bus.streams import SEND
from todoku.delivery.engine.active_run import consumer_name
from todoku.delivery.engine.runs import PAUSED
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import RecipientState


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay()
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


def to(relay: ScriptedRelay, connections: int = 5) -> SmtpTransport:
    return SmtpTransport(relay.url, connections=connections)  # type: ignore[attr-defined]


def addresses(behaviour: str, count: int) -> list[str]:
    return [f"{behaviour}.{number}@relay.example" for number in range(count)]


async def test_paused_while_the_relay_is_down_a_run_begins_with_its_first_recipient(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """A checkpoint that runs ahead of success skips the first batch on resume."""
    transport = to(relay)
    await relay.stop()
    order = await seal_and_post(bus, addresses("accept", 300))
    async with sending(bus, transport, answers_folder) as sender:
        await until(lambda: sender._ports.gates[""].failures >= 1)
        await put_order(bus, replace(order, state=PAUSED))
        await relay.start(int(relay.url.rpartition(":")[2]))  # type: ignore[attr-defined]
        await put_order(bus, order)
        assert await settled(bus, order) == {"sent": 300}
    assert Counter(relay.taken) == Counter(addresses("accept", 300))


async def test_pausing_again_and_again_doubles_and_skips_nobody(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """A counter that is written over the checkpoint makes some get five messages and a third get none."""
    order = await seal_and_post(bus, addresses("accept", 1_500))
    async with sending(bus, to(relay), answers_folder):
        for share in range(1, 6):
            await until(lambda share=share: len(relay.taken) >= share * 200)  # type: ignore[misc]
            await put_order(bus, replace(order, state=PAUSED))
            await asyncio.sleep(0.05)
            await put_order(bus, order)
        assert await settled(bus, order) == {"sent": 1_500}
    assert Counter(relay.taken) == Counter(addresses("accept", 1_500))


async def test_a_relay_slower_than_the_lease_gets_nobody_twice(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """Work that is taken for dead after a fixed time is done a second time."""
    order = await seal_and_post(bus, addresses("slow", 60))
    options = quick_options(lease_seconds=0.6)  # a slow answer takes a good part of it, a window takes many of them
    async with (
        sending(bus, to(relay, connections=1), answers_folder, options),
        sending(bus, to(relay, connections=1), answers_folder, quick_options(lease_seconds=0.6)),
    ):
        assert await settled(bus, order, within_seconds=60) == {"sent": 60}
    assert Counter(relay.taken) == Counter(addresses("slow", 60))


async def test_a_bus_that_forgets_who_has_what_leaves_the_windows_to_their_living_owners(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """A NATS that was killed hands out anew what is being worked on (found by tests/chaos/everything, seed 1)."""
    order = await seal_and_post(bus, addresses("slow", 100))
    ways = [to(relay, connections=1), to(relay, connections=1)]
    with capture_logs() as told:
        async with sending(bus, ways[0], answers_folder) as owner:
            await until(lambda: len(relay.taken) >= 3)
            owner._runs[order.run_id].rests_until_seconds = float("inf")  # it asks for no more, it has the only batch
            async with sending(bus, ways[1], answers_folder):
                await bus.delete_consumer(SEND, consumer_name(order.run_id, order.seal))
                assert await settled(bus, order, within_seconds=60) == {"sent": 100}
    assert [word for word in told if word["event"] == "delivery.window_left_to_its_owner"]
    assert Counter(relay.taken) == Counter(addresses("slow", 100))


async def test_whoever_waits_for_a_free_connection_is_not_given_up(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """A limit on waiting for the pool loses whoever waited."""
    order = await seal_and_post(bus, addresses("slow", 120))
    async with sending(bus, to(relay, connections=1), answers_folder):
        assert await settled(bus, order, within_seconds=60) == {"sent": 120}


async def test_one_difficult_recipient_repeats_nobody_else(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """Retrying a whole batch sends it again to those who have it."""
    people = [*addresses("accept", 90), *addresses("defer-final", 2), *addresses("drop-before-end", 2)]
    order = await seal_and_post(bus, people, latest_finish_at_utc=CLOCK.now_utc() + timedelta(seconds=3))
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 90, "expired": 4}
    assert Counter(relay.taken) == Counter(addresses("accept", 90))


async def test_many_refusals_end_no_run_and_each_is_named(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    """A limit on errors pauses the campaign and forgets who failed before."""
    order = await seal_and_post(bus, [*addresses("refuse-rcpt", 1_050), *addresses("accept", 50)])
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 50, "refused": 1_050}
    refused = [one for one in await outcomes(bus, order.run_id) if one.state is RecipientState.REFUSED]
    assert {one.address for one in refused} == set(addresses("refuse-rcpt", 1_050))
    assert {one.answer for one in refused} == {"550 5.1.1 no such person 5.1.1 here"}


async def test_a_time_out_is_unknown_and_is_not_sent_again(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    """Sent and not marked as sent is sent again, in a loop."""
    order = await seal_and_post(bus, [*addresses("drop-after-end", 5), *addresses("accept", 20)])
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 20, "unknown": 5}
    async with sending(bus, to(relay), answers_folder):  # a restart is no reason to try again
        assert await settled(bus, order) == {"sent": 20, "unknown": 5}
    completed = [word for word in relay.taken if word.startswith("drop-after-end")]
    assert len(completed) == len(set(completed))
