from __future__ import annotations

import asyncio

import pytest
import uvloop
from tests.integration.delivery.delivery_world import until

from todoku.delivery.transports.conformance import (
    WatchingSink,
    check_transport,
    check_without_relay,
    envelopes_for,
)
from todoku.delivery.transports.null import NullTransport
from todoku.delivery.transports.scripted_relay import Fault, ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport, TimeLimits
from todoku.delivery.types import Answer, AnswerKind, Envelope


async def test_smtp_keeps_every_promise() -> None:
    await check_transport(lambda url: SmtpTransport(url, connections=4))


async def test_smtp_keeps_every_promise_over_one_connection() -> None:
    await check_transport(lambda url: SmtpTransport(url, connections=1))


def test_smtp_keeps_every_promise_under_the_event_loop_of_the_senders() -> None:
    uvloop.run(check_transport(lambda url: SmtpTransport(f"{url}?depth=3", connections=4)))


async def test_null_keeps_the_promises_that_need_no_relay() -> None:
    await check_without_relay(NullTransport())


def _addressed(flow: str, count: int) -> list[Envelope]:
    content = b"Subject: fair\r\n\r\n" + b"x" * 4_000 + b"\r\n"
    return [Envelope(ref, "shop@todoku.example", f"{flow}.{ref}@relay.example", content) for ref in range(count)]


@pytest.mark.parametrize("chunking", [False, True])
async def test_a_small_run_leaves_with_the_next_free_slot_beside_a_huge_one(chunking: bool) -> None:
    relay = ScriptedRelay(chunking=chunking)
    transport = SmtpTransport(f"{await relay.start()}?depth=4", connections=2)
    huge = asyncio.create_task(transport.send(_addressed("huge", 3_000), WatchingSink(), flow="huge"))
    await until(lambda: len(relay.taken) >= 50)
    before = len(relay.taken)
    await transport.send(_addressed("small", 10), WatchingSink(), flow="small")
    after = len(relay.taken)
    await huge
    places = [place for place, recipient in enumerate(relay.taken) if recipient.startswith("small")]
    assert places[0] <= before + 2 * 4  # what was in flight, or in the relay's hands
    assert after - before <= 10 + 3 * 2 * 4 + 8, "the huge run had more than its turns meanwhile"
    await transport.close()
    await relay.stop()


async def _outcome(relay: ScriptedRelay, envelopes: list[Envelope]) -> list[Answer]:
    transport = SmtpTransport(await relay.start(), connections=2)
    try:
        return await asyncio.wait_for(transport.send(envelopes, WatchingSink()), timeout=60)
    finally:
        await transport.close()
        await relay.stop()


async def test_a_drop_costs_no_more_than_what_is_in_flight_on_that_connection() -> None:
    envelopes = envelopes_for(["accept"] * 60 + ["drop-after-end"] + ["accept"] * 60)
    relay = ScriptedRelay(chunking=True)
    answers = await _outcome(relay, envelopes)
    unknown = [one for one in answers if one.kind is AnswerKind.UNKNOWN]
    assert 1 <= len(unknown) <= 8
    assert all(one.relay_failed for one in unknown)
    assert {one.kind for one in answers} == {AnswerKind.ACCEPTED, AnswerKind.UNKNOWN}


async def test_a_long_message_that_breaks_half_way_is_not_unknown() -> None:
    """Its end was not written, so it may be sent again: 2 MB in chunks, the relay drops at the second one."""
    long = b"Subject: long\r\n\r\n" + b"y" * 78 * 30_000 + b"\r\n"
    envelope = Envelope(0, "shop@todoku.example", "drop-before-end.0@relay.example", long)
    sink = WatchingSink()
    relay = ScriptedRelay(chunking=True)
    transport = SmtpTransport(await relay.start(), connections=1)
    (answer,) = await asyncio.wait_for(transport.send([envelope], sink), timeout=60)
    await transport.close()
    await relay.stop()
    assert (answer.kind, answer.relay_failed) == (AnswerKind.TEMPORARY, True)
    assert sink.marked == []


async def test_a_relay_that_takes_few_messages_a_connection_gets_them_all() -> None:
    """421 to the third recipient of each connection, then it closes; nothing is unknown, nobody gets two."""
    relay = ScriptedRelay(chunking=True, fault=Fault.CLOSES_AFTER_421)
    envelopes = envelopes_for((["accept"] * 10 + ["closing"]) * 5)
    answers = await _outcome(relay, envelopes)
    assert AnswerKind.UNKNOWN not in {one.kind for one in answers}
    refs = {f"accept.{one.ref}@relay.example" for one in answers if one.kind is AnswerKind.ACCEPTED}
    assert refs == set(relay.taken)
    assert len(relay.taken) == len(set(relay.taken))


@pytest.mark.parametrize("chunking", [False, True])
async def test_a_relay_that_offers_pipelining_and_breaks_it_doubles_nothing(chunking: bool) -> None:
    relay = ScriptedRelay(chunking=chunking, fault=Fault.BREAKS_PIPELINING)
    envelopes = envelopes_for(["accept"] * 12 + ["refuse-rcpt"] + ["accept"] * 12)
    limits = TimeLimits(command_seconds=0.3, final_seconds=0.3)
    transport = SmtpTransport(await relay.start(), connections=2, limits=limits)
    sink = WatchingSink()
    answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=60)
    await transport.close()
    await relay.stop()
    kinds = {one.ref: one.kind for one in answers}
    assert len(kinds) == len(answers) == 25
    assert kinds[12] is AnswerKind.PERMANENT
    accepted = {f"accept.{ref}@relay.example" for ref, kind in kinds.items() if kind is AnswerKind.ACCEPTED}
    unknown = {f"accept.{ref}@relay.example" for ref, kind in kinds.items() if kind is AnswerKind.UNKNOWN}
    assert accepted <= set(relay.taken) <= accepted | unknown
    assert len(relay.taken) == len(set(relay.taken))
    assert len(unknown) <= 8
