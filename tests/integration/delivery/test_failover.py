"""Fail-over over several relays: what goes on to the next one, what never does, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from todoku.delivery.transports.conformance import WatchingSink, check_transport, envelopes_for
from todoku.delivery.transports.failover import FailOverTransport
from todoku.delivery.transports.opening import OpenOptions, open_transport, read_named_urls, shown
from todoku.delivery.transports.scripted_relay import ScriptedRelay
from todoku.delivery.transports.smtp import SmtpTransport
from todoku.delivery.types import Answer, AnswerKind, AnswerSink, Envelope, Transport
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.kernel.errors import ConfigurationError

Verdict = Callable[[Envelope, AnswerSink], Answer]


class DecidedRelay:
    """A transport whose word is decided by a function. seen: refs of each call."""

    def __init__(self, verdict: Verdict, *, eight_bit: bool = True) -> None:
        self.verdict = verdict
        self.eight_bit = eight_bit
        self.seen: list[list[int]] = []

    async def send(self, envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        self.seen.append([envelope.ref for envelope in envelopes])
        answers = [self.verdict(envelope, sink) for envelope in envelopes]
        for answer in answers:
            sink.answered((answer,))
        return answers

    async def close(self) -> None:
        self.seen.append([])


def takes(envelope: Envelope, sink: AnswerSink) -> Answer:
    sink.about_to_complete(envelope.ref)
    return Answer(envelope.ref, AnswerKind.ACCEPTED, "250 2.0.0 queued")


def is_away(envelope: Envelope, sink: AnswerSink) -> Answer:
    return Answer(envelope.ref, AnswerKind.TEMPORARY, "can't be reached", relay_failed=True)


def dies_after_the_end(envelope: Envelope, sink: AnswerSink) -> Answer:
    sink.about_to_complete(envelope.ref)
    return Answer(envelope.ref, AnswerKind.UNKNOWN, "lost")


def is_full_after_the_end(envelope: Envelope, sink: AnswerSink) -> Answer:
    sink.about_to_complete(envelope.ref)
    return Answer(envelope.ref, AnswerKind.TEMPORARY, "503 no room", relay_failed=True)


def defers(envelope: Envelope, sink: AnswerSink) -> Answer:
    return Answer(envelope.ref, AnswerKind.TEMPORARY, "450 4.2.0 come back later")


def over(clock: VirtualClock, *relays: Transport) -> FailOverTransport:
    return FailOverTransport([(f"relay {place}", relay) for place, relay in enumerate(relays)], clock)


async def kinds_of(transport: Transport, count: int = 10) -> list[AnswerKind]:
    envelopes, sink = envelopes_for(["accept"] * count), WatchingSink()
    answers = await transport.send(envelopes, sink)
    assert {answer.ref: answer for answer in answers} == sink.answers
    assert sorted(sink.answers) == list(range(count))
    return [sink.answers[ref].kind for ref in range(count)]


@pytest.mark.parametrize("dead_place", [0, 1, None])
async def test_it_keeps_what_every_transport_promises(dead_place: int | None) -> None:
    def make(url: str) -> Transport:
        urls = [url]
        if dead_place is not None:
            urls.insert(dead_place, "smtp://127.0.0.1:9")  # discard: nobody listens
        return open_transport(",".join(urls), SystemClock()) if len(urls) > 1 else over_one(url)

    def over_one(url: str) -> Transport:
        return FailOverTransport([("only", SmtpTransport(url))], SystemClock())

    await check_transport(make)


async def test_the_next_relay_takes_what_the_first_did_not(clock: VirtualClock) -> None:
    first, second = DecidedRelay(is_away), DecidedRelay(takes)
    transport = over(clock, first, second)
    assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
    assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
    assert len(first.seen) == 1, "a relay that is away was asked again at once"
    assert second.seen == [list(range(10))] * 2


@pytest.mark.parametrize("verdict", [dies_after_the_end, is_full_after_the_end, defers])
async def test_what_the_first_may_have_never_goes_on(clock: VirtualClock, verdict: Verdict) -> None:
    first, second = DecidedRelay(verdict), DecidedRelay(takes)
    kinds = await kinds_of(over(clock, first, second))
    assert AnswerKind.ACCEPTED not in kinds
    assert second.seen == []


async def test_after_a_definite_no_the_next_attempt_goes_elsewhere(clock: VirtualClock) -> None:
    first, second = DecidedRelay(is_full_after_the_end), DecidedRelay(takes)
    transport = over(clock, first, second)
    assert await kinds_of(transport) == [AnswerKind.TEMPORARY] * 10
    assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
    assert len(first.seen) == 1


async def test_one_message_finds_out_whether_the_first_is_back(clock: VirtualClock) -> None:
    first, second = DecidedRelay(is_away), DecidedRelay(takes)
    transport = over(clock, first, second)
    await kinds_of(transport)
    clock.advance(1.0)
    assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
    assert first.seen[1:] == [[0]], "more than one message tried the relay that was away"
    clock.advance(0.9)
    await kinds_of(transport)
    assert len(first.seen) == 2, "the second wait was not longer than the first"
    first.verdict = takes
    clock.advance(2.0)
    await kinds_of(transport)
    assert first.seen[2:] == [[0]]
    await kinds_of(transport)
    assert first.seen[3:] == [list(range(10))], "the relay is back and was not used"


async def test_a_probe_that_was_taken_back_proves_nothing(clock: VirtualClock) -> None:
    first, second = DecidedRelay(is_away), DecidedRelay(takes)
    transport = over(clock, first, second)
    await kinds_of(transport)
    clock.advance(1.0)

    async def taken_back(envelopes: Sequence[Envelope], sink: AnswerSink, *, flow: str = "") -> list[Answer]:
        from todoku.delivery.errors import HandOverForbidden

        with pytest.raises(HandOverForbidden):
            sink.about_to_complete(envelopes[0].ref)
        answer = Answer(envelopes[0].ref, AnswerKind.TEMPORARY, "taken back")
        sink.answered((answer,))
        return [answer]

    send, first.send = first.send, taken_back  # type: ignore[method-assign]
    await transport.send(envelopes_for(["accept"] * 3), WatchingSink(forbidden=frozenset({0})))
    first.send = send  # type: ignore[method-assign]
    await kinds_of(transport)
    assert first.seen[1:] == [[0]], "the circuit closed although the relay said nothing"


async def test_without_any_relay_the_caller_is_told(clock: VirtualClock) -> None:
    transport = over(clock, DecidedRelay(is_away), DecidedRelay(is_away))
    for _ in range(3):
        sink = WatchingSink()
        answers = await transport.send(envelopes_for(["accept"] * 4), sink)
        assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, True)}


async def test_one_difficult_recipient_opens_no_circuit(clock: VirtualClock) -> None:
    def drops_one(envelope: Envelope, sink: AnswerSink) -> Answer:
        return is_away(envelope, sink) if envelope.ref == 3 else takes(envelope, sink)

    first, second = DecidedRelay(drops_one), DecidedRelay(takes)
    transport = over(clock, first, second)
    assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
    assert second.seen == [[3]]
    await kinds_of(transport)
    assert len(first.seen) == 2, "one message that failed made a relay passed over"


async def test_eight_bit_content_waits_for_a_relay_that_takes_it(clock: VirtualClock) -> None:
    first, second = DecidedRelay(is_away), DecidedRelay(takes, eight_bit=False)
    transport = over(clock, first, second)
    assert transport.eight_bit
    envelopes = [Envelope(0, "a@b.example", "c@d.example", b"Subject: x\r\n\r\nascii\r\n")]
    envelopes.append(Envelope(1, "a@b.example", "c@d.example", "Subject: x\r\n\r\n秋\r\n".encode()))
    sink = WatchingSink()
    await transport.send(envelopes, sink)
    assert sink.answers[0].kind is AnswerKind.ACCEPTED
    assert (sink.answers[1].kind, sink.answers[1].relay_failed) == (AnswerKind.TEMPORARY, False)
    assert second.seen == [[0]]
    assert not transport.eight_bit, "the next messages are composed for the relay in use"


async def test_a_real_relay_that_dies_and_returns(clock: VirtualClock) -> None:
    first, second = ScriptedRelay(), ScriptedRelay()
    urls = [await first.start(), await second.start()]
    transport = over(clock, *(SmtpTransport(url) for url in urls))
    try:
        assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
        assert (len(first.taken), len(second.taken)) == (10, 0)
        await first.stop()
        await asyncio.sleep(0)
        assert await kinds_of(transport) == [AnswerKind.ACCEPTED] * 10
        assert len(second.taken) == 10
        await first.start(int(urls[0].rpartition(":")[2]))
        clock.advance(1.0)
        await kinds_of(transport)
        await kinds_of(transport)
        assert len(first.taken) == 10 + 1 + 10
    finally:
        await transport.close()
        await first.stop()
        await second.stop()


async def test_messages_that_are_too_long_are_refused_before_anything_is_handed_over() -> None:
    relay = ScriptedRelay()
    transport = open_transport(await relay.start(), SystemClock(), OpenOptions(most_octets=2_000))
    try:
        envelopes = envelopes_for(["accept"] * 3)
        long = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 1_000
        envelopes[1] = Envelope(1, "a@b.example", "accept.1@relay.example", long)
        sink = WatchingSink()
        await transport.send(envelopes, sink)
        assert sink.answers[1].kind is AnswerKind.PERMANENT
        assert sink.answers[1].text.startswith(f"552 5.3.4 not sent: the message has {len(long)} octets")
        assert sorted(sink.marked) == [0, 2]
        assert len(relay.taken) == 2
    finally:
        await transport.close()
        await relay.stop()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example:25",
        "pop3://user:hunter2@relay.example",
        "smtp://user:hunter2@",
        "smtp://user:hunter2@relay.example?speed=hunter2",
        "smtp://relay.example,user:hunter2@other.example",
        "null://user:hunter2@host",
        "smtp://[user:hunter2",
        "smtp://user:hunter2",
        "hunter2",
    ],
)
def test_wrong_urls_are_refused_without_printing_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_transport(url, SystemClock())
    assert "hunter2" not in str(refusal.value)


def test_names_of_transports() -> None:
    assert read_named_urls("") == {}
    assert read_named_urls("bulk=smtp://a:25  post=smtp://b,smtp://c") == {
        "bulk": "smtp://a:25",
        "post": "smtp://b,smtp://c",
    }
    for odd in ("bulk", "=smtp://a", "Bulk=smtp://a", "bulk=", "bulk=smtp://a bulk=smtp://b"):
        with pytest.raises(ConfigurationError):
            read_named_urls(odd)
    assert shown("smtp://user:secret@relay.example:25/x?y=z") == "smtp://relay.example:25"
    assert shown("smtp://user:secret") == "smtp://…"
    assert shown("smtp://[::1]:25") == "smtp://[::1]:25"
    assert shown("user:secret@relay.example") == "user:"
