"""Messages by BDAT, several in one write (RFC 3030, with PIPELINING by RFC 2920).

    RSET MAIL RCPT BDAT n LAST <octets> RSET MAIL RCPT BDAT n LAST <octets> ...

No dots are stuffed and no 354 is waited for. The RSET in front of each message costs one word of reply and makes what
came before certain: RFC 3030 section 2 leaves the state of a transaction open after a failed BDAT, and a recipient
left over from it would get the next person's message.

A server that does not eat the octets of a refused BDAT (section 4.2 says it must) reads them as commands. Its answers
run out of step, the next RSET's reply is no 250, and the connection is given up at once. So that this costs nobody,
the first message of all goes alone.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.smtp.commands import NotSent, OpeningCommands
from todoku.delivery.transports.smtp.exchange import LONG_MESSAGE_BYTES, JobSource, Trust, Wire
from todoku.delivery.transports.smtp.job import LONGEST_TEXT, Handover, Job
from todoku.delivery.transports.smtp.long_message import LongMessage
from todoku.delivery.transports.smtp.offers import kind_of
from todoku.delivery.transports.smtp.replies import Reply, ReplyReader
from todoku.delivery.types import Answer, AnswerKind

MOST_FLYING_BYTES: Final = 64 * 1024
_ALL_WELL = re.compile(rb"250 [^\r\n]*\r\n250 [^\r\n]*\r\n25[01] [^\r\n]*\r\n(2[0-9][0-9] [^\r\n]*)\r\n")
_RSET, _MAIL, _RCPT, _BDAT = range(4)  # the reply that the first message in flight waits for
_NO_SUCH_COMMAND: Final = frozenset({500, 501, 502, 504})


class ChunkExchange:
    """An `Exchange` over a relay that offers CHUNKING and PIPELINING."""

    def __init__(self, wire: Wire, source: JobSource, commands: OpeningCommands, depth: int, trust: Trust) -> None:
        self._trust = trust
        self._wire = wire
        self._source = source
        self._commands = commands
        self._depth = depth
        self._reader = ReplyReader()
        self._flying: deque[Job] = deque()  # their ends are written, their answers are due, in this order
        self._flying_bytes = 0
        self._awaited = _RSET
        self._refusal: Reply | None = None
        self._recipient_taken = False
        self._closing = ""
        self._over = False
        self._long: LongMessage | None = None

    @property
    def busy(self) -> bool:
        """Tell whether an answer is due."""
        return bool(self._flying) or self._long is not None

    @property
    def at_the_end(self) -> bool:
        """Tell whether the answer that is due is the one to the end of a message."""
        return self._awaited == _BDAT if self._flying else self._long is not None and self._long.end_written

    def wake(self) -> None:
        """Take messages as long as less than half of the depth is in flight: full writes cost least."""
        flying = len(self._flying)
        if self._closing or self._over or self._long is not None or self._wire.clogged or flying > self._depth // 2:
            return
        depth = self._depth if self._trust.proven else 1
        room = min(depth - flying, self._source.share())
        parts: list[bytes] = []
        next_job, opening_of = self._source.next_job, self._commands.of
        while room > 0 and self._flying_bytes < MOST_FLYING_BYTES and (job := next_job()) is not None:
            try:
                opening = opening_of(job.envelope)
                if len(job.envelope.content) > LONG_MESSAGE_BYTES:
                    self._long = LongMessage(job, opening)
                    break
                job.handover.sink.about_to_complete(job.envelope.ref)
            except NotSent as error:
                job.answer(error.kind, error.text)
            except HandOverForbidden as error:
                job.answer(AnswerKind.TEMPORARY, error.what)
                self._source.take_back(job, error.what)
            else:
                self._add(parts, job, opening)
                room -= 1
        if parts:
            self._wire.write(b"".join(parts))
        if self._long is not None and not self._flying:
            self._wire.write(self._long.begin())

    def received(self, data: bytes) -> None:
        """Read replies; raises BrokenReply."""
        flying = self._flying
        position = self._all_well(data) if self._awaited == _RSET and self._reader.between_replies else 0
        if position < len(data):
            for reply in self._reader.feed(data[position:] if position else data):
                self._handle(reply)
                if self._over:
                    return
        if self._long is not None and not flying and not self._long.begun:
            self._wire.write(self._long.begin())
        if self._closing and not self.busy:
            self._give_up(self._closing)
        self.wake()

    def unclogged(self) -> None:
        """Take messages again."""
        self.wake()

    def lost(self, why: str) -> None:
        """Answer what is in flight: refused as far as said, TEMPORARY behind a 421, else UNKNOWN.

        A relay that says 421 closes the channel (RFC 5321 section 3.8): what it has not answered by then it will not
        accept any more. Such messages are not sent again here, so that each is completed once a handover.
        """
        flying, self._flying = self._flying, deque()
        long, self._long = self._long, None
        if long is not None:
            long.lost(self._source, self._closing or why)
        if flying and self._refusal is not None:
            _refuse(flying.popleft(), self._refusal)
        for job in flying:
            if self._closing:
                job.answer(AnswerKind.TEMPORARY, self._closing, relay_failed=True)
            else:
                job.answer(AnswerKind.UNKNOWN, f"no answer to the end of the message: {why}", relay_failed=True)

    # --- inside ---

    def _add(self, parts: list[bytes], job: Job, opening: bytes) -> None:
        content = job.envelope.content
        whole = content.endswith(b"\r\n")
        parts.append(b"RSET\r\n%bBDAT %d LAST\r\n" % (opening, len(content) + (0 if whole else 2)))
        parts.append(content if whole else content + b"\r\n")
        self._flying.append(job)
        self._flying_bytes += len(content)

    def _all_well(self, data: bytes) -> int:
        """Answer the messages at the head of which nothing but good is said; return where other words begin."""
        position = 0
        flying, match = self._flying, _ALL_WELL.match
        answers: list[Answer] = []
        handover: Handover | None = None
        while flying and (all_well := match(data, position)) is not None:
            position = all_well.end()
            job = flying.popleft()
            envelope = job.envelope
            self._flying_bytes -= len(envelope.content)
            if job.handover is not handover:
                if handover is not None:
                    handover.take(answers)
                handover, answers = job.handover, []
            text = all_well[1].decode("utf-8", "replace")
            answers.append(Answer(envelope.ref, AnswerKind.ACCEPTED, text[:LONGEST_TEXT]))
        if handover is not None:
            self._trust.proven = True
            handover.take(answers)
        return position

    def _accepted(self, verbatim: str) -> None:
        job = self._flying.popleft()
        self._flying_bytes -= len(job.envelope.content)
        self._trust.proven = True
        job.answer(AnswerKind.ACCEPTED, verbatim)

    def _handle(self, reply: Reply) -> None:
        if reply.code == 421 and not self._closing:
            self._closing = f"the relay is closing: {reply.verbatim()}"
        if not self._flying:
            if self._long is not None and self._long.begun:
                self._continue_long(self._long, reply)
            else:
                self._give_up(f"said without being asked: {reply.verbatim()}")
        elif self._awaited == _RSET:
            if reply.code != 250 and reply.code != 421:
                self._distrust(f"RSET was answered by {reply.verbatim()}")
                return
            self._awaited, self._recipient_taken = _MAIL, False
            self._refusal = reply if reply.code == 421 else None
        elif self._awaited == _MAIL:
            self._awaited = _RCPT
            if reply.code != 250:
                self._refusal = self._refusal or reply
        elif self._awaited == _RCPT:
            self._awaited = _BDAT
            self._recipient_taken = reply.code in (250, 251)
            if not self._recipient_taken:
                self._refusal = self._refusal or reply
        else:
            self._end_answered(reply)

    def _end_answered(self, reply: Reply) -> None:
        """Decide: a 2yz counts only when the recipient was taken; else the first refusal is the reason."""
        refusal, self._refusal, self._awaited = self._refusal, None, _RSET
        if self._recipient_taken and reply.code < 300:
            self._accepted(reply.verbatim())
            return
        job = self._flying.popleft()
        self._flying_bytes -= len(job.envelope.content)
        if refusal is None and reply.code in _NO_SUCH_COMMAND and not self._trust.proven:
            job.answer(AnswerKind.TEMPORARY, reply.verbatim(), relay_failed=True)
            self._distrust(f"BDAT was answered by {reply.verbatim()}")
        else:
            _refuse(job, refusal or reply)

    def _continue_long(self, long: LongMessage, reply: Reply) -> None:
        to_write = long.next_part(reply, self._source)
        if long.done:
            self._long = None
        if to_write:
            self._wire.write(to_write)

    def _distrust(self, why: str) -> None:
        self._trust.broken = self._trust.broken or why
        self._give_up(f"the relay offers CHUNKING and does not keep to it: {why}")

    def _give_up(self, why: str) -> None:
        self._over = True
        self._wire.abort(why)


def _refuse(job: Job, refusal: Reply) -> None:
    if refusal.code == 421:
        job.answer(AnswerKind.TEMPORARY, refusal.verbatim(), relay_failed=True)
    else:
        job.answer(kind_of(refusal), refusal.verbatim())
