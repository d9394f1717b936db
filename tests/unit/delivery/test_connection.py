"""One SMTP connection without a network: whatever way the replies are cut into packets, the answers are the same."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.delivery.transports.smtp.connection import SmtpConnection
from todoku.delivery.transports.smtp.job import Job, handover_of
from todoku.delivery.types import Answer, AnswerKind, Envelope

CONTENT = b"Subject: x\r\n\r\n.dot\r\nend\r\n"
REFUSALS = {
    "mail": (b"452 4.3.1 full\r\n", AnswerKind.TEMPORARY),
    "rcpt": (b"550 5.1.1 nobody\r\n", AnswerKind.PERMANENT),
    "end": (b"554-5.7.1 not\r\n554 5.7.1 wanted\r\n", AnswerKind.PERMANENT),
}


class Wire(asyncio.Transport):
    """A relay at the other end: answers each command of what is written; says 250 with a queue id to a message."""

    def __init__(self, plan: list[str]) -> None:
        super().__init__()
        self.said = b"220 relay.example\r\n"
        self.taken: list[bytes] = []
        self._plan = plan
        self._number = -1
        self._in_content = False
        self._rest = b""

    def write(self, data: Any) -> None:
        self._rest += bytes(data)
        while b"\r\n" in self._rest:
            if self._in_content:
                content, found, rest = self._rest.partition(b"\r\n.\r\n")
                if not found:
                    return
                self._rest, self._in_content = rest, False
                self._end(content + b"\r\n")
            else:
                line, _, self._rest = self._rest.partition(b"\r\n")
                self.said += self._reply_to(line[:4])

    def abort(self) -> None:
        raise AssertionError("the connection was cut off")

    def _end(self, content: bytes) -> None:
        if self._plan[self._number] == "end":
            self.said += REFUSALS["end"][0]
        else:
            self.taken.append(content)
            self.said += b"250 2.0.0 queued as %d\r\n" % self._number

    def _reply_to(self, word: bytes) -> bytes:
        if word == b"EHLO":
            return b"250-relay.example\r\n250-SIZE 9999\r\n250 PIPELINING\r\n"
        if word == b"MAIL":
            self._number += 1
        how = self._plan[self._number] if self._number >= 0 else ""
        if word == b"MAIL" and how == "mail":
            return REFUSALS["mail"][0]
        if word == b"RCPT" and how in ("mail", "rcpt"):
            return b"503 5.5.1 no MAIL\r\n" if how == "mail" else REFUSALS["rcpt"][0]
        if word == b"DATA":
            self._in_content = how not in ("mail", "rcpt")
            return b"354 go on\r\n" if self._in_content else b"503 5.5.1 no RCPT\r\n"
        return b"250 2.1.0 ok\r\n"


class Owner:
    """Hands out jobs in order; nothing may come back."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = deque(jobs)

    def next_job(self) -> Job | None:
        return self._jobs.popleft() if self._jobs else None

    def put_back(self, job: Job, why: str) -> None:
        raise AssertionError(why)

    take_back = put_back

    def connection_ready(self, connection: SmtpConnection) -> None:
        connection.wake()

    def connection_gone(self, connection: SmtpConnection, why: str, *, was_ready: bool) -> None:
        raise AssertionError(why)


class Sink:
    def __init__(self) -> None:
        self.marked: list[int] = []
        self.answers: list[Answer] = []

    def about_to_complete(self, ref: int) -> None:
        self.marked.append(ref)

    def answered(self, answer: Answer) -> None:
        self.answers.append(answer)


async def play(plan: list[str], cuts: list[int]) -> tuple[Sink, Wire]:
    sink = Sink()
    envelopes = [Envelope(ref, "shop@todoku.example", f"g{ref}@example.com", CONTENT) for ref in range(len(plan))]
    wire = Wire(plan)
    connection = SmtpConnection(Owner(handover_of(envelopes, sink)[1]), "bench.example", lambda: 0.0)
    connection.connection_made(wire)
    sizes = iter(cuts)
    while wire.said:
        size = next(sizes, 0) or len(wire.said)
        packet, wire.said = wire.said[:size], wire.said[size:]
        connection.data_received(packet)
    assert connection.idle
    return sink, wire


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["", "", "", "mail", "rcpt", "end"]), min_size=1, max_size=8),
    st.lists(st.integers(0, 70), max_size=30),
)
async def test_every_message_gets_its_answer_however_replies_are_cut(plan: list[str], cuts: list[int]) -> None:
    sink, wire = await play(plan, cuts)
    wanted = []
    for ref, how in enumerate(plan):
        kind = REFUSALS[how][1] if how else AnswerKind.ACCEPTED
        wanted.append((ref, kind))
    assert sorted((one.ref, one.kind) for one in sink.answers) == wanted
    accepted = [one for one in sink.answers if one.kind is AnswerKind.ACCEPTED]
    assert [one.text for one in accepted] == [f"250 2.0.0 queued as {one.ref}" for one in accepted]
    assert wire.taken == [CONTENT.replace(b"\n.", b"\n..")] * len(accepted)
    assert set(sink.marked) == {ref for ref, how in enumerate(plan) if how in ("", "end")}


async def test_a_whole_group_of_replies_in_one_packet_is_the_common_case() -> None:
    sink, wire = await play([""] * 5, [])
    assert [one.ref for one in sink.answers] == [0, 1, 2, 3, 4]
    assert len(wire.taken) == 5


@pytest.mark.parametrize("early", [b"250 2.0.0 too early\r\n", b"250 2.0.0 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n"])
async def test_a_reply_that_nobody_waits_for_ends_the_trust(early: bytes) -> None:
    sink = Sink()
    envelope = Envelope(0, "shop@todoku.example", "g0@example.com", CONTENT)
    connection = SmtpConnection(Owner(handover_of([envelope], sink)[1]), "bench.example", lambda: 0.0)
    wire = Wire([""])
    connection.connection_made(cast(asyncio.Transport, wire))
    for _ in range(4):
        packet, wire.said = wire.said, b""
        connection.data_received(packet)
    assert len(sink.answers) == 1
    with pytest.raises(AssertionError, match="cut off"):
        connection.data_received(early)
    assert len(sink.answers) == 1
