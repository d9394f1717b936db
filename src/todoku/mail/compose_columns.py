"""Compose the messages of a window side by side: each part of a message is a column, and one join makes a message.

Purpose     half the time of `Composer.compose_filled`: what is the same for all is looked at once, and what differs is
            checked and encoded a column at a time.
Guarantees  octet for octet what `compose_filled` makes (tests/unit/delivery/test_compose_columns.py), but that a
            boundary in the middle of a line, which ends nothing (RFC 2046 section 5.1.1), is left as it is. A message
            for which that is not certain is None, and `compose_filled` makes it or says why not. Raises nothing.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import repeat
from typing import NamedTuple

from todoku.kernel.addresses import UnsafeHeaderError
from todoku.mail.compose import (
    ROOMS,
    WORD_OCTETS,
    Composer,
    date_line,
    mailbox,
    recipient_address,
    unstructured,
)
from todoku.mail.filled_bodies import FilledColumns, fits

_NAME_ROOM = ROOMS[len("To: ")]
_SUBJECT_ROOM = ROOMS[len("Subject: ")]
_WORD_AND_ADDRESS = 59  # columns that both may take before the line is folded (76 - 17 of frame)
_BETWEEN = ">"  # can't be in a link that stands between angle brackets
_LONGEST_URL = 900
_FOLDED_FROM = 55
_ONE_CLICK = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"

Column = Iterable[bytes]


class MessageColumns(NamedTuple):
    """What differs from message to message, column by column, all of one length.

    key_prefix: what the keys of all begin with, ASCII; places: what they end with. unsubscribe_urls: "" for none.
    """

    to_names: Sequence[str]
    to_addresses: Sequence[str]
    subjects: Sequence[str]
    key_prefix: str
    places: Sequence[int]
    unsubscribe_urls: Sequence[str]


def compose_columns(
    composer: Composer, columns: MessageColumns, bodies: FilledColumns, date: datetime
) -> list[bytes | None]:
    """Return each message as `Composer.compose_filled` makes it, None where it must be asked. date: aware."""
    count = len(columns.places)
    nothing: list[bytes | None] = [None] * count
    plan = composer.plan_of(bodies.layout)
    links = _links(columns.unsubscribe_urls)
    if not plan.pieces or plan.at_line_start is None or links is None or not count:
        return nothing
    try:
        to = [_to(name, address) for name, address in zip(columns.to_names, columns.to_addresses, strict=True)]
        subjects = _subjects(columns.subjects)
    except UnsafeHeaderError:
        return nothing
    key = columns.key_prefix.encode("ascii")
    places = [b"%d" % place for place in columns.places]
    domain = composer.domain.encode("ascii")
    literals = plan.pieces[1::2]
    parts: list[Column] = [
        repeat(b"Date: " + date_line(date).encode("ascii") + b"\r\nTo: "),
        to,
        repeat(b"\r\nSubject: "),
        subjects,
        repeat(b"\r\nMessage-ID: <" + key),
        places,
        repeat(b"@" + domain + b">\r\nX-Todoku-Recipient: " + key),
        places,
        *links[0],
        repeat(links[1] + literals[0]),
    ]
    for hole, literal in zip(bodies.holes, literals[1:], strict=True):
        parts += (hole, repeat(literal))
    contents: list[bytes | None] = list(map(b"".join, zip(*parts, strict=False)))
    if sum(max(map(len, hole)) for hole in bodies.holes) > plan.room:
        rows: list[tuple[bytes, ...]] = list(zip(*bodies.holes, strict=True))
        contents = [one if fits(plan.rooms, row) else None for one, row in zip(contents, rows, strict=True)]
    for place, octet in plan.at_line_start:
        column = bodies.holes[place]
        if any(not value or value.startswith(octet) for value in column):
            safe = [bool(value) and not value.startswith(octet) for value in column]
            contents = [one if is_safe else None for one, is_safe in zip(contents, safe, strict=True)]
    if plan.ascii:
        contents = [one if one is not None and one.isascii() else None for one in contents]
    return contents


def _to(name: str, address: str) -> bytes:
    """Return the To header's value; the usual case of a short Japanese name written out, all others as ever."""
    if not name.isascii() and name.isprintable():
        octets = name.encode("utf-8", "replace")
        if len(octets) <= _NAME_ROOM:
            word = b2a_base64(octets, newline=False)
            target = recipient_address(address).encode("utf-8")
            fold = b"?=\r\n <" if len(word) + len(target) > _WORD_AND_ADDRESS else b"?= <"
            return b"=?utf-8?B?" + word + fold + target + b">"
    return mailbox("To: ", name, address).encode("utf-8")


def _subjects(subjects: Sequence[str]) -> Column:
    first = subjects[0]
    if subjects.count(first) == len(subjects):
        return repeat(unstructured(first, len("Subject: ")).encode("ascii"))
    return [_subject(subject) for subject in subjects]


def _subject(subject: str) -> bytes:
    """Return what `unstructured` makes of a subject; the usual case of a printable Japanese one written out."""
    if subject.isascii() or not subject.isprintable():
        return unstructured(subject, len("Subject: ")).encode("ascii")
    octets = subject.encode("utf-8")
    words = []
    start, end, length = 0, _SUBJECT_ROOM, len(octets)
    while end < length:
        while octets[end] & 0xC0 == 0x80:  # a continuation byte: the character began earlier
            end -= 1
        words.append(b2a_base64(octets[start:end], newline=False))
        start, end = end, end + WORD_OCTETS
    words.append(b2a_base64(octets[start:], newline=False))
    return b"=?utf-8?B?" + b"?=\r\n =?utf-8?B?".join(words) + b"?="


def _links(urls: Sequence[str]) -> tuple[list[Column], bytes] | None:
    """Return the columns of the List-Unsubscribe headers, and what follows in all; None when they differ in kind."""
    lengths = list(map(len, urls))
    shortest, longest = min(lengths, default=0), max(lengths, default=0)
    if not longest:
        return [], b"\r\n"
    if not shortest or longest > _LONGEST_URL or shortest < _FOLDED_FROM <= longest:
        return None
    joined = _BETWEEN.join(urls)
    if not (joined.isascii() and joined.isprintable()) or " " in joined or '"' in joined or "<" in joined:
        return None
    one_click = sum(url.startswith("https://") for url in urls)
    if 0 < one_click < len(urls):
        return None
    column = joined.encode("ascii").split(b">")
    if len(column) != len(urls):
        return None
    opening = b"\r\nList-Unsubscribe: <" if longest < _FOLDED_FROM else b"\r\nList-Unsubscribe:\r\n <"
    return [repeat(opening), column], b">\r\n" + (_ONE_CLICK if one_click else b"")
