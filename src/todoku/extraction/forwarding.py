"""Mails that people passed on by hand: the notification stands inside another person's mail.

Forwarding changes From, adds a header block to the text, may quote every line, or wraps the whole mail as an
attachment (trap 9). What the site itself said is taken from inside.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from todoku.kernel.folding import fold_for_matching
from todoku.mail.dates import parse_date_header
from todoku.mail.types import Attachment

MAX_HEADER_LINES = 16
"""Header lines of a forwarded mail that are looked at; mail programs write four to six."""

MAX_HEADER_CHARACTERS = 1_000
"""The longest value of a header line that is kept. Looking for an address costs the square of its length: 12 minutes
for a line of 400,000 letters."""

MAX_BLOCKS = 50
"""Lines that begin like a sender's which are looked at when no marker stands before the block."""

MAX_LINES_BEFORE_SENDER = 4

_MARKER = re.compile(
    r"^[ >]*(?:-{2,} ?(?:Forwarded message|Original Message|転送メッセージ|転送されたメッセージ|元のメッセージ)"
    r"(?: follows)? ?-{0,40}|Begin forwarded message:|転送されたメッセージ:)[ -]*$",
    re.IGNORECASE | re.MULTILINE,
)
_MARKER_WORDS = ("orwarded ", "riginal ", "FORWARDED", "ORIGINAL", "転送", "元のメッセージ")
_HEADER_LINE = re.compile(
    r"[ >*]{0,20}(?P<name>[A-Za-z-]{2,12}|差出人|送信者|送信元|件名|日付|日時|送信日時|宛先|受信者)"
    r"\*? ?:\*? ?(?P<value>.*)"
)
# Outlook and most telephones set no marker before the block: what begins like a sender's line is looked at.
_SENDER_LINE = re.compile(r"^[ >*]{0,20}(?:From|差出人|送信者|送信元)\*? ?:", re.IGNORECASE | re.MULTILINE)
_SUBJECT_NAMES = frozenset({"subject", "件名"})
_SENDER_NAMES = frozenset({"from", "差出人", "送信者", "送信元"})
_DATE_NAMES = frozenset({"date", "sent", "日付", "日時", "送信日時"})
_OTHER_NAMES = frozenset({"to", "cc", "宛先", "受信者", "reply-to", "importance"})
_ADDRESS = re.compile(r"[^\s<>\"()\[\]:,;@]+@[A-Za-z0-9.-]+")
_QUOTE = re.compile(r"^[ ]?(?:> ?)+", re.MULTILINE)


class Inner(NamedTuple):
    """What the header block of a forwarded mail says; begin: where its body begins in the text."""

    begin: int
    subject: str | None
    sender: str | None
    date: datetime | None


def without_quote_marks(text: str) -> str:
    """Return the text with the `> ` of quoted lines turned to blanks (same length), when most lines are quoted."""
    if "\n>" not in text and not text.startswith(">"):
        return text
    lines = [line for line in text.split("\n") if line.strip()]
    quoted = sum(1 for line in lines if line.startswith((">", " >")))
    if quoted * 2 < len(lines):
        return text
    return _QUOTE.sub(lambda match: " " * len(match.group()), text)


def find_inner(text: str, folded: str) -> Inner | None:
    """Return the header block of the first mail forwarded inside the text, or None when there is none.

    With a marker before it, whatever header lines follow are the block. Without one (Outlook, telephones) it must be a
    sender's line with an address, and beside it, without other lines between, both a subject and a date.
    """
    if any(word in folded for word in _MARKER_WORDS):
        marker = _MARKER.search(folded)
        if marker is not None:
            position, found = _header_block(text, folded, marker.end() + 1)
            return _inner(position, found) if found else None
    for match in islice(_SENDER_LINE.finditer(folded), MAX_BLOCKS):
        position, found = _header_block(text, folded, _first_header_line(folded, match.start()))
        inner = _inner(position, found)
        if inner.sender and inner.subject and found.keys() & _DATE_NAMES:
            return inner
    return None


def _first_header_line(folded: str, begin: int) -> int:
    """Return where the header lines right above a sender's line begin."""
    for _ in range(MAX_LINES_BEFORE_SENDER):
        above = folded.rfind("\n", 0, max(begin - 1, 0)) + 1
        line = folded[above : max(begin - 1, 0)]
        match = _HEADER_LINE.match(line) if len(line) <= MAX_HEADER_CHARACTERS else None
        if match is None or match["name"].casefold() not in _SUBJECT_NAMES | _DATE_NAMES | _OTHER_NAMES:
            break
        begin = above
    return begin


def _header_block(text: str, folded: str, position: int) -> tuple[int, dict[str, str]]:
    """Return where the header lines from here on end, and what each of them says, by name."""
    found: dict[str, str] = {}
    for _ in range(MAX_HEADER_LINES):
        line_end = folded.find("\n", position)
        line_end = len(folded) if line_end < 0 else line_end
        line = folded[position:line_end]
        match = _HEADER_LINE.match(line)
        if match is not None:
            begin = position + match.start("value")
            value = text[begin : min(line_end, begin + MAX_HEADER_CHARACTERS)]
            found.setdefault(match["name"].casefold(), value.strip())
        elif found or line.strip():
            break
        position = line_end + 1
    return min(position, len(folded)), found


def _inner(begin: int, found: dict[str, str]) -> Inner:
    def first(names: frozenset[str]) -> str | None:
        return next((value for name, value in found.items() if name in names and value), None)

    sender = _ADDRESS.search(fold_for_matching(first(_SENDER_NAMES) or ""))
    return Inner(
        begin=begin,
        subject=first(_SUBJECT_NAMES),
        sender=sender.group().casefold() if sender else None,
        date=_date(first(_DATE_NAMES)),
    )


def _date(written: str | None) -> datetime | None:
    """Return the date only when it says its offset; `2026年11月20日 18:03` of an unknown zone orders nothing."""
    return parse_date_header(written)[0] if written else None


def attached_mails(attachments: tuple[Attachment, ...]) -> list[bytes]:
    """Return the mails that are attached whole, in order."""
    return [
        attachment.content
        for attachment in attachments
        if attachment.content_type.casefold() == "message/rfc822" or attachment.filename.casefold().endswith(".eml")
    ]
