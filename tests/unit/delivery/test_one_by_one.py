"""Who goes next when requests are few and flows are many; and what a hopeless verdict spares the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from todoku.delivery.transports.conformance import WatchingSink, check_books, envelopes_for
from todoku.delivery.transports.one_by_one import FairSlots, Mark, OneByOne, Verdict
from todoku.delivery.types import Answer, AnswerKind, Envelope


async def test_a_small_run_goes_beside_a_large_one() -> None:
    order: list[str] = []

    async def hand_over(envelope: Envelope, mark: Mark) -> Verdict:
        order.append(envelope.mail_from)
        await asyncio.sleep(0)
        mark()
        return Verdict(AnswerKind.ACCEPTED, "250 ok")

    requests = OneByOne(hand_over, 2)

    def send(flow: str, count: int) -> asyncio.Task[list[Answer]]:
        envelopes = [Envelope(ref, flow, "guest@relay.example", b"") for ref in range(count)]
        return asyncio.create_task(requests.send(envelopes, WatchingSink(), flow))

    large = [send("large", 50) for _ in range(3)]
    await asyncio.sleep(0)
    small = send("small", 3)
    await asyncio.gather(*large, small)
    assert order.count("large") == 150
    assert [place for place, flow in enumerate(order) if flow == "small"][-1] < 16, "the small run waited for the large"


async def test_a_place_that_was_waited_for_in_vain_is_not_lost() -> None:
    slots = FairSlots(1)
    await slots.acquire("a")
    waiting = [asyncio.create_task(slots.acquire(flow)) for flow in ("b", "c", "b")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    slots.release()
    await waiting[1]
    slots.release()
    await waiting[2]
    slots.release()
    await asyncio.wait_for(slots.acquire("d"), timeout=1)


async def send_with(verdicts: Sequence[Verdict]) -> tuple[WatchingSink, list[int]]:
    tried: list[int] = []

    async def hand_over(envelope: Envelope, mark: Mark) -> Verdict:
        tried.append(envelope.ref)
        verdict = verdicts[envelope.ref]
        if verdict.kind is not AnswerKind.TEMPORARY:
            mark()
        return verdict

    envelopes, sink = envelopes_for(["accept"] * len(verdicts)), WatchingSink()
    check_books(envelopes, await OneByOne(hand_over, 1).send(envelopes, sink, ""), sink)
    return sink, tried


async def test_what_holds_for_everybody_is_tried_once() -> None:
    accepted = Verdict(AnswerKind.ACCEPTED, "250 ok")
    paused = Verdict(AnswerKind.TEMPORARY, "paused", relay_failed=True, everybody=True)
    sink, tried = await send_with([accepted, paused, accepted, accepted])
    assert tried == [0, 1]
    assert [sink.answers[ref].kind for ref in range(4)] == [AnswerKind.ACCEPTED] + [AnswerKind.TEMPORARY] * 3
    assert all(sink.answers[ref].relay_failed for ref in (1, 2, 3))


async def test_one_failure_stops_nobody_else() -> None:
    busy = Verdict(AnswerKind.TEMPORARY, "busy", relay_failed=True)
    sink, tried = await send_with([busy, Verdict(AnswerKind.UNKNOWN, "lost"), Verdict(AnswerKind.ACCEPTED, "ok")])
    assert tried == [0, 1, 2]
    assert sink.answers[2].kind is AnswerKind.ACCEPTED
