"""What a conversation is about: its bounds, who may send to whom, and the envelope of the mail in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_commands import read_mail_command, read_rcpt_command


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


class OpenEnvelope:
    """Sender and recipients as far as they were taken. mail_from None: no mail was begun."""

    def __init__(self, limits: DialogueLimits, policy: Policy) -> None:
        self.mail_from: str | None = None
        self.rcpt_tos: list[str] = []
        self._limits = limits
        self._policy = policy
        self._utf8 = False

    def mail(self, line: bytes) -> bytes:
        """Read MAIL FROM and return the reply."""
        if self.mail_from is not None:
            return say.WRONG_ORDER
        command = read_mail_command(line)
        if isinstance(command, bytes):
            return command
        if command.declared_bytes > self._limits.max_mail_bytes:
            return say.TOO_BIG
        refusal = self._policy.sender(command.mail_from, command.declared_bytes)
        if refusal is not None:
            return refusal
        self.mail_from = command.mail_from
        self._utf8 = command.utf8
        return say.MAIL_OK

    def rcpt(self, line: bytes) -> bytes:
        """Read RCPT TO and return the reply."""
        if self.mail_from is None:
            return say.WRONG_ORDER
        rcpt_to = read_rcpt_command(line, utf8=self._utf8)
        if isinstance(rcpt_to, bytes):
            return rcpt_to
        if len(self.rcpt_tos) >= self._limits.max_recipients:
            return say.TOO_MANY_RECIPIENTS
        refusal = self._policy.recipient(rcpt_to)
        if refusal is not None:
            return refusal
        self.rcpt_tos.append(rcpt_to)
        return say.RCPT_OK

    def received(self, content: bytes) -> MessageReceived:
        """Return the whole mail."""
        return MessageReceived(self.mail_from or "", tuple(self.rcpt_tos), content)

    def clear(self) -> None:
        """Forget the mail."""
        self.mail_from = None
        self._utf8 = False
        self.rcpt_tos.clear()
