"""One SMTP connection as an asyncio protocol: pipelined, one round trip a message (RFC 5321, RFC 2920).

A group on the wire is [end of message k, MAIL, RCPT and DATA of message k+1]: RFC 2920 section 3.1 lets content be
the first "command" of a group and wants DATA to be its last, because the 354 must be seen before content may follow.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, cast

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.smtp.job import Job
from todoku.delivery.transports.smtp.replies import BrokenReply, Reply, ReplyReader
from todoku.delivery.types import AnswerKind
from todoku.mail.compose import UnsafeAddress, header_address

_LINE_DOT = re.compile(rb"^\.", re.MULTILINE)
# what a relay says to one whole group when all is well: end of message, MAIL, RCPT, DATA; one line each
_ALL_WELL = re.compile(rb"(2[0-9][0-9] [^\r\n]*)\r\n250 [^\r\n]*\r\n25[01] [^\r\n]*\r\n354 [^\r\n]*\r\n")
_REPLIES_TO_A_GROUP = 4  # with an RSET in front of MAIL it would be five


class ConnectionOwner(Protocol):
    """What a connection asks of the pool that owns it."""

    def next_job(self) -> Job | None:
        """Return the next message to open, None when there is none."""
        ...

    def put_back(self, job: Job, why: str) -> None:
        """Take back a message that was not completed on this connection."""
        ...

    def take_back(self, job: Job, why: str) -> None:
        """Answer every waiting message of this message's handover: the caller forbade it."""
        ...

    def connection_ready(self, connection: SmtpConnection) -> None:
        """The greeting is done; messages can be handed over."""
        ...

    def connection_gone(self, connection: SmtpConnection, why: str, *, was_ready: bool) -> None:
        """The connection is closed, for the reason given."""
        ...


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds to wait for each kind of answer (RFC 5321 section 4.5.3.2, shorter where a campaign can't wait)."""

    connect_seconds: float = 30.0
    command_seconds: float = 120.0
    final_seconds: float = 600.0  # a relay that scans content may take its time; too short a limit makes unknowns
    idle_seconds: float = 60.0


@dataclass(slots=True)
class _Opened:
    """The message whose MAIL, RCPT and DATA are on the wire. refused: first reply that forbids it."""

    job: Job
    mail_accepted: bool = False
    rcpt_accepted: bool = False
    refused: Reply | None = None


@dataclass(slots=True)
class Offers:
    """What the relay said in its EHLO answer. size: largest message in octets, 0 = not said."""

    pipelining: bool = False
    eight_bit: bool = False
    size: int = 0
    keywords: frozenset[str] = field(default_factory=frozenset)


class SmtpConnection(asyncio.Protocol):
    """Talk to one relay; takes messages from its owner as long as there are any."""

    def __init__(self, owner: ConnectionOwner, ehlo_name: str, now_seconds: Callable[[], float]) -> None:
        self.offers = Offers()
        self.ready = False
        self._owner = owner
        self._ehlo_name = ehlo_name
        self._now_seconds = now_seconds
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._expected: deque[Callable[[Reply], None]] = deque([self._greeted])
        self._opening = (self._mail_answered, self._rcpt_answered, self._data_answered)
        self._opened: _Opened | None = None
        self._finishing: Job | None = None
        self._needs_reset = False
        self._leaving = ""
        self._held_back: deque[bytes] = deque()  # commands of a relay that does not pipeline
        self._whole_group_out = False  # exactly [end of message, MAIL, RCPT, DATA] wait for their replies
        self._moved = False
        self._last_moved_seconds = now_seconds()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._moved = True

    def data_received(self, data: bytes) -> None:
        self._moved = True
        if self._whole_group_out:
            self._whole_group_out = False
            all_well = _ALL_WELL.fullmatch(data)
            if all_well is not None:  # the same steps as below without looking at each reply: half the time
                self._next_group(all_well[1])
                return
        try:
            for reply in self._reader.feed(data):
                inside_a_group = bool(self._held_back)
                self._handle(reply)
                if inside_a_group and not self._leaving:
                    self._write(self._held_back.popleft())
        except BrokenReply as error:
            self.abort(str(error))
        if not self._reader.between_replies:
            self._whole_group_out = False

    def connection_lost(self, exc: Exception | None) -> None:
        was_ready, self.ready = self.ready, False
        why = self._leaving or (f"connection lost: {exc}" if exc else "the relay closed the connection")
        self._transport = None
        finishing, self._finishing = self._finishing, None
        opened, self._opened = self._opened, None
        if finishing is not None:
            finishing.answer(AnswerKind.UNKNOWN, f"no answer to the end of the message: {why}", relay_failed=True)
        if opened is not None:
            self._owner.put_back(opened.job, why)
        self._owner.connection_gone(self, why, was_ready=was_ready)

    # --- for the owner ---

    @property
    def idle(self) -> bool:
        """Tell whether nothing is on the wire."""
        return self.ready and not self._expected

    def wake(self) -> None:
        """Look for a message when none is being opened."""
        if self.ready and self._opened is None and not self._leaving:
            group = self._open_next()
            if group:
                self._write_group(group)

    def quit(self) -> None:
        """Say goodbye when nothing is on the wire; else cut the connection off."""
        if self.idle:
            self.ready = False
            self._leaving = "closed"
            self._expected.append(self._quit_answered)
            self._write(b"QUIT\r\n")
        else:
            self.abort("closed while messages were on the wire")

    def abort(self, why: str) -> None:
        """Cut the connection off; what is on the wire gets its answer from `connection_lost`."""
        if not self._leaving:
            self._leaving = why
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, limits: TimeLimits) -> str:
        """Return what took too long, "" when nothing did. Called now and then: a move counts from the next call on."""
        now_seconds = self._now_seconds()
        if self._moved:
            self._moved, self._last_moved_seconds = False, now_seconds
        waited = now_seconds - self._last_moved_seconds
        if not self._expected:
            return "idle" if self.ready and waited > limits.idle_seconds else ""
        at_the_end = self._expected[0] == self._finished
        limit = limits.final_seconds if at_the_end else limits.command_seconds
        awaited = "the end of a message" if at_the_end else "a command"
        return f"no answer to {awaited} in {limit:g} s" if waited > limit else ""

    # --- replies: one method for each command that may be outstanding ---

    def _handle(self, reply: Reply) -> None:
        self._whole_group_out = False
        if not self._expected:
            self.abort(f"said without being asked: {reply.verbatim()}")
            return
        self._expected.popleft()(reply)
        if reply.code == 421 and not self._leaving:  # RFC 5321 section 3.8: the relay is closing, whatever we asked
            self.abort(f"the relay is closing: {reply.verbatim()}")

    def _greeted(self, reply: Reply) -> None:
        if reply.code != 220:
            self.abort(f"the relay refuses us: {reply.verbatim()}")
            return
        self._expected.append(self._introduced)
        self._write(f"EHLO {self._ehlo_name}\r\n".encode("ascii"))

    def _introduced(self, reply: Reply) -> None:
        if reply.code != 250:
            self.abort(f"the relay refuses EHLO: {reply.verbatim()}")
            return
        # STARTTLS and AUTH go here: after the first EHLO, before the connection counts as ready
        self.offers = _offers(reply.text)
        self.ready = True
        self._owner.connection_ready(self)

    def _empty_end_answered(self, reply: Reply) -> None:
        """The end of an empty message, after a 354 that nobody should have given: no recipient, so nothing to know."""

    def _reset_answered(self, reply: Reply) -> None:
        if reply.code != 250:
            self.abort(f"RSET refused: {reply.verbatim()}")

    def _quit_answered(self, reply: Reply) -> None:
        self.abort("closed")

    def _mail_answered(self, reply: Reply) -> None:
        opened = self._must_be_open()
        opened.mail_accepted = reply.code == 250
        if not opened.mail_accepted:
            opened.refused = reply

    def _rcpt_answered(self, reply: Reply) -> None:
        opened = self._must_be_open()
        opened.rcpt_accepted = reply.code in (250, 251)
        if not opened.rcpt_accepted and opened.refused is None:
            opened.refused = reply

    def _data_answered(self, reply: Reply) -> None:
        opened = self._must_be_open()
        self._opened = None
        if reply.code == 354 and opened.refused is None:
            self._complete(opened.job)
            return
        group = b""
        if reply.code == 354:  # no recipient, and still asked for content: RFC 2920 section 3.1 wants a lone dot
            self._expected.append(self._empty_end_answered)
            group = b".\r\n"
        elif opened.mail_accepted:
            self._needs_reset = True
        refusal = opened.refused or reply
        kind = AnswerKind.PERMANENT if refusal.code >= 500 else AnswerKind.TEMPORARY
        if refusal.code == 421:
            self._owner.put_back(opened.job, refusal.verbatim())
            return
        opened.job.answer(kind, refusal.verbatim())
        self._write_group(group + self._open_next())

    def _complete(self, job: Job) -> None:
        """Write the content and its end, and behind it the opening of the next message."""
        try:
            job.handover.sink.about_to_complete(job.envelope.ref)
        except HandOverForbidden as error:
            job.answer(AnswerKind.TEMPORARY, error.what)
            self._owner.take_back(job, error.what)
            self.abort("a message was taken back")  # after DATA only content can follow: the connection is lost
            return
        content = job.envelope.content
        if job.envelope.dot_lines and (b"\n." in content or content[:1] == b"."):
            content = _LINE_DOT.sub(b"..", content)
        end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
        self._finishing = job
        self._expected.append(self._finished)
        if self.offers.pipelining:
            self._write(b"".join((content, end, self._open_next())))
            self._whole_group_out = len(self._expected) == _REPLIES_TO_A_GROUP
        else:
            self._write(content + end)

    def _next_group(self, final: bytes) -> None:
        """Take "all well" for the message at its end and for the opened one; complete that one."""
        job, opened = self._finishing, self._must_be_open()
        assert job is not None
        self._finishing = self._opened = None
        self._expected.clear()
        job.answer(AnswerKind.ACCEPTED, final.decode("utf-8", "replace").rstrip())
        self._complete(opened.job)

    def _finished(self, reply: Reply) -> None:
        job, self._finishing = self._finishing, None
        assert job is not None
        if 200 <= reply.code < 300:
            job.answer(AnswerKind.ACCEPTED, reply.verbatim())
        else:
            job.answer(AnswerKind.PERMANENT if reply.code >= 500 else AnswerKind.TEMPORARY, reply.verbatim())
        if self._opened is None and not self._leaving and reply.code != 421:
            self._write_group(self._open_next())

    # --- writing ---

    def _open_next(self) -> bytes:
        """Take the next message that may be sent, and return its opening commands; b"" when there is none."""
        if self._opened is not None or self._leaving or (self._finishing is not None and not self.offers.pipelining):
            return b""
        while (job := self._owner.next_job()) is not None:
            group = self._opening_of(job)
            if group:
                self._opened = _Opened(job)
                if self._needs_reset:
                    self._needs_reset = False
                    self._expected.append(self._reset_answered)
                    group = b"RSET\r\n" + group
                self._expected.extend(self._opening)
                return group
        return b""

    def _opening_of(self, job: Job) -> bytes:
        envelope, offers = job.envelope, self.offers
        try:
            mail_from = _return_path(envelope.mail_from)
            rcpt_to = header_address(envelope.rcpt_to)
        except UnsafeAddress as error:
            job.answer(AnswerKind.PERMANENT, f"553 5.1.3 not sent: {error}")
            return b""
        size = len(envelope.content)
        if offers.size and size > offers.size:
            job.answer(AnswerKind.PERMANENT, f"552 5.3.4 not sent: {size} octets, the relay takes {offers.size}")
            return b""
        parameters = f" SIZE={size}" if "SIZE" in offers.keywords else ""
        if not envelope.content.isascii():
            if not offers.eight_bit:
                # not the message's fault: composed again it will be 7-bit (`SmtpTransport.eight_bit` is False by now)
                job.answer(AnswerKind.TEMPORARY, "454 5.6.3 not sent: 8-bit content, the relay offers no 8BITMIME")
                return b""
            parameters += " BODY=8BITMIME"
        return f"MAIL FROM:<{mail_from}>{parameters}\r\nRCPT TO:<{rcpt_to}>\r\nDATA\r\n".encode("ascii")

    def _write_group(self, group: bytes) -> None:
        if not group:
            return
        if self.offers.pipelining:
            self._write(group)
            return
        first, *later = group.splitlines(keepends=True)
        self._held_back.extend(later)
        self._write(first)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._moved = True
            self._transport.write(data)

    def _must_be_open(self) -> _Opened:
        assert self._opened is not None, "an answer to MAIL, RCPT or DATA without a message: our own book is wrong"
        return self._opened


@lru_cache(maxsize=64)
def _return_path(address: str) -> str:
    return header_address(address) if address else ""


def _offers(text: str) -> Offers:
    """Read the EHLO answer; its lines were joined by blanks, so keywords are looked up as words."""
    words = text.upper().split()
    size = 0
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "SIZE" and following.isdigit():
            size = int(following)
    return Offers("PIPELINING" in words, "8BITMIME" in words, size, frozenset(words))
