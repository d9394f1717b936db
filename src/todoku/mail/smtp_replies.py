"""What a server says to a client: the reply lines of SMTP and LMTP.

Sources: RFC 5321 section 4.2 (basic codes), RFC 3463 and 5248 (enhanced status codes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final


def make_reply(code: int, status: str, text: str) -> bytes:
    """Return one reply line: basic code, enhanced status code (RFC 3463), text for people; ASCII only."""
    return f"{code} {status} {text}\r\n".encode("ascii", "replace")


def make_offer(hostname: str, max_mail_bytes: int, more: Iterable[str] = ()) -> bytes:
    """Return the answer to EHLO or LHLO. more: keywords beyond those that are always offered."""
    lines = [hostname, f"SIZE {max_mail_bytes}", "8BITMIME", "SMTPUTF8", "PIPELINING", "CHUNKING", *more]
    return "".join(f"250-{line}\r\n" for line in lines).encode("ascii") + b"250 ENHANCEDSTATUSCODES\r\n"


def verdicts(replies: bytes | Sequence[bytes], wanted: int) -> list[bytes]:
    """Return as many replies as are wanted: a single one is repeated; raises ValueError when their number is wrong."""
    if isinstance(replies, bytes):
        return [replies] * wanted
    if len(replies) == wanted:
        return list(replies)
    raise ValueError(f"LMTP needs {wanted} replies, not {len(replies)}")


MAIL_OK: Final = make_reply(250, "2.1.0", "sender ok")
RCPT_OK: Final = make_reply(250, "2.1.5", "recipient ok")
OK: Final = make_reply(250, "2.0.0", "ok")
GO_AHEAD: Final = b"354 end the mail with <CR><LF>.<CR><LF>\r\n"
BYE: Final = make_reply(221, "2.0.0", "bye")
HELP: Final = b"214 2.0.0 EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n"
CANNOT_VRFY: Final = make_reply(252, "2.5.0", "send the mail, then it will be seen")
NO_EXPN: Final = make_reply(502, "5.5.1", "lists are not expanded here")
UNKNOWN: Final = make_reply(500, "5.5.2", "unknown command")
BARE_LINE_END: Final = make_reply(500, "5.5.2", "a line must end with CR LF, and hold neither of them alone")
LINE_TOO_LONG: Final = make_reply(500, "5.5.2", "line too long")
SYNTAX: Final = make_reply(501, "5.5.4", "syntax error in the parameters")
BAD_ADDRESS: Final = make_reply(501, "5.1.3", "the address is not valid UTF-8")
NEEDS_UTF8: Final = make_reply(553, "5.6.7", "an address beyond ASCII needs MAIL ... SMTPUTF8")
WRONG_ORDER: Final = make_reply(503, "5.5.1", "wrong order of commands")
NO_RECIPIENTS: Final = make_reply(554, "5.5.1", "no valid recipients")
UNKNOWN_PARAMETER: Final = make_reply(555, "5.5.4", "unknown parameter")
TOO_MANY_RECIPIENTS: Final = make_reply(452, "4.5.3", "too many recipients, send the rest in another mail")
TOO_BIG: Final = make_reply(552, "5.3.4", "the mail is too big")
TOO_MANY_ERRORS: Final = make_reply(421, "4.7.0", "too many errors, good bye")
TOO_MUCH_IDLING: Final = make_reply(421, "4.7.0", "too many commands without a mail, good bye")
TOO_MUCH_DATA: Final = make_reply(421, "4.3.4", "the mail has no end, good bye")
SHUTTING_DOWN: Final = make_reply(421, "4.3.2", "the service is going down, come back later")
CHUNK_TAKEN: Final = make_reply(250, "2.0.0", "chunk taken")
BAD_CHUNK: Final = make_reply(501, "5.5.4", "BDAT needs a count of octets")
CHUNKS_LOST: Final = make_reply(421, "4.5.4", "where the next command begins is not certain any more, good bye")
GO_AHEAD_WITH_TLS: Final = make_reply(220, "2.0.0", "ready for TLS")
LOGGED_IN: Final = make_reply(235, "2.7.0", "logged in")
LOGIN_REFUSED: Final = make_reply(535, "5.7.8", "user and secret do not fit")
LOGIN_CANCELLED: Final = make_reply(501, "5.7.0", "cancelled")
NO_SUCH_LOGIN: Final = make_reply(504, "5.5.4", "only PLAIN and LOGIN")
