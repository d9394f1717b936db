"""One SMTP connection without a network: whatever way the replies are cut into packets, and wherever the connection
breaks, every message gets exactly one answer, and the answer is true."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.delivery.transports.smtp.connection import SmtpConnection, TimeLimits
from todoku.delivery.transports.smtp.exchange import Trust
from todoku.delivery.transports.smtp.job import Job, handover_of
from todoku.delivery.transports.smtp.relay import Relay
from todoku.delivery.types import Answer, AnswerKind, Envelope

CONTENT = b"Subject: x\r\n\r\n.dot\r\nend\r\n"
REFUSALS = {
    "mail": (b"452 4.3.1 full\r\n", AnswerKind.TEMPORARY),
    "rcpt": (b"550 5.1.1 nobody\r\n", AnswerKind.PERMANENT),
    "end": (b"554-5.7.1 not\r\n554 5.7.1 wanted\r\n", AnswerKind.PERMANENT),
}
RELAY = Relay("relay.example", 25)
HOWS = st.lists(st.sampled_from(["", "", "", "mail", "rcpt", "end"]), min_size=1, max_size=12)
GREETING = b"220 relay.example\r\n250-relay.example\r\n250-SIZE 9999\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
CUTS = st.lists(st.integers(0, 70), max_size=30)


class Wire(asyncio.Transport):
    """A relay at the other end: answers each command of what is written; says 250 with a queue id to a message."""

    def __init__(self, plan: list[str], *, chunking: bool) -> None:
        super().__init__()
        self.said = b"220 relay.example\r\n"
        self.taken: dict[int, bytes] = {}
        self.written = b""
        self.cut_off = False
        self._plan = plan
        self._chunking = chunking
        self._number = -1
        self._in_content = False
        self._chunk = 0
        self._rest = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        self._rest += bytes(data)
        while self._rest:
            if self._in_content:
                content, found, rest = self._rest.partition(b"\r\n.\r\n")
                if not found:
                    return
                self._rest, self._in_content = rest, False
                self._end((b"\n" + content + b"\r\n").replace(b"\n..", b"\n.")[1:])
            elif self._chunk:
                if len(self._rest) < self._chunk:
                    return
                content, self._rest = self._rest[: self._chunk], self._rest[self._chunk :]
                self._chunk = 0
                self._end(content)
            else:
                line, found, rest = self._rest.partition(b"\r\n")
                if not found:
                    return
                self._rest = rest
                self.said += self._reply_to(line)

    def abort(self) -> None:
        self.cut_off = True

    def _end(self, content: bytes) -> None:
        how = self._plan[self._number]
        if how == "end":
            self.said += REFUSALS["end"][0]
        elif how in ("mail", "rcpt"):
            self.said += b"503 5.5.1 no RCPT\r\n"
        else:
            self.taken[self._number] = content
            self.said += b"250 2.0.0 queued as %d\r\n" % self._number

    def _reply_to(self, line: bytes) -> bytes:
        word = line[:4]
        if word == b"EHLO":
            return (
                b"250-relay.example\r\n250-SIZE 9999\r\n" + b"250-CHUNKING\r\n" * self._chunking + b"250 PIPELINING\r\n"
            )
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
        if word == b"BDAT":
            self._chunk = int(line.split()[1])
            return b""
        return b"250 2.1.0 ok\r\n"


class Owner:
    """Hands out jobs in order; what comes back stays TEMPORARY."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = deque(jobs)
        self.why_gone = ""

    def next_job(self) -> Job | None:
        return self._jobs.popleft() if self._jobs else None

    def share(self) -> int:
        return 100

    def put_back(self, job: Job, why: str, *, counts: bool = True) -> None:
        job.answer(AnswerKind.TEMPORARY, why)

    def take_back(self, job: Job, why: str) -> None:
        raise AssertionError(why)

    def encrypt(self, connection: SmtpConnection, transport: asyncio.Transport) -> None:
        raise AssertionError("nobody asked for TLS")

    def connection_ready(self, connection: SmtpConnection) -> None:
        connection.wake()

    def connection_gone(self, connection: SmtpConnection, why: str, *, was_ready: bool) -> None:
        self.why_gone = why
        for job in self._jobs:
            job.answer(AnswerKind.TEMPORARY, "never opened")


class Sink:
    def __init__(self) -> None:
        self.marked: list[int] = []
        self.answers: list[Answer] = []

    def about_to_complete(self, ref: int) -> None:
        self.marked.append(ref)

    def answered(self, answers: Sequence[Answer]) -> None:
        self.answers += answers


class Play:
    """One connection, its relay, and who watches."""

    def __init__(self, plan: list[str], *, chunking: bool) -> None:
        self.sink = Sink()
        self.wire = Wire(plan, chunking=chunking)
        envelopes = [Envelope(ref, "shop@todoku.example", f"g{ref}@example.com", CONTENT) for ref in range(len(plan))]
        self.owner = Owner(handover_of(envelopes, self.sink)[1])
        self.connection = SmtpConnection(self.owner, RELAY, "bench.example", Trust(), lambda: 0.0)
        self.connection.connection_made(self.wire)

    def run(self, cuts: list[int], most_octets: int = 1_000_000) -> None:
        """Carry replies to the connection, cut as told, until it is silent or so many octets were carried."""
        sizes = iter(cuts)
        while self.wire.said and most_octets > 0:
            size = min(next(sizes, 0) or len(self.wire.said), most_octets)
            packet, self.wire.said = self.wire.said[:size], self.wire.said[size:]
            most_octets -= size
            self.connection.data_received(packet)


@settings(max_examples=150, deadline=None)
@given(plan=HOWS, cuts=CUTS, chunking=st.booleans())
async def test_every_message_gets_its_answer_however_replies_are_cut(
    plan: list[str], cuts: list[int], chunking: bool
) -> None:
    play = Play(plan, chunking=chunking)
    play.run(cuts)
    sink, wire = play.sink, play.wire
    assert play.connection.idle
    assert not wire.cut_off
    wanted = [(ref, REFUSALS[how][1] if how else AnswerKind.ACCEPTED) for ref, how in enumerate(plan)]
    assert sorted((one.ref, one.kind) for one in sink.answers) == wanted
    accepted = {one.ref: one.text for one in sink.answers if one.kind is AnswerKind.ACCEPTED}
    assert accepted == {ref: f"250 2.0.0 queued as {ref}" for ref in wire.taken}
    assert set(wire.taken.values()) <= {CONTENT}
    if not chunking:
        assert set(sink.marked) == {ref for ref, how in enumerate(plan) if how in ("", "end")}


@settings(max_examples=200, deadline=None)
@given(plan=HOWS, cuts=CUTS, chunking=st.booleans(), most_octets=st.integers(0, 900))
async def test_wherever_the_connection_breaks_every_answer_is_true(
    plan: list[str], cuts: list[int], chunking: bool, most_octets: int
) -> None:
    play = Play(plan, chunking=chunking)
    play.run(cuts, most_octets)
    play.connection.connection_lost(None)
    sink, wire = play.sink, play.wire
    assert sorted(one.ref for one in sink.answers) == list(range(len(plan)))
    for one in sink.answers:
        if one.kind is AnswerKind.ACCEPTED:
            assert one.ref in wire.taken
        elif one.kind is AnswerKind.UNKNOWN:
            assert one.ref in sink.marked
            assert one.relay_failed
        else:
            assert one.ref not in wire.taken
    unknown = sum(one.kind is AnswerKind.UNKNOWN for one in sink.answers)
    assert unknown <= (RELAY.depth if chunking else 1)


@pytest.mark.parametrize("chunking", [False, True])
async def test_replies_in_whole_packets_are_the_common_case(chunking: bool) -> None:
    play = Play([""] * 20, chunking=chunking)
    play.run([])
    assert [one.ref for one in play.sink.answers] == list(range(20))
    assert len(play.wire.taken) == 20


async def test_several_messages_go_in_one_write_once_chunking_has_worked() -> None:
    play = Play([""] * 9, chunking=True)
    play.run([])
    first, rest = play.wire.written.split(b"RSET\r\n", 2)[1:]
    assert first.startswith(b"MAIL FROM:<shop@todoku.example> SIZE=25\r\nRCPT TO:<g0@example.com>\r\nBDAT 25 LAST\r\n")
    assert rest.count(b"BDAT 25 LAST\r\n" + CONTENT) == 8


@pytest.mark.parametrize("early", [b"250 2.0.0 too early\r\n", b"250 2.0.0 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n"])
@pytest.mark.parametrize("chunking", [False, True])
async def test_a_reply_that_nobody_waits_for_ends_the_trust(early: bytes, chunking: bool) -> None:
    play = Play([""], chunking=chunking)
    play.run([])
    assert len(play.sink.answers) == 1
    play.connection.data_received(early)
    assert play.wire.cut_off
    assert len(play.sink.answers) == 1


@pytest.mark.parametrize("broken", [b"hello\r\n", b"250" + b"x" * 70_000, b"250-a\r\n" * 1_001, b"250-a\r\n550 b\r\n"])
async def test_what_is_no_reply_ends_the_connection_and_leaves_the_message_unknown(broken: bytes) -> None:
    play = Play([""], chunking=True)
    play.run(
        [],
        most_octets=len(
            b"220 relay.example\r\n250-relay.example\r\n250-SIZE 9999\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
        ),
    )
    play.connection.data_received(broken)
    assert play.wire.cut_off
    play.connection.connection_lost(None)
    assert [one.kind for one in play.sink.answers] == [AnswerKind.UNKNOWN]


async def test_a_relay_that_says_more_than_it_was_asked_is_not_believed() -> None:
    play = Play([""], chunking=True)
    play.wire.said += b"250 2.0.0 injected\r\n"
    play.run([])
    assert play.wire.cut_off
    assert play.sink.marked == []


async def test_a_forgotten_recipient_never_gets_the_next_message() -> None:
    """A failed BDAT may leave its transaction open (RFC 3030 section 2): RSET comes before every MAIL."""
    play = Play(["end", ""], chunking=True)
    play.run([])
    commands = [line for line in play.wire.written.split(b"\r\n") if line[:4] in (b"RSET", b"MAIL", b"BDAT")]
    assert [line[:4] for line in commands] == [b"RSET", b"MAIL", b"BDAT"] * 2


async def test_a_relay_that_drips_its_reply_letter_by_letter_is_too_slow() -> None:
    now_seconds = 0.0
    sink, wire = Sink(), Wire([""], chunking=True)
    owner = Owner(handover_of([Envelope(0, "shop@todoku.example", "g0@example.com", CONTENT)], sink)[1])
    connection = SmtpConnection(owner, RELAY, "bench.example", Trust(), lambda: now_seconds)
    limits = TimeLimits(command_seconds=100.0, final_seconds=300.0)
    connection.connection_made(wire)
    while b"250" not in wire.said:
        packet, wire.said = wire.said, b""
        connection.data_received(packet)
    packet, wire.said = wire.said, b""
    connection.data_received(packet)
    assert connection.overdue(limits) == ""
    for letter in wire.said.partition(b"\r\n")[0]:
        now_seconds += 10.0
        connection.data_received(bytes([letter]))
    assert connection.overdue(limits) == "no answer to a command in 100 s"


async def test_the_end_of_a_message_is_waited_for_longer_than_a_command() -> None:
    now_seconds = 0.0
    sink, wire = Sink(), Wire([""], chunking=True)
    owner = Owner(handover_of([Envelope(0, "shop@todoku.example", "g0@example.com", CONTENT)], sink)[1])
    connection = SmtpConnection(owner, RELAY, "bench.example", Trust(), lambda: now_seconds)
    limits = TimeLimits(command_seconds=100.0, final_seconds=300.0)
    connection.connection_made(wire)
    assert connection.overdue(limits) == ""
    now_seconds = 99.0
    assert connection.overdue(limits) == ""
    now_seconds = 101.0
    assert connection.overdue(limits) == "no answer to a command in 100 s"
    for _ in range(2):
        packet, wire.said = wire.said, b""
        connection.data_received(packet)
    rset, mail, rcpt, _end = wire.said.splitlines(keepends=True)
    connection.data_received(rset + mail + rcpt)
    assert connection.overdue(limits) == ""
    now_seconds += 299.0
    assert connection.overdue(limits) == ""
    now_seconds += 2.0
    assert connection.overdue(limits) == "no answer to the end of a message in 300 s"
