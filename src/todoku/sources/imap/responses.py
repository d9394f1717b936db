"""Read what an IMAP server says, and write what it is asked (RFC 3501 section 9, RFC 9051 section 9). Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_LITERAL_AT_END = re.compile(rb"~?\{(\d{1,19})\+?\}\Z")
_TOKEN = re.compile(rb' *(?:([()])|"((?:[^"\\]|\\.)*)"|([^ ()"]+))')
_ESCAPED = re.compile(rb"\\(.)")
_FETCH = re.compile(rb"(\d{1,10}) FETCH \(", re.IGNORECASE)
_PLAIN_FETCH = re.compile(  # as most servers list: a third of the time that taking it apart would need
    rb'(\d{1,10}) FETCH \(UID (\d{1,10}) INTERNALDATE "([^"\\]+)" RFC822\.SIZE (\d{1,19})\)\Z'
)
_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z")
_CODE = re.compile(rb"\[([A-Za-z0-9-]+)(?: ([^\]]*))?\] ?(.*)\Z", re.DOTALL)
_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_MAX_DEPTH: Final = 32

Value = bytes | None | tuple["Value", ...]


class BadResponse(ValueError):
    """The server says what IMAP does not know."""


@dataclass(frozen=True, slots=True)
class Status:
    """The end of a command, or a word in between: OK, NO, BAD, BYE, PREAUTH, with its code when it has one."""

    word: str
    code: str
    argument: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the server says of one mail; uid 0 when it does not say. body: None when it has none (any more)."""

    sequence: int
    uid: int
    at_utc: datetime | None = None
    size_bytes: int | None = None
    body: bytes | None = None
    has_body: bool = False


def literal_size(line: bytes) -> int | None:
    """Return how many bytes follow the line (`{123}` at its end), None when it is whole."""
    found = _LITERAL_AT_END.search(line)
    return int(found[1]) if found else None


def status_of(rest: bytes) -> Status | None:
    """Read what stands after a tag or `*`; None when it is no status."""
    word, _, text = rest.partition(b" ")
    name = word.upper()
    if name not in {b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"}:
        return None
    found = _CODE.match(text)
    if found is None:
        return Status(name.decode(), "", b"", text)
    return Status(name.decode(), found[1].decode().upper(), found[2] or b"", found[3])


def fetched_of(segments: Sequence[bytes], literals: Sequence[bytes]) -> Fetched | None:
    """Read an untagged FETCH; None when it is something else.

    segments: the text before, between and after the literals. Raises BadResponse.
    """
    if plain := _PLAIN_FETCH.match(segments[0]):
        return Fetched(int(plain[1]), int(plain[2]), internal_date(plain[3]), int(plain[4]))
    found = _FETCH.match(segments[0])
    if found is None:
        return None
    tokens = _tokens([segments[0][found.end() - 1 :], *segments[1:]], literals)
    items = _value(next(tokens), tokens, 0)
    if not isinstance(items, tuple) or len(items) % 2:
        raise BadResponse("a FETCH without pairs of names and values")
    uid, at_utc, size_bytes, body, has_body = 0, None, None, None, False
    for name, value in zip(items[::2], items[1::2], strict=True):
        key = name.upper() if isinstance(name, bytes) else b""
        if key == b"UID":
            uid = _number(value)
        elif key == b"RFC822.SIZE":
            size_bytes = _number(value)
        elif key == b"INTERNALDATE" and isinstance(value, bytes):
            at_utc = internal_date(value)
        elif key == b"BODY[]":
            has_body = True
            if isinstance(value, tuple):
                raise BadResponse("a mail that is a list")
            body = value
    return Fetched(int(found[1]), uid, at_utc, size_bytes, body, has_body)


def _number(value: Value) -> int:
    if not isinstance(value, bytes) or not value.isdigit() or len(value) > 19:
        raise BadResponse("a number that is none")
    return int(value)


def _tokens(segments: Sequence[bytes], literals: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Give (kind, bytes): `(`, `)`, `atom`, `string`; literals stand where their segment ends."""
    for index, segment in enumerate(segments):
        text = (_LITERAL_AT_END.sub(b"", segment) if index < len(literals) else segment).rstrip(b" ")
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise BadResponse("a string that does not end")
            at = found.end()
            if found[1]:
                yield found[1].decode(), b""
            elif found[2] is not None:
                yield "string", _ESCAPED.sub(rb"\1", found[2])
            else:
                yield "atom", found[3]
        if index < len(literals):
            yield "string", literals[index]
    raise BadResponse("a list that does not end")


def _value(token: tuple[str, bytes], tokens: Iterator[tuple[str, bytes]], depth: int) -> Value:
    kind, raw = token
    if kind == "atom":
        return None if raw.upper() == b"NIL" else raw
    if kind == "string":
        return raw
    if kind == ")" or depth > _MAX_DEPTH:
        raise BadResponse("brackets that do not fit")
    values: list[Value] = []
    for following in tokens:
        if following[0] == ")":
            break
        values.append(_value(following, tokens, depth + 1))
    return tuple(values)


def internal_date(raw: bytes) -> datetime | None:
    """Return ` 1-Feb-2026 09:30:00 +0900` in UTC, None when it is no date (RFC 3501 section 9, date-time)."""
    found = _DATE.match(raw)
    if found is None or found[2].lower() not in _MONTHS:
        return None
    offset = timedelta(hours=int(found[8]), minutes=int(found[9])) * (-1 if found[7] == b"-" else 1)
    try:
        local = datetime(
            int(found[3]),
            _MONTHS.index(found[2].lower()) + 1,
            int(found[1]),
            int(found[4]),
            int(found[5]),
            int(found[6]),
            tzinfo=timezone(offset),
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def quoted(raw: bytes) -> bytes:
    r"""Return bytes as a quoted string: `"` and `\` are escaped. The caller has seen to it that no line ends in it."""
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def modified_utf7(name: str) -> bytes:
    """Return a folder's name as RFC 3501 section 5.1.3 writes it, all in printable ASCII."""
    parts: list[bytes] = []
    waiting: list[str] = []

    def flush() -> None:
        if waiting:
            encoded = base64.b64encode("".join(waiting).encode("utf-16-be", "surrogatepass"))
            parts.append(b"&" + encoded.rstrip(b"=").replace(b"/", b",") + b"-")
            waiting.clear()

    for char in name:
        if not " " <= char <= "~":
            waiting.append(char)
            continue
        flush()
        parts.append(b"&-" if char == "&" else char.encode())
    flush()
    return b"".join(parts)
