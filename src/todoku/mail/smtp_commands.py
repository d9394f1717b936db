"""Read the SMTP commands that carry something: MAIL FROM, RCPT TO (RFC 5321 section 4.1.1, RFC 6531), BDAT (RFC 3030).

Each reader returns what it read, or the reply line that refuses it.
"""

from __future__ import annotations

import re

import msgspec

from todoku.mail import smtp_replies as say

_PATH = (
    rb"<(?:@[^\x00-\x20\x7f<>:]+:)?"  # a source route is read over, RFC 5321 appendix C
    rb'((?:"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*"|[^\x00-\x20\x7f<>"])*)>'
)
_PARAMETERS = rb"(?:[ \t]+([^\x00-\x1f\x7f]*))?\r\n\Z"
_MAIL = re.compile(rb"MAIL FROM:[ \t]*" + _PATH + _PARAMETERS, re.IGNORECASE)
_RCPT = re.compile(rb"RCPT TO:[ \t]*" + _PATH + _PARAMETERS, re.IGNORECASE)

_BDAT = re.compile(rb"BDAT[ \t]+([0-9]{1,20})(?:[ \t]+(LAST))?[ \t]*\r\n\Z", re.IGNORECASE)


class BdatCommand(msgspec.Struct, frozen=True):
    """What BDAT said. size: octets of the chunk that follows at once."""

    size: int
    last: bool


class MailCommand(msgspec.Struct, frozen=True):
    """What MAIL FROM said; declared_bytes is SIZE=, 0 when it was not said. mail_from "" is the null sender."""

    mail_from: str
    declared_bytes: int
    utf8: bool


def read_mail_command(line: bytes) -> MailCommand | bytes:
    """Read `MAIL FROM:<path> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8]`, CR LF included."""
    match = _MAIL.match(line)
    if match is None:
        return say.SYNTAX
    path, parameters = match.groups()
    declared_bytes = 0
    utf8 = False
    for parameter in parameters.upper().split() if parameters else ():
        name, _, value = parameter.partition(b"=")
        if name == b"SIZE" and value.isdigit() and len(value) <= 20:
            declared_bytes = int(value)
        elif parameter == b"SMTPUTF8":
            utf8 = True
        elif name in {b"SIZE", b"SMTPUTF8"} or (name == b"BODY" and value not in {b"7BIT", b"8BITMIME"}):
            return say.SYNTAX
        elif name != b"BODY":
            return say.UNKNOWN_PARAMETER
    mail_from = _decode_path(path, utf8=utf8)
    return mail_from if isinstance(mail_from, bytes) else MailCommand(mail_from, declared_bytes, utf8)


def read_rcpt_command(line: bytes, *, utf8: bool) -> str | bytes:
    """Read `RCPT TO:<path>`, CR LF included; utf8: whether MAIL said SMTPUTF8."""
    match = _RCPT.match(line)
    if match is None or not match[1]:
        return say.SYNTAX
    if match[2]:
        return say.UNKNOWN_PARAMETER
    return _decode_path(match[1], utf8=utf8)


def read_bdat_command(line: bytes) -> BdatCommand | bytes:
    """Read `BDAT size [LAST]`, CR LF included."""
    match = _BDAT.match(line)
    return BdatCommand(int(match[1]), match[2] is not None) if match is not None else say.BAD_CHUNK


def _decode_path(path: bytes, *, utf8: bool) -> str | bytes:
    if path.isascii():
        return path.decode("ascii")
    if not utf8:
        return say.NEEDS_UTF8
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return say.BAD_ADDRESS
