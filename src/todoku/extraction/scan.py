"""Find every label of a mail in one pass and say which piece of the text each value is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from todoku.extraction.compiled import CompiledField, CompiledSite, label_of
from todoku.extraction.letter import Letter

MAX_TOKENS = 2_000
"""Labels and rulers looked at in one mail; real mails have under 60. What comes after is not read."""

MAX_VALUE_CHARACTERS = 20_000
"""The longest value kept; a guest's wish has a few hundred characters."""

MAIN, BEFORE, AFTER = "main", "before", "after"


@dataclass(frozen=True, slots=True)
class Found:
    """One label in the text: its value begins at `start` and ends before `bound`; section is main, before or after."""

    start: int
    bound: int
    section: str


@dataclass(frozen=True, slots=True)
class Scan:
    """All labels of one mail. head_end: where the first label or ruler begins, in characters and in bytes."""

    by_label: dict[str, list[Found]]
    head_end: int
    head_end_bytes: int
    sections: frozenset[str]


@dataclass(frozen=True, slots=True)
class Piece:
    """One raw value with its place. source: "text", "subject" or "html"; folded: the piece of the folded text."""

    value: str
    folded: str
    source: str
    start: int
    end: int


def scan_letter(site: CompiledSite, letter: Letter, pattern: Any) -> Scan:
    """Return every label that the pattern finds, with the bounds of its value."""
    by_label: dict[str, list[Found]] = {}
    sections = {MAIN}
    section = MAIN
    labels_in_section = 0
    head_end, head_end_bytes = len(letter.folded), len(letter.data)
    waiting: tuple[str, int, str] | None = None
    for begin, end, begin_bytes in _tokens(letter, pattern):
        if waiting is not None:
            label, start, of_section = waiting
            by_label.setdefault(label, []).append(Found(start, begin, of_section))
            waiting = None
        elif begin < head_end:
            head_end, head_end_bytes = begin, begin_bytes
        label = label_of(letter.folded[begin:end])
        if label in site.labels:
            waiting = (label, end, section)
            labels_in_section += 1
        elif label and label == site.before:
            section, labels_in_section = BEFORE, 0
        elif label and label == site.after:
            section, labels_in_section = AFTER, 0
        elif section != MAIN and labels_in_section and site.ruler.match(letter.folded[begin:end].strip()):
            section = MAIN  # a ruler between a heading and its first label does not close the block
        sections.add(section)
    if waiting is not None:
        by_label.setdefault(waiting[0], []).append(Found(waiting[1], len(letter.folded), waiting[2]))
    return Scan(by_label, head_end, head_end_bytes, frozenset(sections))


def _tokens(letter: Letter, pattern: Any) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, end, begin in bytes) of each match, begin and end in characters."""
    data = letter.data
    done_bytes, done = letter.begin_bytes, letter.begin
    for number, match in enumerate(pattern.finditer(data, done_bytes)):
        if number >= MAX_TOKENS:
            return
        begin_bytes, end_bytes = match.span()
        if begin_bytes == end_bytes:
            continue
        begin = done + characters_in(data[done_bytes:begin_bytes])
        done = begin + characters_in(data[begin_bytes:end_bytes])
        done_bytes = end_bytes
        yield begin, done, begin_bytes


def characters_in(data: bytes) -> int:
    """Return how many characters a piece of UTF-8 holds."""
    return len(data.decode("utf-8", "surrogatepass"))


def labelled_piece(field: CompiledField, found: Found, letter: Letter) -> Piece | None:
    """Return the value after one label, or None when nothing but blanks stands there."""
    folded, text = letter.folded, letter.text
    start, bound = found.start, min(found.bound, found.start + MAX_VALUE_CHARACTERS)
    if field.mode == "block":
        end = folded.find("\n\n\n", start, bound)
        return piece_of(text, folded, start, bound if end < 0 else end)
    line_end = folded.find("\n", start, bound)
    if field.mode != "next_line":
        here = piece_of(text, folded, start, bound if line_end < 0 else line_end)
        if here is not None or field.mode == "line":
            return here
    if line_end < 0:
        return None
    next_end = folded.find("\n", line_end + 1, bound)
    return piece_of(text, folded, line_end + 1, bound if next_end < 0 else next_end)


def piece_of(text: str, folded: str, start: int, end: int) -> Piece | None:
    """Return text[start:end] without the blanks around it, or None when that is nothing."""
    while start < end and folded[start] in " \t\n":
        start += 1
    while end > start and folded[end - 1] in " \t\n":
        end -= 1
    if start >= end:
        return None
    return Piece(text[start:end], folded[start:end], "text", start, end)


def pattern_piece(pattern: Any, data: bytes, bounds: tuple[int, int], source: str) -> Piece | None:
    """Return the group of the first match between the byte bounds, or None; offsets are in characters of `data`."""
    match = pattern.search(data, bounds[0], bounds[1])
    if match is None or match.start(1) < 0:
        return None
    begin_bytes, end_bytes = match.span(1)
    value = data[begin_bytes:end_bytes].decode("utf-8", "surrogatepass")
    start = characters_in(data[:begin_bytes])
    return Piece(value, value, source, start, start + len(value)) if value.strip() else None
