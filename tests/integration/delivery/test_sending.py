"""The protocol against a real JetStream and a relay that does what a recipient's name says."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.delivery.delivery_world import (
    CLOCK,
    journal,
    make_order,
    outcomes,
    people,
    person,
    put_order,
    quick_options,
    seal_and_post,
    sending,
    settled,
    until,
)

from todoku.bus.connection import Bus
from todoku.delivery.engine.options import SenderOptions
from todoku.delivery.engine.runs import put_stop, remove_order
from todoku.delivery.engine.sealing import Sealer
from todoku.delivery.engine.sender import close_run
from todoku.delivery.errors import SealConflict
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import RecipientState, SealChunk


@pytest.fixture
async def relay() -> AsyncIterator[ScriptedRelay]:
    scripted = ScriptedRelay()
    scripted.url = await scripted.start()  # type: ignore[attr-defined]
    yield scripted
    await scripted.stop()


def to(relay: ScriptedRelay) -> SmtpTransport:
    return SmtpTransport(relay.url, connections=4)  # type: ignore[attr-defined]


def addresses(behaviour: str, count: int) -> list[str]:
    return [f"{behaviour}.{number}@relay.example" for number in range(count)]


async def test_everybody_gets_one_message(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 1_234))
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 1_234}
    assert Counter(relay.taken) == Counter(addresses("accept", 1_234))
    assert os.listdir(answers_folder) == [], "notes are left although all is in the journal"  # noqa: PTH208


async def test_each_answer_leads_to_its_state(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(
        bus,
        [
            *addresses("accept", 30),
            *addresses("refuse-rcpt", 5),
            *addresses("refuse-final", 4),
            *addresses("drop-after-end", 3),
            "太郎@relay.example",
        ],
    )
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 30, "refused": 10, "unknown": 3}
    refusals = {outcome.answer for outcome in await outcomes(bus, order.run_id) if outcome.state == "refused"}
    assert refusals == {
        "550 5.1.1 no such person 5.1.1 here",
        "554 5.7.1 not wanted",
        "553 5.6.7 not sent: the address needs SMTPUTF8, not offered here",
    }


@pytest.mark.parametrize("chunking", [False, True])
async def test_a_japanese_address_leaves_where_the_relay_offers_smtputf8(
    bus: Bus, answers_folder: Path, chunking: bool
) -> None:
    utf8_relay = ScriptedRelay(offers=("SMTPUTF8",), chunking=chunking)
    transport = SmtpTransport(await utf8_relay.start(), connections=1)
    order = await seal_and_post(bus, ["太郎@例え.example", *addresses("accept", 3)])
    async with sending(bus, transport, answers_folder):
        assert await settled(bus, order) == {"sent": 4}
    assert "To: =?utf-8?" in utf8_relay.contents["太郎@例え.example"].decode()
    assert "<太郎@例え.example>" in utf8_relay.contents["太郎@例え.example"].decode()
    assert sum("SMTPUTF8" in command for command in utf8_relay.commands) == 1
    await utf8_relay.stop()


async def test_what_is_deferred_until_the_latest_finish_expires_with_the_last_answer(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    order = await seal_and_post(
        bus,
        [*addresses("accept", 20), *addresses("defer-final", 3), *addresses("drop-before-end", 2)],
        latest_finish_at_utc=CLOCK.now_utc() + timedelta(seconds=3),
    )
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 20, "expired": 5}
    expired = [one for one in await outcomes(bus, order.run_id) if one.state is RecipientState.EXPIRED]
    assert {one.answer for one in expired if one.address.startswith("defer")} == {"451 4.3.0 disk full"}
    assert Counter(relay.taken) == Counter(addresses("accept", 20))


async def test_a_relay_that_is_not_there_makes_the_run_late_and_loses_nothing(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    await relay.stop()
    order = await seal_and_post(bus, addresses("accept", 700))
    async with sending(bus, to(relay), answers_folder) as sender:
        await until(lambda: sender._ports.gates[""].failures >= 3)
        assert await outcomes(bus, order.run_id) == []
        await relay.start(int(relay.url.rpartition(":")[2]))  # type: ignore[attr-defined]
        assert await settled(bus, order) == {"sent": 700}
    assert len(relay.taken) == len(set(relay.taken)) == 700


async def test_a_missing_variable_ends_as_unrenderable_and_names_it(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    draft = make_order(html_template="<p>{{ coupon_code }}</p>")
    audience = [person(address, coupon_code="A1") for address in addresses("accept", 150)]
    audience += [person(f"accept.none{number}@relay.example") for number in range(7)]
    order = await Sealer(bus, CLOCK).seal(draft, [SealChunk(audience)])
    await put_order(bus, order)
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 150, "unrenderable": 7}
    answers = {one.answer for one in await outcomes(bus, order.run_id) if one.state is RecipientState.UNRENDERABLE}
    assert all("coupon_code" in answer for answer in answers)


async def test_a_template_that_can_not_be_compiled_harms_no_other_run(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    broken = await seal_and_post(bus, addresses("accept", 5), html_template="{% for %}")
    good = await seal_and_post(bus, [f"accept.good{number}@relay.example" for number in range(50)])
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, good) == {"sent": 50}
        assert await outcomes(bus, broken.run_id) == []


async def test_who_unsubscribed_after_the_seal_gets_nothing(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    await put_stop(bus, "shop", "ACCEPT.3@relay.example", "unsubscribed")
    await put_stop(bus, "another-shop", "accept.4@relay.example", "unsubscribed")
    order = await seal_and_post(bus, addresses("accept", 10))
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 9, "suppressed": 1}
    assert "accept.3@relay.example" not in relay.taken
    [stopped] = [one for one in await outcomes(bus, order.run_id) if one.state is RecipientState.SUPPRESSED]
    assert (stopped.address, stopped.answer) == ("accept.3@relay.example", "unsubscribed")


async def test_nothing_leaves_before_the_due_second(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    due = CLOCK.now_utc() + timedelta(seconds=1.5)
    order = await seal_and_post(bus, addresses("accept", 20), due_at_utc=due)
    async with sending(bus, to(relay), answers_folder):
        await settled(bus, order)
    first = min(one.at_utc for one in await outcomes(bus, order.run_id))
    assert timedelta(0) <= first - due < timedelta(seconds=1)


async def test_pause_and_resume_lose_and_double_nothing(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("slow", 300))
    async with sending(bus, to(relay), answers_folder, quick_options(window=20)):
        await until(lambda: len(relay.taken) >= 40)
        await put_order(bus, replace(order, state="paused"))
        await asyncio.sleep(1.5)  # a window of 20 over 4 connections of 50 ms each is long over
        at_pause = len(relay.taken)
        assert at_pause < 300
        await asyncio.sleep(0.5)
        assert len(relay.taken) == at_pause, "messages left during the pause"
        await put_order(bus, order)
        assert await settled(bus, order) == {"sent": 300}
    assert len(relay.taken) == len(set(relay.taken)) == 300


async def test_stop_takes_effect_within_the_window(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("slow", 200))
    async with sending(bus, to(relay), answers_folder):
        await until(lambda: len(relay.taken) >= 10)
        await put_order(bus, replace(order, state="stopped"))
        await asyncio.sleep(1.0)
        taken = len(relay.taken)
    assert taken < 60
    found = await outcomes(bus, order.run_id)
    assert sum(one.state is RecipientState.SENT for one in found) <= taken <= len(found)


async def test_a_small_run_is_not_blocked_behind_a_big_one(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    big = await seal_and_post(bus, [f"accept.big{number}@relay.example" for number in range(20_000)])
    async with sending(bus, to(relay), answers_folder):
        await until(lambda: len(relay.taken) > 500)
        small = await seal_and_post(bus, [f"accept.small{number}@relay.example" for number in range(200)])
        assert await settled(bus, small) == {"sent": 200}
        assert len(relay.taken) < 15_000, "the small run waited for the big one"
        await remove_order(bus, big.run_id)


async def test_two_senders_share_a_run(bus: Bus, relay: ScriptedRelay, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 6_000))
    async with sending(bus, to(relay), answers_folder), sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 6_000}
    assert len(relay.taken) == len(set(relay.taken)) == 6_000
    assert len({line.sender_id for line in await journal(bus, order.run_id)}) == 2


async def test_a_stopped_sender_leaves_the_rest_to_the_next(
    bus: Bus, relay: ScriptedRelay, answers_folder: Path
) -> None:
    order = await seal_and_post(bus, addresses("slow", 240))
    async with sending(bus, to(relay), answers_folder, quick_options(window=20)):
        await until(lambda: len(relay.taken) >= 30)
    assert len(relay.taken) < 240
    async with sending(bus, to(relay), answers_folder):
        assert await settled(bus, order) == {"sent": 240}
    assert len(relay.taken) == len(set(relay.taken)) == 240


async def test_a_rehearsal_sends_nothing_and_says_so(bus: Bus, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 120))
    async with sending(bus, NullTransport(), answers_folder):
        assert await settled(bus, order) == {"sent": 120}
    assert {one.answer for one in await outcomes(bus, order.run_id)} == {"250 2.0.0 rehearsal: nothing was sent"}


async def test_sealing_the_same_again_changes_nothing_and_something_else_is_refused(bus: Bus) -> None:
    draft = make_order()
    chunks = list(people(addresses("accept", 1_100)))
    sealer = Sealer(bus, CLOCK)
    first = await sealer.seal(draft, chunks)
    assert (first.batches, first.to_send) == (3, 1_100)
    assert await sealer.seal(draft, chunks) == first
    with pytest.raises(SealConflict):
        await sealer.seal(draft, people(addresses("accept", 1_100)))  # other guests
    with pytest.raises(SealConflict):
        await sealer.seal(draft, chunks[:2])  # fewer of them
    assert len(await bus.subject_counts("SEND", f"send.{draft.run_id}.1.*")) == 3


async def test_a_closed_run_leaves_no_batches(bus: Bus, answers_folder: Path) -> None:
    order = await seal_and_post(bus, addresses("accept", 10))
    async with sending(bus, NullTransport(), answers_folder):
        await settled(bus, order)
        await close_run(bus, order)
    await close_run(bus, order)
    assert await bus.subject_counts("SEND", f"send.{order.run_id}.>") == {}
    assert len(await outcomes(bus, order.run_id)) == 10


def test_options_are_made_for_production() -> None:
    assert SenderOptions().sender_id != SenderOptions().sender_id
    assert SenderOptions().window <= 100


async def test_a_relay_without_8bitmime_gets_seven_bits(bus: Bus, answers_folder: Path) -> None:
    modern, old = ScriptedRelay(), ScriptedRelay(eight_bit=False)
    url = await modern.start()
    transport = SmtpTransport(url, connections=2)
    try:
        first = await seal_and_post(bus, addresses("accept", 300))
        async with sending(bus, transport, answers_folder, quick_options(window=10)):
            assert await settled(bus, first) == {"sent": 300}
            assert not all(content.isascii() for content in modern.contents.values())
            await modern.stop()
            await old.start(int(url.rpartition(":")[2]))  # the relay was replaced by an older one
            second = await seal_and_post(bus, [f"accept.again{number}@relay.example" for number in range(300)])
            assert await settled(bus, second) == {"sent": 300}
        assert all(content.isascii() for content in old.contents.values())
    finally:
        await old.stop()
