"""Templates made of plain names and plain conditions, taken apart once, so that filling one is joining octets.

Purpose     a campaign's messages at a few microseconds each, where the engine takes twenty.
Guarantees  what `fill` returns is octet for octet what the engine makes of the same values (tests/unit/content
            compares them on generated templates and values); where that is not certain it returns None, and the
            engine decides. It raises nothing and names no faults: that is the engine's part.
Known limits  filters, comparisons, loops, values other than str and int: None.

How: the literal pieces come from the engine itself. It renders each part once with a mark in place of every name, and
what stands between the marks are the pieces. A condition made of names, `and`, `or` and `not` depends only on whether
values are empty or zero; so there is one set of pieces (a variant) for each such pattern of values.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from operator import itemgetter
from typing import Any, NamedTuple

import minijinja

from todoku.content import syntax
from todoku.content.variables import VARIABLES
from todoku.delivery.types import RenderedColumns, RenderedOctets
from todoku.mail.compose import body_octets
from todoku.mail.filled_bodies import BodyLayout, FilledBodies, FilledColumns

Render = Callable[[str, Mapping[str, Any]], str]
"""Part ("subject", "html" or "text") and values to the part's text, as it is before it is composed."""

_MOST_VARIANTS = 64
_CONDITION_WORDS = frozenset({"if", "elif", "and", "or", "not", "(", ")"})
ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # would be removed, or start a line
_WITH_CARE = re.compile("[\x00-\x1f\x7f&<>\"'\ud800-\udfff]")  # ODD, and what HTML escapes
_SPLIT_SLASH = re.compile("&(?:#(?:x(?:2f?)?)?)?$")  # a name behind it could complete "&#x2f;", which becomes "/"
LARGEST_INT = 2**63 - 1  # beyond, the engine has other types
_MARK = re.compile("q([0-9]+)todokumark")


@dataclass(frozen=True, slots=True)
class Pieces:
    """One part of one variant: literals and, between them, holes; names: whose value each hole takes."""

    literals: tuple[str, ...]
    names: tuple[str, ...]


Parts = tuple[Pieces, Pieces, Pieces]
"""Subject, HTML, text."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """Everything for one pattern of conditions.

    bound: values that every message so far had (sender, postal address), already part of the literals; bound_in picks
    them from a message's values. varying_in picks the others: subject_holes are numbers of those, and holes_in picks
    the holes of the bodies from all of them as text, then all of them as HTML. most_octets: of one value.
    """

    parts: Parts
    bound_in: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    bound: tuple[str, ...]
    bound_names: tuple[str, ...]
    varying: tuple[str, ...]
    varying_in: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    subject: list[str]
    subject_holes: tuple[int, ...]
    layout: BodyLayout
    hole_places: tuple[int, ...]
    holes_in: Callable[[list[bytes]], tuple[bytes, ...]]
    most_octets: int
    dot_lines: bool


class QuickFill:
    """The quick way for one run's templates. Safe to use from several threads."""

    __slots__ = ("_conditions", "_limits", "_names", "_render", "_variants")

    def __init__(
        self, render: Render, names: tuple[str, ...], conditions: tuple[str, ...], limits: tuple[int, int]
    ) -> None:
        """limits: characters of a subject, and of the shorter body."""
        self._render = render
        self._names = names
        self._conditions = conditions
        self._limits = limits
        self._variants: dict[tuple[Any, ...], _Variant | None] = {}

    def fill(self, values: Mapping[str, Any]) -> RenderedOctets | None:
        """Return the message's words, None when the engine must be asked."""
        try:
            variant = self._variant_for(values)
            if variant is None or variant.most_octets < 0:
                return None
            dot_lines, most_octets = variant.dot_lines, variant.most_octets
            words: list[str] = []
            plain: list[bytes] = []
            escaped: list[bytes] = []
            for value in variant.varying_in(values):
                kind = type(value)
                if kind is int and -LARGEST_INT <= value <= LARGEST_INT:
                    word = str(value)
                    octets = in_html = word.encode("ascii")
                elif kind is str:
                    word, octets = value, value.encode("utf-8")
                    in_html = octets
                    if value[:1] == ".":
                        dot_lines = True
                    if _WITH_CARE.search(value):
                        if ODD.search(value):
                            return None
                        in_html = html.escape(value).encode("utf-8")
                else:
                    return None
                if len(in_html) > most_octets:
                    return None
                words.append(word)
                plain.append(octets)
                escaped.append(in_html)
        except (KeyError, UnicodeEncodeError):
            return None
        pieces = variant.subject.copy()
        pieces[1::2] = [words[hole] for hole in variant.subject_holes]
        subject = "".join(pieces).strip(" \t")
        if not subject or len(subject) > self._limits[0]:
            return None
        return RenderedOctets(subject, FilledBodies(variant.layout, variant.holes_in(plain + escaped), dot_lines))

    def fill_columns(self, values: Sequence[Mapping[str, Any]]) -> list[RenderedColumns]:
        """Return the words of many messages side by side; whoever is in no group must be asked singly."""
        try:
            groups = self._groups(values)
        except KeyError:
            return []
        found = (self._fill_group(values, rows) for rows in groups if len(rows) > 1)
        return [group for group in found if group is not None]

    def _groups(self, values: Sequence[Mapping[str, Any]]) -> Iterable[list[int]]:
        """Return rows of one pattern of conditions each; raises KeyError."""
        if all(one[name] for name in self._conditions for one in values):
            return [list(range(len(values)))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, one in enumerate(values):
            if self._has_plain_conditions(one):
                key = tuple((name, one[name]) for name in self._conditions if not one[name])
                groups.setdefault(key, []).append(row)
        return groups.values()

    def _fill_group(self, values: Sequence[Mapping[str, Any]], rows: list[int]) -> RenderedColumns | None:
        if not rows:
            return None
        try:
            self._variant_for(values[rows[0]])
            variant = self._variant_for(values[rows[-1]])  # whatever differs between two is not bound any more
            if variant is None or variant.most_octets < 0:
                return None
            bound_in, bound = variant.bound_in, variant.bound
            certain = [row for row in rows if bound_in(values[row]) == bound]
            if self._conditions:
                certain = [row for row in certain if self._has_plain_conditions(values[row])]
            columns = [_column([values[row][name] for row in certain], variant.most_octets) for name in variant.varying]
        except KeyError:
            return None
        odd = set().union(*(column.odd for column in columns if column is not None))
        if odd:
            return self._fill_group(values, [row for place, row in enumerate(certain) if place not in odd])
        known = [column for column in columns if column is not None]
        if len(known) < len(columns) or not certain:
            return None
        subjects = _subjects(variant, [column.words for column in known], len(certain))
        if not all(subjects) or max(map(len, subjects)) > self._limits[0]:
            return None
        octets = [column.plain for column in known] + [column.escaped for column in known]
        dot_lines = variant.dot_lines or any(column.dots for column in known)
        holes = [octets[place] for place in variant.hole_places]
        return RenderedColumns(certain, subjects, FilledColumns(variant.layout, holes, dot_lines))

    def _has_plain_conditions(self, values: Mapping[str, Any]) -> bool:
        return all(type(values[name]) is str or type(values[name]) is int for name in self._conditions)

    def _variant_for(self, values: Mapping[str, Any]) -> _Variant | None:
        """Return the variant, with nothing bound in it that this message has otherwise; raises KeyError."""
        fixed = {}
        for name in self._conditions:
            value = values[name]
            if type(value) is not str and type(value) is not int:
                return None
            if not value:
                fixed[name] = value
        key = tuple(fixed.items())
        variant = self._variants.get(key)
        if variant is None:
            if key in self._variants or len(self._variants) >= _MOST_VARIANTS:
                return None
            parts = self.take_apart(fixed)
            variant = None if parts is None else self._with_bound(parts, _bindable(parts, values))
        elif variant.bound_in(values) == variant.bound:
            return variant
        else:
            same = {
                name: value
                for name, value in zip(variant.bound_names, variant.bound, strict=True)
                if values[name] == value
            }
            variant = self._with_bound(variant.parts, same)
        self._variants[key] = variant
        return variant

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return the names that conditions ask for."""
        return self._conditions

    def take_apart(self, fixed: Mapping[str, Any]) -> Parts | None:
        """Return the pieces of the variant with these values filled in; None when nothing is certain.

        fixed: every name of a condition that is empty or zero, and whatever else should be part of the literals.
        """
        marks = {name: f"q{place}todokumark" for place, name in enumerate(self._names)}
        values = {**marks, **fixed}
        try:
            subject, html_part, text = (
                self._pieces(self._render(part, values)) for part in ("subject", "html", "text")
            )
        except minijinja.TemplateError:
            return None  # the engine says for each message what is wrong
        odd_subject = any(ODD.search(piece) for piece in subject.literals)
        return None if odd_subject or not (_is_certain(html_part) and _is_certain(text)) else (subject, html_part, text)

    def _with_bound(self, parts: Parts, bound: Mapping[str, str]) -> _Variant:
        subject, html_part, text = (_folded(pieces, bound) for pieces in parts)
        varying = tuple(name for name in _names_in(parts) if name not in bound)
        place_of = dict(zip(varying, count(), strict=False))
        layout = BodyLayout(
            tuple(body_octets(piece) for piece in text.literals),
            tuple(body_octets(piece) for piece in html_part.literals),
        )
        literals = layout.text + layout.html
        places = [place_of[name] for name in text.names] + [len(varying) + place_of[name] for name in html_part.names]
        return _Variant(
            parts=parts,
            bound_in=_getter(tuple(bound)),
            bound=tuple(bound.values()),
            bound_names=tuple(bound),
            varying=varying,
            varying_in=_getter(varying),
            subject=_with_holes(subject.literals),
            subject_holes=tuple(place_of[name] for name in subject.names),
            layout=layout,
            hole_places=tuple(places),
            holes_in=_getter(tuple(places)),
            most_octets=(self._limits[1] - sum(map(len, literals))) // max(len(places), 1),
            # a hole may be empty, so a dot behind it counts as one at the beginning
            dot_lines=any(piece.startswith(b".") or b"\n." in piece for piece in literals),
        )

    def _pieces(self, rendered: str) -> Pieces:
        parts = _MARK.split(rendered)
        return Pieces(tuple(parts[::2]), tuple(self._names[int(place)] for place in parts[1::2]))


class _Column(NamedTuple):
    """One value of several messages: as words, as octets, as octets of HTML. odd: places that the engine must see."""

    words: Sequence[str]
    plain: Sequence[bytes]
    escaped: Sequence[bytes]
    dots: bool
    odd: Collection[int]


_BETWEEN = "\u241f"  # printable, and nobody's name has it: in a value it only costs the quick way
_BETWEEN_OCTETS = _BETWEEN.encode()


def _column(values: list[Any], most_octets: int) -> _Column | None:
    """Return the column, None when it must be taken apart message by message."""
    kinds = set(map(type, values))
    if kinds == {int}:
        if not -LARGEST_INT <= min(values) <= max(values) <= LARGEST_INT:
            return None
        words = list(map(str, values))
        octets = [word.encode("ascii") for word in words]
        return _Column(words, octets, octets, dots=False, odd=()) if max(map(len, octets)) <= most_octets else None
    if kinds != {str}:
        return None
    joined = _BETWEEN.join(values)
    odd: Collection[int] = ()
    if _is_plain(joined):
        octets = escaped = joined.encode("utf-8").split(_BETWEEN_OCTETS)
    else:
        odd = [place for place, value in enumerate(values) if ODD.search(value)]
        octets = [value.encode("utf-8", "replace") for value in values]
        escaped = [
            html.escape(value).encode("utf-8", "replace") if _WITH_CARE.search(value) else plain
            for value, plain in zip(values, octets, strict=True)
        ]
    if len(octets) != len(values) or max(map(len, escaped)) > most_octets:
        return None
    return _Column(values, octets, escaped, joined[:1] == "." or _BETWEEN + "." in joined, odd)


def _is_plain(words: str) -> bool:
    """Tell quickly whether nothing in these words needs care; False may be wrong, and costs time only."""
    if words.isprintable():
        return not ("&" in words or "<" in words or ">" in words or '"' in words or "'" in words)
    return not _WITH_CARE.search(words)


def _subjects(variant: _Variant, words: list[Sequence[str]], count: int) -> list[str]:
    if not variant.subject_holes:
        return ["".join(variant.subject).strip(" \t")] * count
    parts: list[Iterable[str]] = list(map(repeat, variant.subject))
    parts[1::2] = [words[hole] for hole in variant.subject_holes]
    return [subject.strip(" \t") for subject in map("".join, zip(*parts, strict=False))]


def quick_fill(render: Render, sources: Iterable[str], limits: tuple[int, int]) -> QuickFill | None:
    """Return the quick way for templates of names and plain conditions, None for all others.

    render: must not fail for values of all VARIABLES. limits: most characters of a subject, and of a body.
    """
    names: dict[str, None] = {}
    conditions: dict[str, None] = {}
    for source in sources:
        if "todokumark" in source:
            return None
        for segment in syntax.segments(source):
            used = _names_of(segment)
            if used is None:
                return None
            names.update(dict.fromkeys(used))
            if segment.tag:
                conditions.update(dict.fromkeys(used))
    return QuickFill(render, tuple(names), tuple(conditions), limits)


def _names_of(segment: syntax.Segment) -> list[str] | None:
    """Return the names that an expression or tag is made of; None when it is more than names and conditions."""
    tokens = segment.tokens
    if segment.stray or not tokens:
        return None
    if not segment.tag:
        return [tokens[0].value] if len(tokens) == 1 and _is_variable(tokens[0]) else None
    if tokens[0].value in {"else", "endif"}:
        return [] if len(tokens) == 1 else None
    if tokens[0].value not in {"if", "elif"}:
        return None
    rest = [token for token in tokens[1:] if token.value not in _CONDITION_WORDS or token.kind == "text"]
    return [token.value for token in rest] if all(map(_is_variable, rest)) else None


def _is_variable(token: syntax.Token) -> bool:
    return token.kind == "name" and token.value in VARIABLES


def _is_certain(pieces: Pieces) -> bool:
    """Tell whether no value can join with the literal before it to something that counts as one."""
    return not any(piece.endswith("\r") or _SPLIT_SLASH.search(piece) for piece in pieces.literals[:-1])


def _names_in(parts: Parts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for pieces in parts for name in pieces.names))


def _bindable(parts: Parts, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that are the same in every part, written as they are: strings without anything to escape."""
    found = {name: values[name] for name in _names_in(parts)}
    return {name: value for name, value in found.items() if type(value) is str and not _WITH_CARE.search(value)}


def _folded(pieces: Pieces, bound: Mapping[str, str]) -> Pieces:
    """Return the pieces with the bound values among the literals."""
    literals, names = [pieces.literals[0]], []
    for name, literal in zip(pieces.names, pieces.literals[1:], strict=True):
        if name in bound:
            literals[-1] += bound[name] + literal
        else:
            names.append(name)
            literals.append(literal)
    return Pieces(tuple(literals), tuple(names))


def _with_holes(literals: Iterable[str]) -> list[str]:
    pieces = [piece for literal in literals for piece in (literal, "")]
    return pieces[:-1]


def _getter(keys: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(keys) > 1:
        return itemgetter(*keys)  # one C call for all of them
    return lambda values: tuple(values[key] for key in keys)
