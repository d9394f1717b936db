"""Take the values of one mail out of its text, by the rules of its site, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import unquote

from todoku.extraction.compiled import CompiledField, CompiledSite, squeeze
from todoku.extraction.convert import text_block
from todoku.extraction.letter import Letter
from todoku.extraction.scan import (
    AFTER,
    MAIN,
    Piece,
    Scan,
    addressee_piece,
    labelled_piece,
    link_piece,
    pattern_piece,
    pattern_pieces,
    scan_letter,
    shaped_span,
)
from todoku.extraction.types import Evidence
from todoku.kernel.folding import fold_for_matching

T = TypeVar("T")

CURRENT = (AFTER, MAIN)
"""Where the state that counts now stands: in the block after the change, else outside of any block."""

MAX_LINKS = 20
"""Links that are compared; a notification has one or two."""

_ONLY_MAIN = (MAIN,)
_NEVER_ARROWED = frozenset({"requests", "cancel_reason", "link", "shop"})


class FieldReader:
    """Read fields of one mail. Values that were used leave their place in `evidence`."""

    def __init__(self, site: CompiledSite, letter: Letter) -> None:
        self.site = site
        self.letter = letter
        self.evidence: list[Evidence] = []
        self.arrow: str | None = None
        self.scan = self._scan()
        self._there = site.names_found(self.scan.by_label)
        self._without_blocks = len(self.scan.sections) == 1
        self._link: Piece | None = None
        self._link_looked_for = False

    def _scan(self) -> Scan:
        scan = scan_letter(self.site, self.letter, self.site.scan)
        if self.letter.html is None or "\t" not in self.letter.folded:
            return scan
        # Table cells turned to text stand with a TAB between them, and often without the marks of the plain mail.
        rows = scan_letter(self.site, self.letter, self.site.scan_table)
        return rows if len(rows.by_label) > len(scan.by_label) else scan

    def use_arrows(self) -> None:
        """Read `old → new` inside a value as a change, as the site's layout writes it."""
        self.arrow = self.site.definition.layout.arrow

    def read(self, name: str, convert: Callable[[Piece], T | None], *, sections: tuple[str, ...] = CURRENT) -> T | None:
        """Return the first value of that name that the converter takes, or None."""
        if name not in self._there:
            return None
        found = self.find(name, convert, sections=sections)
        return found[0] if found is not None else None

    def find(
        self, name: str, convert: Callable[[Piece], T | None], *, sections: tuple[str, ...] = CURRENT
    ) -> tuple[T, Piece | None] | None:
        """Return the first value that the converter takes, and the piece before an arrow where there is one."""
        if name not in self._there:
            return None
        for field in self.site.fields[name]:
            for now, before in self._changes(field, sections):
                value = convert(now)
                if value is not None:
                    if sections is CURRENT:
                        self._note(name, now)
                    return value, before
        return None

    def is_ambiguous(self, name: str, convert: Callable[[Piece], T | None]) -> bool:
        """Tell whether the mail states the value twice, differently: under one rule in one block, or in links.

        A mail that quotes older notifications does; which of them counts, nobody can tell.
        """
        if name not in self._there:
            return False
        for field in self.site.fields[name]:
            for pieces in self._repetitions(field):
                values = [convert(piece) for piece in pieces]
                if len({value for value in values if value is not None}) > 1:
                    return True
        return False

    def _repetitions(self, field: CompiledField) -> Iterator[list[Piece]]:
        """Yield the values that the rule finds in each block, when there may be more than one."""
        if field.rule.syntax == "url_query":
            yield [piece for link in self._all_links() if (piece := _in_link(field, link)) is not None]
        elif sum(len(self.scan.by_label.get(label, ())) for label in field.labels) > 1:
            for section in ((AFTER,), (MAIN,)):
                yield [now for now, _ in self._changes(field, section)]

    def _all_links(self) -> Iterator[Piece]:
        """Yield the links of the text that the rule `link` finds, at most MAX_LINKS."""
        beginnings = [beginning for rule in self.site.fields.get("link", ()) for beginning in rule.rule.labels]
        for beginning in beginnings:
            position = self.letter.begin
            for _ in range(MAX_LINKS):
                link = link_piece((beginning,), self.letter.folded, position, "text")
                if link is None:
                    break
                yield link
                position = link.end

    def text(self, name: str) -> str | None:
        """Return a text value; rules marked `join` add their lines."""
        if name not in self._there:
            return None
        text: str | None = None
        for field in self.site.fields[name]:
            if text is not None and not field.rule.join:
                continue
            for now, _ in self._changes(field, CURRENT):
                block = text_block(now.value)
                if block is not None:
                    text = block if text is None else f"{text}\n{block}"
                    self._note(name, now)
                break
        return text

    def every(self, name: str) -> list[str]:
        """Return all values of that name that the patterns of its rules find in the text, folded, in order."""
        found: list[str] = []
        for field in self.site.fields.get(name, ()):
            if field.rule.syntax != "text":
                continue
            for piece in pattern_pieces(field.pattern, self.letter.folded, self.letter.begin):
                self._note("party_size" if name == "party_part" else name, piece)
                found.append(piece.folded)
        return found

    def first_piece(self, name: str) -> Piece | None:
        """Return the first raw value of that name without writing it down."""
        if name not in self._there:
            return None
        for field in self.site.fields[name]:
            for now, _ in self._changes(field, CURRENT):
                return now
        return None

    def _note(self, name: str, piece: Piece) -> None:
        self.evidence.append(Evidence(name, piece.source, piece.start, piece.end))

    def _changes(self, field: CompiledField, sections: tuple[str, ...]) -> list[tuple[Piece, Piece | None]]:
        """Return the raw values that the rule finds, each with what stands before an arrow inside it."""
        arrow, pieces = self.arrow, self._pieces(field, sections)
        if field.plain and arrow is None:
            return [(now, None) for now in pieces]
        changes: list[tuple[Piece, Piece | None]] = []
        for now in pieces:
            before: Piece | None = None
            if arrow is not None and arrow in now.folded and field.rule.name not in _NEVER_ARROWED:
                before, now = _split_at(arrow, now)
            shaped = now if field.plain else _shaped(field, now)
            if shaped is not None:
                changes.append((shaped, before))
        return changes

    def _pieces(self, field: CompiledField, sections: tuple[str, ...]) -> list[Piece]:
        labels = field.labels
        if not labels:
            piece = self._by_pattern(field) if sections is CURRENT else None
            return [piece] if piece is not None else []
        by_label, letter = self.scan.by_label, self.letter
        pieces: list[Piece] = []
        for section in sections if sections is not CURRENT or not self._without_blocks else _ONLY_MAIN:
            for label in labels:
                if label not in by_label:
                    continue
                for found in by_label[label]:
                    if found[2] == section:
                        piece = labelled_piece(field.mode, found, letter)
                        if piece is not None:
                            pieces.append(piece)
        return pieces

    def _by_pattern(self, field: CompiledField) -> Piece | None:
        letter, syntax = self.letter, field.rule.syntax
        if syntax == "link":
            return self._find_link(field)
        if syntax in ("url_path", "url_query"):
            link = self._link if self._link_looked_for else self.first_piece("link")
            return _in_link(field, link) if link is not None else None
        if field.ending is not None:
            return addressee_piece(field.ending, letter, self.scan.head_end, code=field.rule.name == "shop_code")
        if syntax == "subject":
            for subject in letter.subjects:
                folded = fold_for_matching(subject)
                piece = pattern_piece(field.pattern, folded, (0, len(folded)), "subject")
                if piece is not None:
                    return Piece(subject[piece.start : piece.end], piece.folded, "subject", piece.start, piece.end)
            return None
        piece = pattern_piece(field.pattern, letter.folded, (letter.begin, len(letter.folded)), "text")
        if piece is None:
            return None
        return Piece(letter.text[piece.start : piece.end], piece.folded, "text", piece.start, piece.end)

    def _find_link(self, field: CompiledField) -> Piece | None:
        if not self._link_looked_for:
            self._link_looked_for = True
            letter = self.letter
            self._link = link_piece(field.rule.labels, letter.folded, letter.begin, "text")
            if self._link is None and letter.html is not None:
                # A link that is only in an attribute is not always in the text that people read.
                self._link = link_piece(field.rule.labels, letter.html, 0, "html")
        return self._link


def _in_link(field: CompiledField, link: Piece) -> Piece | None:
    path, _, query = link.folded.partition("#")[0].partition("?")
    if field.rule.syntax == "url_path":
        return _in_path(field.rule.labels, path, link)
    start = len(path) + 1
    for pair in query.replace(";", "&").split("&"):
        key, _, value = pair.partition("=")
        if value and key in field.rule.labels:
            return _part_of(link, start + len(key) + 1, value)
        start += len(pair) + 1
    return None


def _in_path(labels: tuple[str, ...], path: str, link: Piece) -> Piece | None:
    for label in labels:
        _, found, rest = path.partition(label)
        value = rest.partition("/")[0]
        if found and value:
            return _part_of(link, len(path) - len(rest), value)
    return None


def _part_of(link: Piece, start: int, written: str) -> Piece:
    plain = unquote(written) if "%" in written else written
    return Piece(plain, plain, link.source, link.start + start, link.start + start + len(written))


def _split_at(arrow: str, piece: Piece) -> tuple[Piece | None, Piece]:
    at = piece.folded.rfind(arrow)
    new = _cut(piece, at + len(arrow), len(piece.folded))
    return _cut(piece, 0, at), new if new is not None else piece


def _cut(piece: Piece, begin: int, end: int) -> Piece | None:
    folded = piece.folded
    while begin < end and folded[begin].isspace():
        begin += 1
    while end > begin and folded[end - 1].isspace():
        end -= 1
    if begin >= end:
        return None
    value, source, start, stop = piece.value[begin:end], piece.source, piece.start, piece.end
    if stop - start == len(folded):  # else it was percent-decoded, and its place is the whole of what was written
        start, stop = start + begin, start + end
    return Piece(value, folded[begin:end], source, start, stop)


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
        span = shaped_span(field.shape, stripped.folded)
        return _cut(stripped, *span) if span is not None else None
    return stripped
