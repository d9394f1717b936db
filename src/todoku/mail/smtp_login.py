"""The server's side of AUTH PLAIN and AUTH LOGIN (RFC 4954, RFC 4616), without a socket."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Protocol

from todoku.mail import smtp_replies as say

_ASK_USER = b"334 VXNlcm5hbWU6\r\n"
_ASK_SECRET = b"334 UGFzc3dvcmQ6\r\n"
_ASK_PLAIN = b"334 \r\n"


class Authenticator(Protocol):
    """Who may log in; asked in the middle of the conversation, so it must answer at once."""

    def admits(self, user: str, secret: str) -> bool:
        """Tell whether this is the user's secret; compare in constant time."""
        ...


@dataclass(frozen=True, slots=True)
class Security:
    """What a conversation offers beside mail. encrypted: TLS was there from the first octet.

    starttls: offer it. authenticator: offer AUTH, without TLS only if `login_in_clear_unsafe`.
    """

    starttls: bool = False
    encrypted: bool = False
    authenticator: Authenticator | None = None
    login_in_clear_unsafe: bool = False

    def asks(self, encrypted: bool) -> Authenticator | None:
        """Return who is asked about a login now, None when nobody may log in."""
        return self.authenticator if encrypted or self.login_in_clear_unsafe else None

    def offers(self, encrypted: bool) -> list[str]:
        """Return what EHLO names beside mail."""
        login = ["AUTH PLAIN LOGIN"] if self.asks(encrypted) is not None else []
        return ["STARTTLS"] * (self.starttls and not encrypted) + login


PLAIN: Final = Security()


class Login:
    """One AUTH command. user: who is in, when the last reply was 235."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.user = ""
        self.done = False
        self._authenticator = authenticator
        self._plain = True
        self._words: list[bytes] = []

    def begin(self, argument: bytes) -> bytes:
        """Take what stands behind AUTH; return the reply."""
        mechanism, _, initial = argument.partition(b" ")
        self._plain = mechanism.upper() == b"PLAIN"
        if not self._plain and mechanism.upper() != b"LOGIN":
            return self._end(say.NO_SUCH_LOGIN)
        if initial:
            return self.go_on(b"" if initial == b"=" else initial)
        return _ASK_PLAIN if self._plain else _ASK_USER

    def go_on(self, line: bytes) -> bytes:
        """Take one line of the client's, without its CR LF; return the reply."""
        if line == b"*":
            return self._end(say.LOGIN_CANCELLED)
        try:
            word = base64.b64decode(line, validate=True)
        except binascii.Error:
            return self._end(say.SYNTAX)
        self._words.append(word)
        if not self._plain and len(self._words) == 1:
            return _ASK_SECRET
        return self._judge()

    def _judge(self) -> bytes:
        words = self._words[0].split(b"\0")[1:] if self._plain else self._words
        try:
            user, secret = (word.decode("utf-8") for word in words)
        except ValueError:  # not two words, or not UTF-8
            return self._end(say.SYNTAX)
        if not self._authenticator.admits(user, secret):
            return self._end(say.LOGIN_REFUSED)
        self.user = user
        return self._end(say.LOGGED_IN)

    def _end(self, reply: bytes) -> bytes:
        self.done = True
        self._words.clear()
        return reply
