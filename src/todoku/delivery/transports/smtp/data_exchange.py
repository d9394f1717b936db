"""Messages by DATA, one round trip each (RFC 5321, RFC 2920).

A group on the wire is [end of message k, MAIL, RCPT and DATA of message k+1]: RFC 2920 section 3.1 lets content be
the first "command" of a group and wants DATA to be its last, because the 354 must be seen before content may follow.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.smtp.commands import NotSent, OpeningCommands
from todoku.delivery.transports.smtp.exchange import LONG_MESSAGE_BYTES, JobSource, Wire
from todoku.delivery.transports.smtp.job import Job
from todoku.delivery.transports.smtp.offers import kind_of
from todoku.delivery.transports.smtp.replies import Reply, ReplyReader
from todoku.delivery.types import AnswerKind

_LINE_DOT = re.compile(rb"^\.", re.MULTILINE)
# what a relay says to one whole group when all is well: end of message, MAIL, RCPT, DATA; one line each
_ALL_WELL = re.compile(rb"(2[0-9][0-9] [^\r\n]*)\r\n250 [^\r\n]*\r\n25[01] [^\r\n]*\r\n354 [^\r\n]*\r\n")
_REPLIES_TO_A_GROUP = 4  # with an RSET in front of MAIL it would be five


@dataclass(slots=True)
class _Opened:
    """The message whose MAIL, RCPT and DATA are on the wire. refused: first reply that forbids it."""

    job: Job
    mail_accepted: bool = False
    refused: Reply | None = None


class DataExchange:
    """An `Exchange` that works with every relay."""

    def __init__(self, wire: Wire, source: JobSource, commands: OpeningCommands, *, pipelining: bool) -> None:
        self._wire = wire
        self._source = source
        self._commands = commands
        self._pipelining = pipelining
        self._reader = ReplyReader()
        self._expected: deque[Callable[[Reply], None]] = deque()
        self._opening = (self._mail_answered, self._rcpt_answered, self._data_answered)
        self._opened: _Opened | None = None
        self._writing: Job | None = None  # a long one whose end waits until the rest has left
        self._finishing: Job | None = None
        self._needs_reset = False
        self._over = False
        self._accepted_any = False
        self._held_back: deque[bytes] = deque()  # commands of a relay that does not pipeline
        self._whole_group_out = False  # exactly [end of message, MAIL, RCPT, DATA] wait for their replies

    @property
    def busy(self) -> bool:
        """Tell whether an answer is due, or a message half written."""
        return bool(self._expected) or self._writing is not None

    @property
    def at_the_end(self) -> bool:
        """Tell whether the answer that is due is the one to the end of a message."""
        return bool(self._expected) and self._expected[0] == self._finished

    def wake(self) -> None:
        """Look for a message when none is being opened."""
        if self._opened is None and self._writing is None and not self._over:
            group = self._open_next()
            if group:
                self._write_group(group)

    def received(self, data: bytes) -> None:
        """Read replies; raises BrokenReply."""
        if self._whole_group_out:
            self._whole_group_out = False
            all_well = _ALL_WELL.fullmatch(data)
            if all_well is not None:  # the same steps as below without looking at each reply: half the time
                self._next_group(all_well[1])
                return
        for reply in self._reader.feed(data):
            inside_a_group = bool(self._held_back)
            self._handle(reply)
            if self._over:
                return
            if inside_a_group:
                self._wire.write(self._held_back.popleft())
        if not self._reader.between_replies:
            self._whole_group_out = False

    def unclogged(self) -> None:
        """Write the end of a long message, now that the rest has left."""
        job, self._writing = self._writing, None
        if job is not None:
            self._end_of(job)

    def lost(self, why: str) -> None:
        """Answer what was ended, put back what was not."""
        finishing, self._finishing = self._finishing, None
        opened, self._opened = self._opened, None
        writing, self._writing = self._writing, None
        self._expected.clear()
        self._over = True
        if finishing is not None:
            finishing.answer(AnswerKind.UNKNOWN, f"no answer to the end of the message: {why}", relay_failed=True)
        if writing is not None:
            self._source.put_back(writing, why)
        if opened is not None and opened.refused is not None and opened.refused.code != 421:
            opened.job.answer(kind_of(opened.refused), opened.refused.verbatim())
        elif opened is not None:
            self._source.put_back(opened.job, why, counts=finishing is None and not self._accepted_any)

    # --- replies: one method for each command that may be outstanding ---

    def _handle(self, reply: Reply) -> None:
        self._whole_group_out = False
        if not self._expected:
            self._give_up(f"said without being asked: {reply.verbatim()}")
            return
        self._expected.popleft()(reply)
        if reply.code == 421 and not self._over:  # RFC 5321 section 3.8: the relay is closing, whatever we asked
            self._give_up(f"the relay is closing: {reply.verbatim()}")

    def _empty_end_answered(self, reply: Reply) -> None:
        """The end of an empty message, after a 354 that nobody should have given: no recipient, so nothing to know."""

    def _reset_answered(self, reply: Reply) -> None:
        if reply.code != 250:
            self._give_up(f"RSET refused: {reply.verbatim()}")

    def _mail_answered(self, reply: Reply) -> None:
        opened = self._must_be_open()
        opened.mail_accepted = reply.code == 250
        if not opened.mail_accepted:
            opened.refused = reply

    def _rcpt_answered(self, reply: Reply) -> None:
        opened = self._must_be_open()
        if reply.code not in (250, 251) and opened.refused is None:
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
        if refusal.code == 421:
            self._source.put_back(opened.job, refusal.verbatim(), counts=not self._accepted_any)
            return
        opened.job.answer(kind_of(refusal), refusal.verbatim())
        if not self._over:
            self._write_group(group + self._open_next())

    def _finished(self, reply: Reply) -> None:
        job, self._finishing = self._finishing, None
        assert job is not None
        kind = kind_of(reply)
        self._accepted_any |= kind is AnswerKind.ACCEPTED
        job.answer(kind, reply.verbatim(), relay_failed=reply.code == 421)
        if self._opened is None and reply.code != 421:
            self._write_group(self._open_next())

    def _next_group(self, final: bytes) -> None:
        """Take "all well" for the message at its end and for the opened one; complete that one."""
        job, opened = self._finishing, self._must_be_open()
        assert job is not None
        self._finishing = self._opened = None
        self._expected.clear()
        self._accepted_any = True
        job.answer(AnswerKind.ACCEPTED, final.decode("utf-8", "replace").rstrip())
        self._complete(opened.job)

    # --- writing ---

    def _complete(self, job: Job) -> None:
        """Write the content and its end, and behind it the opening of the next message."""
        if len(job.envelope.content) <= LONG_MESSAGE_BYTES:
            self._end_of(job, _stuffed(job))
            return
        self._wire.write(_stuffed(job))
        if self._wire.clogged:
            self._writing = job
        else:
            self._end_of(job)

    def _end_of(self, job: Job, content: bytes = b"") -> None:
        """Write the end of a message, what of it is not written yet in front of it."""
        try:
            job.handover.sink.about_to_complete(job.envelope.ref)
        except HandOverForbidden as error:
            job.answer(AnswerKind.TEMPORARY, error.what)
            self._source.take_back(job, error.what)
            self._give_up("a message was taken back")  # after DATA only content can follow: the connection is lost
            return
        end = b".\r\n" if job.envelope.content.endswith(b"\r\n") else b"\r\n.\r\n"
        self._finishing = job
        self._expected.append(self._finished)
        if self._pipelining:
            self._wire.write(b"".join((content, end, self._open_next())))
            self._whole_group_out = len(self._expected) == _REPLIES_TO_A_GROUP
        else:
            self._wire.write(content + end)

    def _open_next(self) -> bytes:
        """Take the next message that may be sent, and return its opening commands; b"" when there is none."""
        if self._opened is not None or self._over or (self._finishing is not None and not self._pipelining):
            return b""
        while (job := self._source.next_job()) is not None:
            try:
                group = self._commands.of(job.envelope) + b"DATA\r\n"
            except NotSent as error:
                job.answer(error.kind, error.text)
                continue
            self._opened = _Opened(job)
            if self._needs_reset:
                self._needs_reset = False
                self._expected.append(self._reset_answered)
                group = b"RSET\r\n" + group
            self._expected.extend(self._opening)
            return group
        return b""

    def _write_group(self, group: bytes) -> None:
        if not group:
            return
        if self._pipelining:
            self._wire.write(group)
            return
        first, *later = group.splitlines(keepends=True)
        self._held_back.extend(later)
        self._wire.write(first)

    def _give_up(self, why: str) -> None:
        self._over = True
        self._wire.abort(why)

    def _must_be_open(self) -> _Opened:
        assert self._opened is not None, "an answer to MAIL, RCPT or DATA without a message: our own book is wrong"
        return self._opened


def _stuffed(job: Job) -> bytes:
    content = job.envelope.content
    if job.envelope.dot_lines and (b"\n." in content or content[:1] == b"."):
        return _LINE_DOT.sub(b"..", content)
    return content
