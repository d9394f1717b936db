"""What every transport promises, as a function that any implementer can call.

`check_transport(make)` plays relays that accept, refuse, delay, drop the connection before and after the end of a
message, or are not there, and raises AssertionError on the first broken promise. Relays choose what to do by the
local part of the recipient (`scripted_relay`). `check_without_relay(transport)` is for transports that talk to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.scripted_relay import DROPS, EXPECTED, Behaviour, Fault, ScriptedRelay
from todoku.delivery.types import Answer, AnswerKind, Envelope, Transport


class WatchingSink:
    """An AnswerSink that remembers, and objects to a wrong order. forbidden: refs that must not be completed."""

    def __init__(self, forbidden: frozenset[int] = frozenset()) -> None:
        self.marked: list[int] = []
        self.answers: dict[int, Answer] = {}
        self._forbidden = forbidden

    def about_to_complete(self, ref: int) -> None:
        assert ref not in self.answers, f"message {ref} is completed after its answer"
        assert ref not in self.marked, f"message {ref} is completed twice"
        if ref in self._forbidden:
            raise HandOverForbidden("the caller took it back")
        self.marked.append(ref)

    def answered(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            assert answer.ref not in self.answers, f"message {answer.ref} is answered twice"
            self.answers[answer.ref] = answer


async def check_transport(make: Callable[[str], Transport]) -> None:
    """Check a transport that talks to one SMTP relay. make: relay URL -> a fresh transport."""
    for pipelining, fault in ((True, Fault.NONE), (False, Fault.NONE), (True, Fault.SPLITS_REPLIES)):
        await _check_answers(make, ScriptedRelay(pipelining=pipelining, fault=fault))
    await _check_chunks(make)
    for chunking in (False, True):
        await _check_content(make, chunking=chunking)
        await _check_taking_back(make, chunking=chunking)
    await _check_refusing_door(make)
    await _check_nobody_there(make)
    await _check_two_at_once(make)


async def _check_chunks(make: Callable[[str], Transport]) -> None:
    """Check BDAT: with drops nothing is worse than UNKNOWN, without them everything is exact."""
    calm = [one for one in Behaviour if one not in DROPS]
    for fault in (Fault.NONE, Fault.SPLITS_REPLIES, Fault.LEAVES_TRANSACTIONS):
        await _check_answers(make, ScriptedRelay(chunking=True, fault=fault), calm)
        await _check_answers(make, ScriptedRelay(chunking=True, fault=fault), list(Behaviour))
    await _check_answers(make, ScriptedRelay(chunking=True, fault=Fault.CLOSES_AFTER_421), calm)
    await _check_falling_back(make)


async def check_without_relay(transport: Transport) -> None:
    """Check what also holds for a transport that talks to nobody: order, one answer each, taking back."""
    envelopes = envelopes_for(["accept"] * 5)
    sink = WatchingSink(forbidden=frozenset({3}))
    answers = await transport.send(envelopes, sink)
    check_books(envelopes, answers, sink)
    kinds = {answer.ref: answer.kind for answer in answers}
    assert kinds[3] is AnswerKind.TEMPORARY, "a message that was taken back is not TEMPORARY"
    assert all(kind is AnswerKind.ACCEPTED for ref, kind in kinds.items() if ref != 3)
    assert await transport.send([], WatchingSink()) == []
    await transport.close()


def envelopes_for(behaviours: Sequence[str]) -> list[Envelope]:
    """Return one envelope for each behaviour, numbered from 0."""
    content = b"Subject: check\r\n\r\n.a line that begins with a dot\r\n..and two\r\n.\r\nend\r\n"
    return [
        Envelope(
            ref,
            f"{behaviour if behaviour.endswith('-mail') else 'shop'}.{ref}@todoku.example",
            f"{behaviour}.{ref}@relay.example",
            content,
        )
        for ref, behaviour in enumerate(behaviours)
    ]


async def _check_answers(
    make: Callable[[str], Transport], relay: ScriptedRelay, chosen: Sequence[Behaviour] = tuple(Behaviour)
) -> None:
    transport = make(await relay.start())
    behaviours = [behaviour for behaviour in chosen for _ in range(3)] + [Behaviour.ACCEPT] * 10
    several_in_flight = "CHUNKING" in relay.offers and not DROPS.isdisjoint(chosen)
    try:
        for _ in range(2):  # the second time over connections that are open already
            envelopes = envelopes_for(behaviours)
            relay.taken.clear()
            sink = WatchingSink()
            answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=30)
            check_books(envelopes, answers, sink)
            check_truth(envelopes, answers, sink, relay.taken)
            for answer in answers:
                wanted = EXPECTED[behaviours[answer.ref]]
                torn_along = several_in_flight and answer.kind is AnswerKind.UNKNOWN
                if relay.fault is Fault.CLOSES_AFTER_421:  # those behind it in flight are certainly not taken
                    torn_along = answer.kind is AnswerKind.TEMPORARY and answer.relay_failed
                assert answer.kind is wanted or torn_along, (
                    f"{behaviours[answer.ref]}: {answer.kind} ({answer.text}), not {wanted}; {relay.fault}"
                )
                assert answer.text, "an answer without words"
            for one in answers:
                if behaviours[one.ref] is Behaviour.REFUSE_RCPT and one.kind is AnswerKind.PERMANENT:
                    assert one.text == "550 5.1.1 no such person 5.1.1 here", f"not verbatim: {one.text}"
    finally:
        await transport.close()
        await relay.stop()


async def _check_falling_back(make: Callable[[str], Transport]) -> None:
    """Check a relay that offers CHUNKING and does not know BDAT: nobody is lost, and then DATA is used."""
    relay = ScriptedRelay(chunking=True, fault=Fault.KEEPS_BDAT_OCTETS)
    transport = make(await relay.start())
    try:
        envelopes = envelopes_for(["accept"] * 60)
        sink = WatchingSink()
        answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=30)
        check_books(envelopes, answers, sink)
        check_truth(envelopes, answers, sink, relay.taken)
        assert {one.kind for one in answers} <= {AnswerKind.ACCEPTED, AnswerKind.TEMPORARY}
        again = [envelopes[one.ref] for one in answers if one.kind is AnswerKind.TEMPORARY]
        assert {one.kind for one in await transport.send(again, WatchingSink())} <= {AnswerKind.ACCEPTED}
        assert sorted(relay.taken) == sorted(envelope.rcpt_to for envelope in envelopes)
    finally:
        await transport.close()
        await relay.stop()


async def _check_content(make: Callable[[str], Transport], *, chunking: bool) -> None:
    relay = ScriptedRelay(chunking=chunking)
    transport = make(await relay.start())
    try:
        envelopes = envelopes_for(["accept"] * 3)
        long = b"Subject: long\r\n\r\n" + b".a line of a long message\r\n" * 200_000
        envelopes.append(Envelope(3, "shop@todoku.example", "accept.3@relay.example", long))
        answers = await transport.send(envelopes, WatchingSink())
        assert {one.kind for one in answers} == {AnswerKind.ACCEPTED}
        for envelope in envelopes:
            assert relay.contents[envelope.rcpt_to] == envelope.content, "the content came out otherwise"
    finally:
        await transport.close()
        await relay.stop()


async def _check_refusing_door(make: Callable[[str], Transport]) -> None:
    relay = ScriptedRelay(greeting="554 5.3.2 not today")
    transport = make(await relay.start())
    try:
        await _all_temporary(transport, relay_failed=True)
    finally:
        await transport.close()
        await relay.stop()


async def _check_nobody_there(make: Callable[[str], Transport]) -> None:
    relay = ScriptedRelay()
    url = await relay.start()
    await relay.stop()
    transport = make(url)
    try:
        await _all_temporary(transport, relay_failed=True)
        await relay.start(int(url.rpartition(":")[2]))
        answers = await asyncio.wait_for(transport.send(envelopes_for(["accept"] * 3), WatchingSink()), timeout=10)
        assert {one.kind for one in answers} == {AnswerKind.ACCEPTED}, "the relay came back and was not used"
    finally:
        await transport.close()
        await relay.stop()


async def _check_taking_back(make: Callable[[str], Transport], *, chunking: bool) -> None:
    relay = ScriptedRelay(chunking=chunking)
    transport = make(await relay.start())
    try:
        envelopes = envelopes_for(["accept"] * 30)
        sink = WatchingSink(forbidden=frozenset(range(30)))
        answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
        check_books(envelopes, answers, sink)
        assert {one.kind for one in answers} == {AnswerKind.TEMPORARY}
        assert not relay.taken, "a message that was taken back was completed"
    finally:
        await transport.close()
        await relay.stop()


async def _check_two_at_once(make: Callable[[str], Transport]) -> None:
    relay = ScriptedRelay()
    transport = make(await relay.start())
    try:
        sinks = [WatchingSink(), WatchingSink()]
        envelopes = envelopes_for(["accept", "defer-final"] * 10)
        results = await asyncio.gather(*(transport.send(envelopes, sink) for sink in sinks))
        for answers, sink in zip(results, sinks, strict=True):
            check_books(envelopes, answers, sink)
        assert len(relay.taken) == 20
    finally:
        await transport.close()
        await relay.stop()


async def _all_temporary(transport: Transport, *, relay_failed: bool) -> None:
    envelopes = envelopes_for(["accept"] * 20)
    sink = WatchingSink()
    answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
    check_books(envelopes, answers, sink)
    assert not sink.marked, "a message was completed towards nobody"
    assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, relay_failed)}


def check_books(envelopes: Sequence[Envelope], answers: Sequence[Answer], sink: WatchingSink) -> None:
    """Check one answer for each envelope, and that nothing was completed without having been announced."""
    refs = sorted(answer.ref for answer in answers)
    assert refs == sorted(envelope.ref for envelope in envelopes), "not one answer for each envelope"
    assert {answer.ref: answer for answer in answers} == sink.answers, "sink and caller were told different things"
    for answer in answers:
        if answer.kind in (AnswerKind.ACCEPTED, AnswerKind.UNKNOWN):
            assert answer.ref in sink.marked, f"message {answer.ref} was completed without `about_to_complete`"


def check_truth(
    envelopes: Sequence[Envelope], answers: Sequence[Answer], sink: WatchingSink, taken: Sequence[str]
) -> None:
    """Check the answers against what the peer took, by recipient."""
    address_of = {envelope.ref: envelope.rcpt_to for envelope in envelopes}
    assert len(set(taken)) == len(taken), "the relay has a message twice"
    for answer in answers:
        is_there = address_of[answer.ref] in taken
        if answer.kind is AnswerKind.ACCEPTED:
            assert is_there, f"{address_of[answer.ref]} is said to be accepted, the relay never had it"
        elif answer.kind in (AnswerKind.PERMANENT, AnswerKind.TEMPORARY):
            assert not is_there, f"{address_of[answer.ref]} is said to be {answer.kind}, the relay has it"
        if is_there:
            assert answer.ref in sink.marked, f"{address_of[answer.ref]} left without `about_to_complete`"
