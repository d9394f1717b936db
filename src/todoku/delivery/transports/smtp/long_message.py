"""One long message by BDAT in several chunks, step by step, so that its end is written only when the rest was taken.

A connection that breaks half-way through thirty megabytes then costs nothing: the message was not complete.
"""

from __future__ import annotations

from typing import Final

from todoku.delivery.errors import HandOverForbidden
from todoku.delivery.transports.smtp.exchange import JobSource
from todoku.delivery.transports.smtp.job import Job
from todoku.delivery.transports.smtp.offers import kind_of
from todoku.delivery.transports.smtp.replies import Reply
from todoku.delivery.types import AnswerKind

CHUNK_BYTES: Final = 1024 * 1024


class LongMessage:
    """[RSET, MAIL, RCPT], then a chunk a round trip. done: its answer was given, or it went back."""

    def __init__(self, job: Job, opening: bytes) -> None:
        self.begun = False
        self.done = False
        self.end_written = False
        self._job = job
        self._opening = opening
        self._replies_due = 3
        self._sent_bytes = 0
        self._refusal: Reply | None = None

    def begin(self) -> bytes:
        """Return the opening commands."""
        self.begun = True
        return b"RSET\r\n" + self._opening

    def next_part(self, reply: Reply, source: JobSource) -> bytes:
        """Take a reply and return what to write next."""
        if reply.code >= 300 and self._refusal is None:
            self._refusal = reply
        if self._replies_due:
            self._replies_due -= 1
        if self._replies_due:
            return b""
        if self._refusal is not None:
            self._refuse(source)
            return b""
        if self.end_written:
            self.done = True
            self._job.answer(AnswerKind.ACCEPTED, reply.verbatim())
            return b""
        return self._chunk(source)

    def lost(self, source: JobSource, why: str) -> None:
        """Answer or put back: unknown only when the end was written and nothing was said to it."""
        if self._refusal is not None:
            self._refuse(source)
        elif self.end_written:
            self._job.answer(AnswerKind.UNKNOWN, f"no answer to the end of the message: {why}", relay_failed=True)
        else:
            source.put_back(self._job, why)

    def _chunk(self, source: JobSource) -> bytes:
        content = self._job.envelope.content
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        chunk = content[self._sent_bytes : self._sent_bytes + CHUNK_BYTES]
        self._sent_bytes += len(chunk)
        last = self._sent_bytes == len(content)
        if last:
            try:
                self._job.handover.sink.about_to_complete(self._job.envelope.ref)
            except HandOverForbidden as error:
                self.done = True
                self._job.answer(AnswerKind.TEMPORARY, error.what)
                source.take_back(self._job, error.what)
                return b""  # the next message begins with RSET
            self.end_written = True
        self._replies_due = 1
        return b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" * last, chunk)

    def _refuse(self, source: JobSource) -> None:
        assert self._refusal is not None
        self.done = True
        if self._refusal.code == 421 and not self.end_written:
            source.put_back(self._job, self._refusal.verbatim())
        else:
            relay_failed = self._refusal.code == 421
            self._job.answer(kind_of(self._refusal), self._refusal.verbatim(), relay_failed=relay_failed)
