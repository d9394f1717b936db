"""The server's side of an SMTP or LMTP conversation, without a socket.

Bytes go in by `feed`, replies come out by `take_output`, and at most one whole mail at a time is handed over; nothing
more is read until the owner has said by `settle` what became of it. So a 250 can never run ahead of the disk.

Sources: RFC 5321 (SMTP), 2033 (LMTP), 1870 (SIZE), 2920 (PIPELINING), 2034 (ENHANCEDSTATUSCODES), 3030 (CHUNKING),
3207 (STARTTLS), 4954 (AUTH), 6152 (8BITMIME), 6531 (SMTPUTF8). After DATA only CR LF . CR LF ends a mail, and only
CR LF ends a command, because every looser reading lets a stranger smuggle a second mail into the first
(CVE-2023-51764 and its siblings).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_commands import read_bdat_command
from todoku.mail.smtp_content import ChunkedContent, DottedContent, EndlessMail
from todoku.mail.smtp_envelope import DialogueLimits, MessageReceived, OpenEnvelope, Policy
from todoku.mail.smtp_login import PLAIN, Authenticator, Login, Security

__all__ = ["DialogueLimits", "MessageReceived", "Policy", "ServerDialogue"]

_PLAIN_ANSWERS: Final = {b"NOOP": say.OK, b"HELP": say.HELP, b"VRFY": say.CANNOT_VRFY, b"EXPN": say.NO_EXPN}
_GREETING_ARGUMENT = re.compile(rb"[\x20-\x7e]+\Z")


class _Stage(IntEnum):
    COMMAND = 0
    DATA = 1
    CHUNK = 2
    VERDICT = 3
    HANDSHAKE = 4
    CLOSED = 5


class ServerDialogue:
    """One conversation. Never raises on input, whatever the bytes; the same bytes in any pieces give the same replies.

    With STARTTLS, when `wants_tls` turns True, send the output, do the handshake and call `tls_begun`. Bytes that came
    before the handshake are a stranger's and are dropped (RFC 3207 section 5).
    """

    def __init__(
        self,
        limits: DialogueLimits,
        hostname: str,
        policy: Policy,
        *,
        lmtp: bool = False,
        security: Security = PLAIN,
    ) -> None:
        self._limits = limits
        self._hostname = hostname
        self._envelope = OpenEnvelope(limits, policy)
        self._lmtp = lmtp
        self._stage = _Stage.COMMAND
        self._output: list[bytes] = [f"220 {hostname} {'LMTP' if lmtp else 'ESMTP'} Todoku\r\n".encode("ascii")]
        self._pending = b""
        self._skipping_line = False
        self._close_requested = False
        self._greeted = False
        self._empty_chunk = False
        self._dotted: DottedContent | None = None
        self._chunked: ChunkedContent | None = None
        self._security = security
        self._encrypted = security.encrypted
        self._login: Login | None = None
        self._user = ""
        self._errors = 0
        self._idle_commands = 0

    @property
    def closing(self) -> bool:
        """Tell whether the conversation is over: send the output that is left, then close."""
        return self._stage is _Stage.CLOSED

    @property
    def awaits_verdict(self) -> bool:
        """Tell whether a mail was handed over whose fate has not been told by `settle`."""
        return self._stage is _Stage.VERDICT

    @property
    def in_mail(self) -> bool:
        """Tell whether a mail is being received or its fate is open."""
        return self._dotted is not None or self._chunked is not None or self._stage is _Stage.VERDICT

    @property
    def in_data(self) -> bool:
        """Tell whether the text after DATA is being received; between chunks of BDAT a command is awaited."""
        return self._dotted is not None

    @property
    def wants_tls(self) -> bool:
        """Tell whether the client was told to begin the handshake."""
        return self._stage is _Stage.HANDSHAKE

    @property
    def user(self) -> str:
        """Return who is logged in, "" when nobody is."""
        return self._user

    @property
    def held_bytes(self) -> int:
        """Return how much memory unread input and the half-received mail take."""
        content = self._dotted or self._chunked
        return len(self._pending) + (content.held_bytes if content is not None else 0)

    def feed(self, data: bytes) -> MessageReceived | None:
        """Take what came in; return a mail when one is complete. While a verdict is due, input only waits."""
        if self._stage > _Stage.CHUNK:
            if self._stage is _Stage.VERDICT:
                self._pending += data
            return None
        if self._pending:
            data = self._pending + data
            self._pending = b""
        return self._run(data)

    def settle(self, replies: bytes | Sequence[bytes]) -> MessageReceived | None:
        """Say what became of the mail handed over, and go on; return the next mail if it has already come.

        replies: one reply; for LMTP one for each of `rcpt_tos` in order (a single one is repeated for all).
        """
        if self._stage is not _Stage.VERDICT:
            raise RuntimeError("no mail awaits a verdict")
        self._answer_mail(replies)
        data, self._pending = self._pending, b""
        return self._run(data) if data else None

    def take_output(self) -> bytes:
        """Return the replies that have to be sent now; b"" when there are none."""
        output, self._output = self._output, []
        return output[0] if len(output) == 1 else b"".join(output)

    def refuse_mail(self, reply: bytes) -> None:
        """Drop what has come of the mail being received, read over the rest, and answer it with the reply."""
        content = self._dotted or self._chunked
        if content is not None:
            content.refuse(reply)

    def tls_begun(self) -> None:
        """Go on over TLS: all that was said before is forgotten, the client greets again (RFC 3207 section 4.2)."""
        if self._stage is not _Stage.HANDSHAKE:
            raise RuntimeError("no handshake was asked for")
        self._stage = _Stage.COMMAND
        self._encrypted = True
        self._greeted = False
        self._user = ""
        self._reset()

    def refuse_command(self, line: bytes) -> bytes | None:
        """Return a reply for each line that is no mail's text, 421 to end it all; None: do it. To be overridden."""
        return None

    def request_close(self, reply: bytes = say.SHUTTING_DOWN, *, at_once: bool = False) -> None:
        """Say good bye as soon as the mail in hand is answered; at_once: now, an unanswered mail stays the client's."""
        if self._stage is _Stage.COMMAND or (at_once and self._stage is not _Stage.CLOSED):
            self._close(reply)
        elif self._stage is not _Stage.CLOSED:
            self._close_requested = True

    # ---- input

    def _run(self, data: bytes) -> MessageReceived | None:
        position = 0
        size = len(data)
        while position < size or self._empty_chunk:
            if self._stage is not _Stage.COMMAND:
                position, content = self._take_content(data, position)
                if content is not None:
                    self._pending = data[position:]
                    return self._envelope.received(content)
                if self._stage > _Stage.CHUNK:
                    return None
                continue
            end = data.find(b"\n", position) + 1
            if end == 0:
                self._keep_partial_line(data[position:])
                return None
            line = data[position:end]
            position = end
            if self._skipping_line:
                self._skipping_line = False
            elif len(line) > self._limits.max_command_bytes:
                self._say(say.LINE_TOO_LONG)
            elif (refusal := self.refuse_command(line)) is not None:
                self._say(refusal)
            else:
                self._command(line)
        return None

    def _keep_partial_line(self, rest: bytes) -> None:
        if self._skipping_line:
            return
        if len(rest) >= self._limits.max_command_bytes:  # its LF would make it longer still
            self._skipping_line = True
            self._say(say.LINE_TOO_LONG)
        else:
            self._pending = rest

    def _take_content(self, data: bytes, position: int) -> tuple[int, bytes | None]:
        """Return up to where the data is read, and the mail's content when it ended there and was not refused."""
        if self._stage > _Stage.CHUNK:
            return len(data), None
        try:
            if self._dotted is not None:
                position, content = self._dotted.take(data, position)
                return position, None if content is None else self._end_mail(content, self._dotted.refusal)
        except EndlessMail:
            self._close(say.TOO_MUCH_DATA)
            return len(data), None
        assert self._chunked is not None
        self._empty_chunk = False
        position, whole = self._chunked.take(data, position)
        return position, self._end_chunk(self._chunked) if whole else None

    def _end_chunk(self, chunked: ChunkedContent) -> bytes | None:
        self._stage = _Stage.COMMAND
        if chunked.last and self._envelope.rcpt_tos:
            return self._end_mail(chunked.content(), chunked.refusal)
        self._say(chunked.refusal or say.CHUNK_TAKEN)
        if chunked.last:
            self._reset()
        return None

    def _end_mail(self, content: bytes, refusal: bytes | None) -> bytes | None:
        self._dotted = self._chunked = None
        self._stage = _Stage.VERDICT
        if refusal is None:
            return content
        self._answer_mail(refusal)
        return None

    # ---- commands

    def _command(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or line.find(b"\r") != len(line) - 2:
            self._say(say.BARE_LINE_END)
            return
        if self._login is not None:
            self._continue_login(self._login, self._login.go_on(line[:-2]))
            return
        verb = line[:4].upper()
        if verb == b"MAIL":
            self._mail(line)
        elif verb == b"RCPT":
            self._rcpt(line)
        elif verb == b"DATA":
            self._data(line)
        elif verb == b"BDAT":
            self._bdat(line)
        elif line[:8].upper() == b"STARTTLS":
            self._begin_tls(line[8:].strip())
        elif len(line) > 6 and line[4] not in b" \t":
            self._say(say.UNKNOWN)
        elif not self._idled_too_long():
            self._other(verb, line[4:].strip())

    def _other(self, verb: bytes, argument: bytes) -> None:
        if verb in {b"EHLO", b"HELO", b"LHLO"}:
            self._hello(verb, argument)
        elif verb == b"RSET":
            self._reset()
            self._output.append(say.OK)
        elif verb == b"QUIT":
            self._close(say.BYE)
        elif verb == b"AUTH" and (authenticator := self._security.asks(self._encrypted)) is not None:
            self._begin_login(authenticator, argument)
        else:
            self._say(_PLAIN_ANSWERS.get(verb, say.UNKNOWN))

    def _hello(self, verb: bytes, argument: bytes) -> None:
        if (verb == b"LHLO") is not self._lmtp:
            self._say(say.UNKNOWN)  # RFC 2033 section 4.1: LHLO here, never HELO or EHLO, and the other way round
        elif not _GREETING_ARGUMENT.match(argument):
            self._say(say.SYNTAX)
        else:
            self._reset()
            self._greeted = True
            self._output.append(self._offer() if verb != b"HELO" else f"250 {self._hostname}\r\n".encode("ascii"))

    def _offer(self) -> bytes:
        return say.make_offer(self._hostname, self._limits.max_mail_bytes, self._security.offers(self._encrypted))

    def _mail(self, line: bytes) -> None:
        reply = self._envelope.mail(line) if self._greeted else say.WRONG_ORDER
        if reply is say.MAIL_OK:
            self._chunked = None  # what BDAT brought before any MAIL was refused, and belongs to nothing
        self._say(reply)

    def _rcpt(self, line: bytes) -> None:
        reply = self._envelope.rcpt(line)
        if reply is not say.TOO_MANY_RECIPIENTS or not self._idled_too_long():
            self._say(reply)

    def _data(self, line: bytes) -> None:
        if line[4:].strip():
            self._say(say.SYNTAX if line[4] in b" \t" else say.UNKNOWN)
        elif self._envelope.mail_from is None or self._chunked is not None:  # RFC 3030 section 2: not both in one mail
            self._say(say.WRONG_ORDER)
        elif not self._envelope.rcpt_tos:
            self._say(say.WRONG_ORDER if self._lmtp else say.NO_RECIPIENTS)
        else:
            self._stage = _Stage.DATA
            self._dotted = DottedContent(self._limits.max_mail_bytes)
            self._output.append(say.GO_AHEAD)

    def _bdat(self, line: bytes) -> None:
        """Expect a chunk; whatever is wrong, its octets are eaten (RFC 3030 section 4.2), so none becomes a command."""
        command = read_bdat_command(line)
        if isinstance(command, bytes):
            self._output.append(command)
            self._close(say.CHUNKS_LOST)
            return
        chunked = self._chunked
        if chunked is None:
            chunked = self._chunked = ChunkedContent(self._limits.max_mail_bytes)
            if not self._envelope.rcpt_tos:
                chunked.refuse(say.WRONG_ORDER if self._envelope.mail_from is None or self._lmtp else say.NO_RECIPIENTS)
        try:
            chunked.begin_chunk(command.size, last=command.last)
        except EndlessMail:
            self._close(say.TOO_MUCH_DATA)
            return
        self._stage = _Stage.CHUNK
        self._empty_chunk = command.size == 0

    def _begin_tls(self, argument: bytes) -> None:
        if not self._security.starttls:
            self._say(say.UNKNOWN)
        elif self._encrypted:  # the command is known and only out of place (RFC 5321 section 4.2.3)
            self._say(say.WRONG_ORDER)
        elif argument:
            self._say(say.SYNTAX)
        else:
            self._reset()
            self._output.append(say.GO_AHEAD_WITH_TLS)
            self._stage = _Stage.HANDSHAKE

    def _begin_login(self, authenticator: Authenticator, argument: bytes) -> None:
        if self._user or self._envelope.mail_from is not None or not self._greeted:
            self._say(say.WRONG_ORDER)
            return
        login = Login(authenticator)
        self._continue_login(login, login.begin(argument))

    def _continue_login(self, login: Login, reply: bytes) -> None:
        self._login = None if login.done else login
        self._user = login.user
        self._say(reply)

    # ---- ends

    def _answer_mail(self, replies: bytes | Sequence[bytes]) -> None:
        one = replies if isinstance(replies, bytes) else replies[0]
        answers = say.verdicts(replies, len(self._envelope.rcpt_tos)) if self._lmtp else [one]
        self._output += answers
        self._stage = _Stage.COMMAND
        self._reset()
        if any(answer.startswith(b"2") for answer in answers):
            self._errors = 0
            self._idle_commands = 0
        else:
            self._count_error()
        if self._close_requested and self._stage is _Stage.COMMAND:
            self._close(say.SHUTTING_DOWN)

    def _say(self, reply: bytes) -> None:
        self._output.append(reply)
        if reply.startswith(b"421"):
            self._close(b"")
        elif reply.startswith(b"5"):
            self._count_error()

    def _idled_too_long(self) -> bool:
        self._idle_commands += 1
        if self._idle_commands > self._limits.max_idle_commands:
            self._close(say.TOO_MUCH_IDLING)
        return self._stage is _Stage.CLOSED

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > self._limits.max_errors:
            self._close(say.TOO_MANY_ERRORS)

    def _close(self, reply: bytes) -> None:
        if reply:
            self._output.append(reply)
        self._reset()
        self._stage = _Stage.CLOSED
        self._pending = b""

    def _reset(self) -> None:
        self._envelope.clear()
        self._dotted = self._chunked = None
        self._empty_chunk = False
