"""Take the values of one mail out of its text, by the rules of its site, each with its place."""

from __future__ import annotations

import html as html_entities
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from todoku.extraction.compiled import CompiledField, CompiledSite, squeeze
from todoku.extraction.convert import text_block
from todoku.extraction.letter import Letter
from todoku.extraction.scan import AFTER, BEFORE, MAIN, Piece, Scan, labelled_piece, pattern_piece, scan_letter
from todoku.extraction.types import Evidence
from todoku.kernel.folding import fold_for_matching

T = TypeVar("T")

CURRENT = (AFTER, MAIN)
"""Where the state that counts now stands: in the block after the change, else outside of any block."""

_NEVER_ARROWED = frozenset({"requests", "cancel_reason", "link", "shop"})


class Change(NamedTuple):
    """One raw value and, where the mail puts an arrow between two, the value before it."""

    now: Piece
    before: Piece | None


class FieldReader:
    """Read fields of one mail. Values that were used leave their place in `evidence`."""

    def __init__(self, site: CompiledSite, letter: Letter) -> None:
        self.site = site
        self.letter = letter
        self.evidence: list[Evidence] = []
        self.arrows = False
        self.scan = self._scan()

    def _scan(self) -> Scan:
        site, letter = self.site, self.letter
        if site.scan is None:
            return Scan({}, len(letter.folded), len(letter.data), frozenset({MAIN}))
        scan = scan_letter(site, letter, site.scan)
        if letter.html is not None and not scan.by_label:
            return scan_letter(site, letter, site.scan_table)
        return scan

    def read(
        self, name: str, convert: Callable[[Piece], T | None], *, sections: tuple[str, ...] = CURRENT
    ) -> T | None:
        """Return the first value of that name that the converter takes, or None."""
        change = self.find(name, convert, sections=sections)
        return change[0] if change is not None else None

    def find(
        self, name: str, convert: Callable[[Piece], T | None], *, sections: tuple[str, ...] = CURRENT
    ) -> tuple[T, Change] | None:
        """Return the first value that the converter takes, with its piece and the piece before an arrow."""
        for field in self.site.fields.get(name, ()):
            for change in self._changes(field, sections):
                value = convert(change.now)
                if value is not None:
                    if sections is CURRENT:
                        self.note(name, change.now)
                    return value, change
        return None

    def text(self, name: str) -> str | None:
        """Return a text value; rules marked `join` add their lines."""
        lines: list[str] = []
        for field in self.site.fields.get(name, ()):
            if lines and not field.rule.join:
                continue
            change = next(self._changes(field, CURRENT), None)
            block = text_block(change.now.value) if change is not None else None
            if change is not None and block is not None:
                lines.append(block)
                self.note(name, change.now)
        return "\n".join(lines) or None

    def note(self, name: str, piece: Piece) -> None:
        """Write down where a value came from."""
        self.evidence.append(Evidence(name, piece.source, piece.start, piece.end))

    def first_piece(self, name: str) -> Piece | None:
        """Return the first raw value of that name without writing it down."""
        for field in self.site.fields.get(name, ()):
            for change in self._changes(field, CURRENT):
                return change.now
        return None

    def _changes(self, field: CompiledField, sections: tuple[str, ...]) -> Iterator[Change]:
        for piece in self._pieces(field, sections):
            before, now = self._split_at_arrow(field, piece)
            shaped = _shaped(field, now)
            if shaped is not None:
                yield Change(shaped, before)

    def _split_at_arrow(self, field: CompiledField, piece: Piece) -> tuple[Piece | None, Piece]:
        arrow = self.site.definition.layout.arrow
        if not (self.arrows and arrow and arrow in piece.folded) or field.rule.name in _NEVER_ARROWED:
            return None, piece
        at = piece.folded.rfind(arrow)
        old = _cut(piece, 0, at)
        new = _cut(piece, at + len(arrow), len(piece.folded))
        return old, new if new is not None else piece

    def _pieces(self, field: CompiledField, sections: tuple[str, ...]) -> Iterator[Piece]:
        if field.labels:
            for section in sections:
                for label in field.labels:
                    for found in self.scan.by_label.get(label, ()):
                        piece = labelled_piece(field, found, self.letter) if found.section == section else None
                        if piece is not None:
                            yield piece
        elif sections is CURRENT:
            piece = self._by_pattern(field)
            if piece is not None:
                yield piece

    def _by_pattern(self, field: CompiledField) -> Piece | None:
        letter, syntax = self.letter, field.rule.syntax
        if syntax == "subject":
            pieces = (pattern_piece(field.pattern, subject, (0, len(subject)), "subject") for subject in self._subjects)
            return next((piece for piece in pieces if piece is not None), None)
        bounds = (letter.begin_bytes, self.scan.head_end_bytes if syntax == "head" else len(letter.data))
        piece = pattern_piece(field.pattern, letter.data, bounds, "text")
        if piece is not None:
            written = letter.text[piece.start : piece.end]
            piece = replace(piece, value=written)
        elif syntax in ("url", "url_query") and letter.html is not None:
            # A link whose address is only in an attribute is not in the text that people read.
            piece = pattern_piece(field.pattern, self._html_data, (0, len(self._html_data)), "html")
            if piece is not None:
                piece = _plain(piece, html_entities.unescape(piece.value))
        if piece is not None and syntax == "url_query":
            piece = _plain(piece, unquote(piece.value))
        return piece

    @cached_property
    def _subjects(self) -> list[bytes]:
        return [fold_for_matching(subject).encode("utf-8", "surrogatepass") for subject in self.letter.subjects]

    @cached_property
    def _html_data(self) -> bytes:
        return (self.letter.html or "").encode("utf-8", "surrogatepass")


def has_before_and_after(scan: Scan) -> bool:
    """Tell whether the mail shows the state before the change in a block of its own."""
    return BEFORE in scan.sections


def _plain(piece: Piece, value: str) -> Piece:
    return replace(piece, value=value, folded=value)


def _cut(piece: Piece, begin: int, end: int) -> Piece | None:
    folded = piece.folded
    while begin < end and folded[begin].isspace():
        begin += 1
    while end > begin and folded[end - 1].isspace():
        end -= 1
    if begin >= end:
        return None
    cut = replace(piece, value=piece.value[begin:end], folded=folded[begin:end])
    if piece.end - piece.start != len(folded):  # it was percent-decoded: its place is the whole of what was written
        return cut
    return replace(cut, start=piece.start + begin, end=piece.start + end)


def _shaped(field: CompiledField, piece: Piece) -> Piece | None:
    """Return the piece as the rule wants it, or None when the rule says that it is no value."""
    rule = field.rule
    stripped: Piece | None = piece
    if rule.strip:
        value = piece.value
        begin = len(value) - len(value.lstrip(rule.strip + " \u3000"))
        end = len(value.rstrip(rule.strip + " \u3000"))
        stripped = _cut(piece, begin, end)
    if stripped is None or (field.nothing and squeeze(stripped.folded) in field.nothing):
        return None
    if field.shape is not None:
        match = field.shape.fullmatch(stripped.folded)
        if match is None:
            return None
        if field.shape.groups:
            return _cut(stripped, match.start(1), match.end(1))
    return stripped
