"""What every transport promises, as a function that any implementer can call.

`check_transport(make)` plays relays that accept, refuse, delay, drop the connection before and after the end of a
message, or are not there, and raises AssertionError on the first broken promise. Relays choose what to do by the
local part of the recipient (`Behaviour`). `check_without_relay(transport)` is for transports that talk to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.types import Answer, AnswerKind, Envelope, Transport


class Behaviour(StrEnum):
    """What the scripted relay does for a recipient whose local part begins with this word."""

    ACCEPT = "accept"
    SLOW = "slow"
    REFUSE_RCPT = "refuse-rcpt"
    DEFER_RCPT = "defer-rcpt"
    REFUSE_FINAL = "refuse-final"
    DEFER_FINAL = "defer-final"
    DROP_AT_RCPT = "drop-at-rcpt"
    DROP_BEFORE_END = "drop-before-end"
    DROP_AFTER_END = "drop-after-end"
    CLOSING = "closing"


EXPECTED: dict[Behaviour, AnswerKind] = {
    Behaviour.ACCEPT: AnswerKind.ACCEPTED,
    Behaviour.SLOW: AnswerKind.ACCEPTED,
    Behaviour.REFUSE_RCPT: AnswerKind.PERMANENT,
    Behaviour.DEFER_RCPT: AnswerKind.TEMPORARY,
    Behaviour.REFUSE_FINAL: AnswerKind.PERMANENT,
    Behaviour.DEFER_FINAL: AnswerKind.TEMPORARY,
    Behaviour.DROP_AT_RCPT: AnswerKind.TEMPORARY,
    Behaviour.DROP_BEFORE_END: AnswerKind.TEMPORARY,
    Behaviour.DROP_AFTER_END: AnswerKind.UNKNOWN,
    Behaviour.CLOSING: AnswerKind.TEMPORARY,
}


class ScriptedRelay:
    """A relay that does what the recipient's name says. taken: recipients whose message it has, in order."""

    def __init__(
        self, *, pipelining: bool = True, eight_bit: bool = True, greeting: str = "220 relay.example ESMTP"
    ) -> None:
        self.taken: list[str] = []
        self.contents: dict[str, bytes] = {}
        self._greeting = greeting
        self._offers = [b"relay.example", *[b"PIPELINING"] * pipelining, *[b"8BITMIME"] * eight_bit]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> str:
        """Listen on loopback and return the relay's URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return f"smtp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the door and every connection."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            writer.write(self._greeting.encode() + b"\r\n")
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        in_transaction = False
        while True:
            command = await reader.readuntil(b"\r\n")
            word = command[:4].upper()
            if word == b"EHLO":
                writer.write(b"".join(b"250-" + offer + b"\r\n" for offer in self._offers) + b"250 SIZE 100000\r\n")
            elif word == b"MAIL":
                answer = b"503 5.5.1 nested MAIL" if in_transaction else b"250 2.1.0 ok"
                in_transaction, recipient = True, ""
                writer.write(answer + b"\r\n")
            elif word == b"RCPT":
                recipient = command[9:-3].decode()
                accepted = await self._answer_rcpt(writer, recipient)
                recipient = recipient if accepted else ""
            elif word == b"DATA" and recipient:
                in_transaction = False
                await self._take(reader, writer, recipient)
            elif word == b"DATA":
                writer.write(b"554 5.5.1 no valid recipients\r\n")
            elif word == b"RSET":
                in_transaction, recipient = False, ""
                writer.write(b"250 2.0.0 ok\r\n")
            elif word == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                await writer.drain()
                return
            else:
                writer.write(b"500 5.5.2 what?\r\n")

    async def _answer_rcpt(self, writer: asyncio.StreamWriter, recipient: str) -> bool:
        behaviour = _behaviour_of(recipient)
        if behaviour is Behaviour.REFUSE_RCPT:
            writer.write(b"550-5.1.1 no such person\r\n550 5.1.1 here\r\n")
        elif behaviour is Behaviour.DEFER_RCPT:
            writer.write(b"450 4.2.0 come back later\r\n")
        elif behaviour is Behaviour.CLOSING:
            writer.write(b"421 4.3.2 closing\r\n")
        elif behaviour is Behaviour.DROP_AT_RCPT:
            raise ConnectionResetError
        else:
            writer.write(b"250 2.1.5 ok\r\n")
            return True
        return False

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipient: str) -> None:
        behaviour = _behaviour_of(recipient)
        if behaviour is Behaviour.DROP_BEFORE_END:
            raise ConnectionResetError
        writer.write(b"354 go on\r\n")
        content = bytearray()
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            content += line[1:] if line.startswith(b".") else line
        if behaviour is Behaviour.SLOW:
            await asyncio.sleep(0.05)
        if behaviour is Behaviour.REFUSE_FINAL:
            writer.write(b"554 5.7.1 not wanted\r\n")
        elif behaviour is Behaviour.DEFER_FINAL:
            writer.write(b"451 4.3.0 disk full\r\n")
        else:
            self.taken.append(recipient)
            self.contents[recipient] = bytes(content)
            if behaviour is Behaviour.DROP_AFTER_END:
                raise ConnectionResetError
            writer.write(b"250 2.0.0 queued\r\n")


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

    def answered(self, answer: Answer) -> None:
        assert answer.ref not in self.answers, f"message {answer.ref} is answered twice"
        self.answers[answer.ref] = answer


async def check_transport(make: Callable[[str], Transport]) -> None:
    """Check a transport that talks to one SMTP relay. make: relay URL -> a fresh transport."""
    for pipelining in (True, False):
        await _check_answers(make, pipelining=pipelining)
    await _check_content(make)
    await _check_refusing_door(make)
    await _check_nobody_there(make)
    await _check_taking_back(make)
    await _check_two_at_once(make)


async def check_without_relay(transport: Transport) -> None:
    """Check what also holds for a transport that talks to nobody: order, one answer each, taking back."""
    envelopes = envelopes_for(["accept"] * 5)
    sink = WatchingSink(forbidden=frozenset({3}))
    answers = await transport.send(envelopes, sink)
    _check_books(envelopes, answers, sink)
    kinds = {answer.ref: answer.kind for answer in answers}
    assert kinds[3] is AnswerKind.TEMPORARY, "a message that was taken back is not TEMPORARY"
    assert all(kind is AnswerKind.ACCEPTED for ref, kind in kinds.items() if ref != 3)
    assert await transport.send([], WatchingSink()) == []
    await transport.close()


def envelopes_for(behaviours: Sequence[str]) -> list[Envelope]:
    """Return one envelope for each behaviour, numbered from 0."""
    content = b"Subject: check\r\n\r\n.a line that begins with a dot\r\n..and two\r\n.\r\nend\r\n"
    return [
        Envelope(ref, "shop@todoku.example", f"{behaviour}.{ref}@relay.example", content)
        for ref, behaviour in enumerate(behaviours)
    ]


async def _check_answers(make: Callable[[str], Transport], *, pipelining: bool) -> None:
    relay = ScriptedRelay(pipelining=pipelining)
    transport = make(await relay.start())
    behaviours = [behaviour for behaviour in Behaviour for _ in range(3)] + [Behaviour.ACCEPT] * 10
    try:
        for _ in range(2):  # the second time over connections that are open already
            envelopes = envelopes_for(behaviours)
            relay.taken.clear()
            sink = WatchingSink()
            answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=30)
            _check_books(envelopes, answers, sink)
            _check_truth(envelopes, answers, sink, relay)
            for answer in answers:
                wanted = EXPECTED[behaviours[answer.ref]]
                assert answer.kind is wanted, f"{behaviours[answer.ref]}: {answer.kind} ({answer.text}), not {wanted}"
                assert answer.text, "an answer without words"
            refusal = next(one for one in answers if behaviours[one.ref] is Behaviour.REFUSE_RCPT)
            assert refusal.text == "550 5.1.1 no such person 5.1.1 here", f"not verbatim: {refusal.text}"
    finally:
        await transport.close()
        await relay.stop()


async def _check_content(make: Callable[[str], Transport]) -> None:
    relay = ScriptedRelay()
    transport = make(await relay.start())
    try:
        envelopes = envelopes_for(["accept"] * 3)
        await transport.send(envelopes, WatchingSink())
        for envelope in envelopes:
            assert relay.contents[envelope.rcpt_to] == envelope.content, "dots were not stuffed right"
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


async def _check_taking_back(make: Callable[[str], Transport]) -> None:
    relay = ScriptedRelay()
    transport = make(await relay.start())
    try:
        envelopes = envelopes_for(["accept"] * 30)
        sink = WatchingSink(forbidden=frozenset(range(30)))
        answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
        _check_books(envelopes, answers, sink)
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
            _check_books(envelopes, answers, sink)
        assert len(relay.taken) == 20
    finally:
        await transport.close()
        await relay.stop()


async def _all_temporary(transport: Transport, *, relay_failed: bool) -> None:
    envelopes = envelopes_for(["accept"] * 20)
    sink = WatchingSink()
    answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
    _check_books(envelopes, answers, sink)
    assert not sink.marked, "a message was completed towards nobody"
    assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, relay_failed)}


def _check_books(envelopes: Sequence[Envelope], answers: Sequence[Answer], sink: WatchingSink) -> None:
    refs = sorted(answer.ref for answer in answers)
    assert refs == sorted(envelope.ref for envelope in envelopes), "not one answer for each envelope"
    assert {answer.ref: answer for answer in answers} == sink.answers, "sink and caller were told different things"
    for answer in answers:
        if answer.kind in (AnswerKind.ACCEPTED, AnswerKind.UNKNOWN):
            assert answer.ref in sink.marked, f"message {answer.ref} was completed without `about_to_complete`"


def _check_truth(
    envelopes: Sequence[Envelope], answers: Sequence[Answer], sink: WatchingSink, relay: ScriptedRelay
) -> None:
    address_of = {envelope.ref: envelope.rcpt_to for envelope in envelopes}
    assert len(set(relay.taken)) == len(relay.taken), "the relay has a message twice"
    for answer in answers:
        taken = address_of[answer.ref] in relay.taken
        if answer.kind is AnswerKind.ACCEPTED:
            assert taken, f"{address_of[answer.ref]} is said to be accepted, the relay never had it"
        elif answer.kind in (AnswerKind.PERMANENT, AnswerKind.TEMPORARY):
            assert not taken, f"{address_of[answer.ref]} is said to be {answer.kind}, the relay has it"
        if taken:
            assert answer.ref in sink.marked, f"{address_of[answer.ref]} left without `about_to_complete`"


def _behaviour_of(recipient: str) -> Behaviour:
    return Behaviour(recipient.partition(".")[0])
