"""The commands that open a message: MAIL and RCPT with the parameters that this relay understands.

Sources: RFC 5321 section 4.1.1, RFC 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8).
"""

from __future__ import annotations

from typing import Final

from todoku.delivery.transports.smtp.offers import Offers
from todoku.delivery.types import AnswerKind, Envelope
from todoku.kernel.addresses import is_addr_spec
from todoku.mail.compose import UnsafeAddress, header_address

_REMEMBERED_SENDERS: Final = 64


class NotSent(Exception):
    """This message can't go to this relay; nothing was written. kind and text: its answer."""

    def __init__(self, kind: AnswerKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class OpeningCommands:
    """Writes MAIL and RCPT for one connection."""

    def __init__(self, offers: Offers, own_limit_bytes: int = 0) -> None:
        self._offers = offers
        limits = [limit for limit in (offers.size, own_limit_bytes) if limit]
        self._most_bytes = min(limits, default=0)
        self._size = b" SIZE=%d" if offers.says_size else b""
        self._mail_commands: dict[str, bytes] = {}

    def of(self, envelope: Envelope) -> bytes:
        """Return MAIL and RCPT with their line ends; raises NotSent."""
        content = envelope.content
        size = len(content)
        mail = self._mail_commands.get(envelope.mail_from) or self._mail(envelope.mail_from)
        rcpt_to = envelope.rcpt_to
        try:
            rcpt = header_address(rcpt_to).encode("ascii") if rcpt_to.isascii() else self._utf8_address(rcpt_to)
        except UnsafeAddress as error:
            raise NotSent(AnswerKind.PERMANENT, f"553 5.1.3 not sent: {error}") from error
        utf8 = not (rcpt.isascii() and mail.isascii())
        if self._most_bytes and size > self._most_bytes:
            raise NotSent(AnswerKind.PERMANENT, f"552 5.3.4 not sent: {size} octets, at most {self._most_bytes} may go")
        if content.isascii():
            body = b""
        elif self._offers.eight_bit or utf8:  # who offers SMTPUTF8 takes 8 bits too (RFC 6531 section 3.1)
            body = b" BODY=8BITMIME"
        else:
            # not the message's fault: composed again it will be 7-bit (`SmtpTransport.eight_bit` is False by now)
            raise NotSent(AnswerKind.TEMPORARY, "454 5.6.3 not sent: 8-bit content, the relay offers no 8BITMIME")
        if self._size:
            mail += self._size % size
        if utf8:
            body += b" SMTPUTF8"
        return b"%b%b\r\nRCPT TO:<%b>\r\n" % (mail, body, rcpt)

    def _mail(self, mail_from: str) -> bytes:
        try:
            path = self._utf8_address(mail_from) if mail_from else b""
        except UnsafeAddress as error:
            raise NotSent(AnswerKind.PERMANENT, f"553 5.1.7 not sent: {error}") from error
        if len(self._mail_commands) >= _REMEMBERED_SENDERS:
            self._mail_commands.clear()
        mail = self._mail_commands[mail_from] = b"MAIL FROM:<%b>" % path
        return mail

    def _utf8_address(self, address: str) -> bytes:
        """Return the address as this relay may see it; raises NotSent, UnsafeAddress.

        A domain in Japanese becomes its A-label, which every relay understands; a local part beyond ASCII has no
        other form than UTF-8, and then the whole address goes as it is.
        """
        local = address.rpartition("@")[0]
        if local.isascii():
            return header_address(address).encode("ascii")
        if not self._offers.utf8:
            raise NotSent(AnswerKind.PERMANENT, "553 5.6.7 not sent: the address needs SMTPUTF8, not offered here")
        if not address.isprintable() or not is_addr_spec(address):
            raise UnsafeAddress(f"{address!r} is not one deliverable address")
        return address.encode("utf-8")
