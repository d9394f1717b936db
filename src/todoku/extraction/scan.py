"""Find every label of a mail in one pass and say which piece of the text each value is."""

from __future__ import annotations

import html as html_entities
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import msgspec

from todoku.extraction.compiled import CompiledSite, label_of
from todoku.extraction.definition import ValueMode
from todoku.extraction.letter import Letter

MAX_TOKENS = 2_000
"""Labels and rulers looked at in one mail; real mails have under 60. What comes after is not read."""

MAX_VALUE_CHARACTERS = 20_000
"""The longest value kept; a guest's wish has a few hundred characters."""

MAX_HEAD_LINES = 40
"""Lines before the first label in which the shop may be addressed."""

MAIN, BEFORE, AFTER = "main", "before", "after"


Found: TypeAlias = tuple[int, int, str]
"""One label in the text: where its value begins, where it must end, and its section: main, before or after."""


class Scan(NamedTuple):
    """All labels of one mail. head_end: where the first label or ruler begins; sections: those that are there."""

    by_label: dict[str, list[Found]]
    head_end: int
    sections: frozenset[str]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One raw value with its place. source: "text", "subject" or "html"; folded: the piece of the folded text."""

    value: str
    folded: str
    source: str
    start: int
    end: int


MAX_MATCHES = 100
"""Places of one pattern that are looked at, such as the classes of price of one booking."""

MAX_ADDRESSES = 200
"""Addresses of one beginning that are looked at; a notification has under 30."""

WRAPPED_COLUMNS = 60
"""How wide a line is at least that a mailer broke; they break at 70 to 78, before the character that is too much."""

# How a line begins that is a field of its own, also one that nobody knows; the colon of a time is none.
_LIKE_A_LABEL = re.compile(
    r"[ \t]*(?:[■□●◆◇▼★☆【<\[|]|[^\s0-9:|、。!?][^:|、。!?\t]{0,30}(?:(?<![0-9]):|:(?![0-9])|[|\t]))"
)
_ADDRESS_END = re.compile(r"[^!#-;=?-~]")
_FIELD_MARK = re.compile(r"[:|\t]")
_ONLY_MAIN = frozenset({MAIN})


def scan_letter(site: CompiledSite, letter: Letter, pattern: re.Pattern[str] | None) -> Scan:
    """Return every label that the pattern finds, with the bounds of its value."""
    folded, length = letter.lined, len(letter.lined)
    by_label: dict[str, list[Found]] = {}
    if pattern is None:
        return Scan(by_label, length, _ONLY_MAIN)
    tokens = [match.span() for match in islice(pattern.finditer(folded, letter.begin), MAX_TOKENS)]
    bounds = [begin for begin, _ in tokens[1:]]
    bounds.append(length)
    sections, section, labels_in_section, labels = {MAIN}, MAIN, 0, site.labels
    for (begin, end), bound in zip(tokens, bounds, strict=False):
        token = folded[begin:end]
        label = label_of(token)
        if label in labels:
            found = (end - 1, bound - 1, section)
            if label in by_label:
                by_label[label].append(found)
            else:
                by_label[label] = [found]
            labels_in_section += 1
        elif label and label == site.before:
            section, labels_in_section = BEFORE, 0
            sections.add(section)
        elif label and label == site.after:
            section, labels_in_section = AFTER, 0
            sections.add(section)
        elif section != MAIN and labels_in_section and token.strip().startswith(site.rulers):
            section = MAIN  # a ruler between a heading and its first label does not close the block
    head_end = tokens[0][0] - 1 if tokens else length - 1
    return Scan(by_label, max(head_end, letter.begin), frozenset(sections))


def labelled_piece(mode: ValueMode, found: Found, letter: Letter) -> Piece | None:
    """Return the value after one label, or None when nothing but blanks stands there."""
    folded = letter.folded
    start, bound, _ = found
    if bound - start > MAX_VALUE_CHARACTERS:
        bound = start + MAX_VALUE_CHARACTERS
    if mode == "block":
        end = folded.find("\n\n\n", start, bound)
        return piece_of(letter, start, bound if end < 0 else end)
    line_end = folded.find("\n", start, bound)
    if mode in ("wrapped", "lines"):
        return _open_ended(mode, start, bound, letter)
    if mode == "line":
        return piece_of(letter, start, bound if line_end < 0 else line_end)
    if mode != "next_line":
        here = piece_of(letter, start, bound if line_end < 0 else line_end)
        if here is not None:
            return here
    if line_end < 0:
        return None
    next_end = folded.find("\n", line_end + 1, bound)
    return piece_of(letter, line_end + 1, bound if next_end < 0 else next_end)


def _open_ended(mode: ValueMode, start: int, bound: int, letter: Letter) -> Piece | None:
    """Return the rest of the line and the lines that go on with it, up to an empty line or what looks like a label.

    Nothing on the line: the value begins on the next one. wrapped: only lines that a mailer broke off a wide one, and
    put together again; lines: all of them.
    """
    folded = letter.folded
    end = folded.find("\n", start, bound)
    if end < 0:
        return piece_of(letter, start, bound)
    begin = start
    if not folded[start:end].strip():
        begin, end = end + 1, _line_end(folded, end + 1, bound)
        if _LIKE_A_LABEL.match(folded, begin, end):
            return None
    breaks: list[int] = []
    line_begin = begin
    while end < bound:
        after = _line_end(folded, end + 1, bound)
        if not folded[end + 1 : after].strip() or _LIKE_A_LABEL.match(folded, end + 1, after):
            break
        if mode == "wrapped" and _columns(folded[line_begin:end]) < WRAPPED_COLUMNS:
            break
        breaks.append(end)
        line_begin, end = end + 1, after
    piece = piece_of(letter, begin, end)
    if piece is None or mode == "lines" or not breaks:
        return piece
    return _unwrapped(piece)


def _line_end(folded: str, start: int, bound: int) -> int:
    end = folded.find("\n", start, bound)
    return bound if end < 0 else end


def _columns(line: str) -> int:
    return len(line) + sum(1 for character in line if character > "\u2e7f")


def _unwrapped(piece: Piece) -> Piece:
    """Return the lines of the piece as one: a blank comes back only between Latin words."""
    value = folded = ""
    for line, folded_line in zip(piece.value.split("\n"), piece.folded.split("\n"), strict=True):
        line, folded_line = line.strip(), folded_line.strip()
        blank = " " if value and folded[-1].isascii() and folded_line[:1].isascii() else ""
        value, folded = value + blank + line, folded + blank + folded_line
    return Piece(value, folded, piece.source, piece.start, piece.end)


def piece_of(letter: Letter, start: int, end: int) -> Piece | None:
    """Return text[start:end] without the blanks around it, or None when that is nothing."""
    stripped = letter.folded[start:end].lstrip()
    start = end - len(stripped)
    stripped = stripped.rstrip()
    if not stripped:
        return None
    end = start + len(stripped)
    return Piece(letter.text[start:end], stripped, "text", start, end)


def addressee_piece(ending: re.Pattern[str], letter: Letter, head_end: int, *, code: bool) -> Piece | None:
    """Return the name, or the code, of the first line before all labels that ends like an address to the shop.

    `届屋 銀座本店 様 (abcd001)`: the name is 届屋 銀座本店, the code abcd001.
    """
    start = letter.begin
    for line in letter.folded[start:head_end].split("\n")[:MAX_HEAD_LINES]:
        match = ending.search(line) if not _FIELD_MARK.search(line.strip()) else None
        if match is not None and line[: match.start()].strip():
            if not code:
                return piece_of(letter, start, start + match.start())
            return piece_of(letter, start + match.start(1), start + match.end(1)) if match[1] else None
        start += len(line) + 1
    return None


def link_piece(beginnings: tuple[str, ...], text: str, begin: int, source: str) -> Piece | None:
    """Return the first address that begins so, up to the blank, quote or bracket that ends it; in HTML unescaped.

    `…` in a beginning stands for anything inside of the address.
    """
    for beginning in beginnings:
        head, *more = beginning.split("…")
        position = begin
        for _ in range(MAX_ADDRESSES):
            start = text.find(head, position)
            if start < 0:
                break
            match = _ADDRESS_END.search(text, start)
            end = match.start() if match is not None else len(text)
            value = html_entities.unescape(text[start:end]) if source == "html" else text[start:end]
            if not more or _has_in_order(value[len(head) :], more):
                return Piece(value, value, source, start, end)
            position = max(end, start + 1)
    return None


def _has_in_order(text: str, parts: list[str]) -> bool:
    for part in parts:
        _, found, text = text.partition(part)
        if part and not found:
            return False
    return True


def pattern_piece(pattern: Any, text: str, bounds: tuple[int, int], source: str) -> Piece | None:
    """Return the group of the first match of an RE2 pattern between the bounds, or None."""
    # On bytes: the binding counts offsets of a str anew at every match.
    data = text[bounds[0] : bounds[1]].encode("utf-8", "surrogatepass")
    match = pattern.search(data)
    if match is None or match.start(1) < 0:
        return None
    value = match.group(1).decode("utf-8", "surrogatepass")
    begin = bounds[0] + len(data[: match.start(1)].decode("utf-8", "surrogatepass"))
    return Piece(value, value, source, begin, begin + len(value)) if value.strip() else None


def pattern_pieces(pattern: Any, text: str, begin: int) -> Iterator[Piece]:
    """Yield the group of every match of an RE2 pattern from there on, at most MAX_MATCHES."""
    data = text[begin:].encode("utf-8", "surrogatepass")
    position, start = 0, begin
    for match in islice(pattern.finditer(data), MAX_MATCHES):
        if match.start(1) < 0:
            continue
        value = match.group(1).decode("utf-8", "surrogatepass")
        start += len(data[position : match.start(1)].decode("utf-8", "surrogatepass"))
        position = match.start(1)
        yield Piece(value, value, "text", start, start + len(value))


def shaped_span(shape: Any, folded: str) -> tuple[int, int] | None:
    """Return the piece of the value that an RE2 shape wants, or None when the whole value has not that shape."""
    data = folded.encode("utf-8", "surrogatepass")
    match = shape.fullmatch(data)
    if match is None:
        return None
    begin, end = match.span(1) if match.re.groups else match.span()
    if begin < 0:
        return None
    if len(data) == len(folded):
        return begin, end
    before = len(data[:begin].decode("utf-8", "surrogatepass"))
    return before, before + len(data[begin:end].decode("utf-8", "surrogatepass"))
