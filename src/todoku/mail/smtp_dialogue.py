"""The server's side of an SMTP or LMTP conversation, without a socket.

Bytes go in by `feed`, replies come out by `take_output`, and at most one whole mail at a time is handed over; nothing
more is read until the owner has said by `settle` what became of it. So a 250 can never run ahead of the disk.

Sources: RFC 5321 (SMTP), 2033 (LMTP), 1870 (SIZE), 2920 (PIPELINING), 2034 (ENHANCEDSTATUSCODES), 6152 (8BITMIME),
6531 (SMTPUTF8). Only CR LF . CR LF ends a mail and only CR LF ends a command, because every looser reading lets a
stranger smuggle a second mail into the first (CVE-2023-51764 and its siblings).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

import msgspec

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_commands import read_mail_command, read_rcpt_command

_END_OF_MAIL: Final = b"\r\n.\r\n"
_PLAIN_ANSWERS: Final = {b"NOOP": say.OK, b"HELP": say.HELP, b"VRFY": say.CANNOT_VRFY, b"EXPN": say.NO_EXPN}
_GREETING_ARGUMENT = re.compile(rb"[\x20-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class DialogueLimits:
    """How far one conversation may go.

    max_mail_bytes: the dot-stuffed text. max_command_bytes: one line with its CR LF. Between two mails that were kept:
    max_errors 5xx answers, and max_idle_commands commands other than MAIL, RCPT and DATA.
    """

    max_mail_bytes: int = 35 * 1024 * 1024
    max_recipients: int = 100
    max_command_bytes: int = 2_048
    max_errors: int = 20
    max_idle_commands: int = 200


class MessageReceived(msgspec.Struct, frozen=True):
    """One whole mail: envelope as sent, dot-unstuffed text, every byte kept (NUL, bare CR, bare LF, 8 bit).

    rcpt_tos: the recipients that the policy took, in order, doubles included (LMTP answers each).
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    content: bytes


class Policy(Protocol):
    """Who may send to whom; asked in the middle of the conversation, so it must answer at once."""

    def sender(self, mail_from: str, declared_bytes: int) -> bytes | None:
        """Return None to go on, or the reply that refuses. declared_bytes: from SIZE=, 0 when not said."""
        ...

    def recipient(self, rcpt_to: str) -> bytes | None:
        """Return None to take the recipient, or the reply that refuses it."""
        ...


class _Stage(IntEnum):
    COMMAND = 0
    DATA = 1
    VERDICT = 2
    CLOSED = 3


class ServerDialogue:
    """One conversation. Never raises on input, whatever the bytes; the same bytes in any pieces give the same replies.

    STARTTLS and AUTH are not offered. Whoever adds STARTTLS must empty `_pending` when TLS begins: bytes read before
    the handshake are a stranger's (RFC 3207 section 5).
    """

    def __init__(self, limits: DialogueLimits, hostname: str, policy: Policy, *, lmtp: bool = False) -> None:
        self._limits = limits
        self._hostname = hostname
        self._policy = policy
        self._lmtp = lmtp
        self._stage = _Stage.COMMAND
        self._output: list[bytes] = [f"220 {hostname} {'LMTP' if lmtp else 'ESMTP'} Todoku\r\n".encode("ascii")]
        self._pending = b""
        self._skipping_line = False
        self._close_requested = False
        self._greeted = False
        self._mail_from: str | None = None
        self._utf8 = False
        self._rcpt_tos: list[str] = []
        self._held: bytearray | None = None
        self._dropped_bytes = 0
        self._dotted = False
        self._refusal: bytes | None = None
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
        return self._stage is _Stage.DATA or self._stage is _Stage.VERDICT

    @property
    def held_bytes(self) -> int:
        """Return how much memory unread input and the half-received mail take."""
        return len(self._pending) + (len(self._held) if self._held is not None else 0)

    def feed(self, data: bytes) -> MessageReceived | None:
        """Take what came in; return a mail when one is complete. While a verdict is due, input only waits."""
        if self._stage > _Stage.DATA:
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
        output = self._output
        if len(output) == 1:
            return output.pop()
        if not output:
            return b""
        joined = b"".join(output)
        output.clear()
        return joined

    def refuse_mail(self, reply: bytes) -> None:
        """Drop what has come of the mail being received, read over the rest, and answer it with the reply."""
        if self._stage is _Stage.DATA and self._refusal is None:
            self._refusal = reply
            self._drop_held()

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
        while position < size:
            if self._stage is _Stage.DATA:
                position, message = self._take_data(data, position)
                if message is not None:
                    self._pending = data[position:]
                    return message
                continue
            if self._stage is not _Stage.COMMAND:
                return None
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

    def _take_data(self, data: bytes, position: int) -> tuple[int, MessageReceived | None]:
        """Return up to where the data is read, and the mail when it ended there and was not refused."""
        if self._held is None and self._refusal is None and not data.startswith(b".", position):
            dot = data.find(b"\r\n.", position)
            end = dot if dot < 0 or data.startswith(_END_OF_MAIL, dot) else data.find(_END_OF_MAIL, dot)
            if end >= 0 and end + 2 - position <= self._limits.max_mail_bytes:  # the usual mail: whole in one read
                content = data[position : end + 2]
                return end + 5, self._end_mail(content if end == dot else content.replace(b"\r\n.", b"\r\n"))
        if self._held is None:
            self._held = bytearray(b"\r\n")  # so that a dot on the first line needs no rule of its own
            self._dropped_bytes = -2
            self._dotted = False
        held = self._held
        before = len(held)
        held += memoryview(data)[position:]
        end = held.find(b"\r\n.", max(0, before - 4))
        if end >= 0 and not held.startswith(_END_OF_MAIL, end):
            self._dotted = True
            end = held.find(_END_OF_MAIL, end)
        received = self._dropped_bytes + (len(held) - 2 if end < 0 else end + 2)  # ". CR" may belong to the end
        if received > self._limits.max_mail_bytes * 4:
            self._close(say.TOO_MUCH_DATA)
            return len(data), None
        if self._refusal is None and received > self._limits.max_mail_bytes:
            self._refusal = say.TOO_BIG
        if end < 0:
            if self._refusal is not None:
                self._drop_held()
            return len(data), None
        if self._refusal is not None:
            content = b""
        elif self._dotted:
            content = bytes(memoryview(held)[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        else:
            content = bytes(memoryview(held)[2 : end + 2])
        return position + end + 5 - before, self._end_mail(content)

    def _drop_held(self) -> None:
        if self._held is not None:
            keep = min(4, len(self._held))  # an end of mail may be cut anywhere
            self._dropped_bytes += len(self._held) - keep
            self._held = self._held[len(self._held) - keep :]

    def _end_mail(self, content: bytes) -> MessageReceived | None:
        self._held = None
        self._stage = _Stage.VERDICT
        if self._refusal is not None:
            self._answer_mail(self._refusal)
            return None
        return MessageReceived(self._mail_from or "", tuple(self._rcpt_tos), content)

    # ---- commands

    def _command(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or line.find(b"\r") != len(line) - 2:
            self._say(say.BARE_LINE_END)
            return
        verb = line[:4].upper()
        if verb == b"MAIL":
            self._mail(line)
        elif verb == b"RCPT":
            self._rcpt(line)
        elif verb == b"DATA":
            self._data(line)
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
        size = self._limits.max_mail_bytes
        lines = (self._hostname, f"SIZE {size}", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES")
        return "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode("ascii")

    def _mail(self, line: bytes) -> None:
        if not self._greeted or self._mail_from is not None:
            self._say(say.WRONG_ORDER)
            return
        command = read_mail_command(line)
        if isinstance(command, bytes):
            self._say(command)
        elif command.declared_bytes > self._limits.max_mail_bytes:
            self._say(say.TOO_BIG)
        else:
            refusal = self._policy.sender(command.mail_from, command.declared_bytes)
            if refusal is not None:
                self._say(refusal)
                return
            self._mail_from = command.mail_from
            self._utf8 = command.utf8
            self._output.append(say.MAIL_OK)

    def _rcpt(self, line: bytes) -> None:
        if self._mail_from is None:
            self._say(say.WRONG_ORDER)
            return
        rcpt_to = read_rcpt_command(line, utf8=self._utf8)
        if isinstance(rcpt_to, bytes):
            self._say(rcpt_to)
        elif len(self._rcpt_tos) >= self._limits.max_recipients:
            if not self._idled_too_long():
                self._output.append(say.TOO_MANY_RECIPIENTS)
        else:
            refusal = self._policy.recipient(rcpt_to)
            if refusal is not None:
                self._say(refusal)
                return
            self._rcpt_tos.append(rcpt_to)
            self._output.append(say.RCPT_OK)

    def _data(self, line: bytes) -> None:
        if line[4:].strip():
            self._say(say.SYNTAX if line[4] in b" \t" else say.UNKNOWN)
        elif self._mail_from is None:
            self._say(say.WRONG_ORDER)
        elif not self._rcpt_tos:
            self._say(say.WRONG_ORDER if self._lmtp else say.NO_RECIPIENTS)
        else:
            self._stage = _Stage.DATA
            self._refusal = None
            self._output.append(say.GO_AHEAD)

    # ---- ends

    def _answer_mail(self, replies: bytes | Sequence[bytes]) -> None:
        if not self._lmtp:
            answers = [replies if isinstance(replies, bytes) else replies[0]]
        elif isinstance(replies, bytes):
            answers = [replies] * len(self._rcpt_tos)
        else:
            answers = list(replies)
            if len(answers) != len(self._rcpt_tos):
                raise ValueError(f"LMTP needs {len(self._rcpt_tos)} replies, not {len(answers)}")
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
        self._held = None

    def _reset(self) -> None:
        self._mail_from = None
        self._utf8 = False
        self._rcpt_tos.clear()
        self._refusal = None
