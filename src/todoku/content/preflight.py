"""Tell for each recipient, before anything is sent, whether the message can be made: quickly, and as the engine would.

Purpose     a million messages tried within the seconds in which they are sealed.
Guarantees  `fault` says "" exactly when `render` would raise nothing and no link of the HTML part is empty
            (tests/unit/content compares them). For templates outside the quick way, and for values that are not
            certain, the message is really rendered.
Known limits  a link counts as empty when its href holds nothing but spaces; addresses are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from todoku.content import syntax
from todoku.content.quick_fill import LARGEST_INT, ODD, Parts, Pieces
from todoku.content.rendering import (
    MAX_HTML_CHARACTERS,
    MAX_SUBJECT_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    make_renderer,
)
from todoku.content.types import TemplateSource
from todoku.content.variables import VARIABLES
from todoku.delivery.types import Unrenderable

EMPTY_LINK = "href"
"""What `fault` blames when a link leads nowhere."""

_EMPTY_HREF = re.compile(r"""\shref\s*=\s*(?:"\s*"|'\s*')""", re.IGNORECASE)
_HREF_BEGINS = re.compile(r"""\shref\s*=\s*["']\s*\Z""", re.IGNORECASE)
_INT_CHARACTERS = 20
_ESCAPED_CHARACTERS = 6  # "&quot;"
_MOST_ROOMS = 256
_SOME = "x"  # any value that is not empty


@dataclass(frozen=True, slots=True)
class _Room:
    """What one pattern of conditions leaves to the values. characters: of all of them together; links: not empty."""

    characters: int
    links: tuple[str, ...]


class Preflight:
    """The pre-flight of one run. Not safe to use from several threads."""

    def __init__(
        self, content: TemplateSource, shared_values: Mapping[str, Any], longest: Mapping[str, str] | None = None
    ) -> None:
        """shared_values: the same for every recipient. Raises content.errors.TemplateInvalid.

        longest: for names that differ in nothing that matters (links with a token), the longest value they can have;
        it must be plain visible ASCII, and so must the values be.
        """
        self._renderer = make_renderer(content.subject, content.html, content.text)
        self._quick = self._renderer.quick
        used = used_names(content)
        self._shared = {name: value for name, value in shared_values.items() if name in used}
        self._fixed = self._shared | {name: value for name, value in (longest or {}).items() if name in used}
        self.names = tuple(sorted(used - self._fixed.keys()))
        """The names whose values differ from recipient to recipient, as far as the templates show them."""
        asked = () if self._quick is None else self._quick.conditions
        self._conditions = tuple(name for name in asked if name in self.names)
        self._rooms: dict[tuple[Any, ...], _Room | None] = {}

    def all_certain(self, columns: Mapping[str, Sequence[Any]]) -> bool:
        """Tell whether `fault` would say "" of all these recipients; False means that each must be asked.

        columns: for each of `names`, the values of all recipients in order; at least one recipient.
        """
        if self._quick is None:
            return False
        characters = 0
        for name in self.names:
            column = columns[name]
            kinds = set(map(type, column))
            if kinds == {str}:
                if ODD.search("".join(column)):
                    return False
                characters += max(map(len, column))
            elif kinds == {int} and min(column) >= -LARGEST_INT and max(column) <= LARGEST_INT:
                characters += _INT_CHARACTERS
            else:
                return False
        asked = [[None if value else value for value in columns[name]] for name in self._conditions]
        for pattern in set(zip(*asked, strict=True)) or {()}:
            room = self._room(pattern)
            if room is None or characters > room.characters:
                return False
            if not all(str(value).strip() for name in room.links for value in columns.get(name, ())):
                return False
        return True

    def fault(self, values: Mapping[str, Any]) -> str:
        """Return "" when the message can be made, else the variable to blame, or EMPTY_LINK."""
        try:
            columns = {name: (values[name],) for name in self.names}
        except KeyError:
            columns = {}
        if (columns or not self.names) and self.all_certain(columns):
            return ""
        try:
            words = self._renderer.render({**self._shared, **values})
        except Unrenderable as error:
            return error.variable
        return EMPTY_LINK if _EMPTY_HREF.search(words.html) else ""

    def _room(self, pattern: tuple[Any, ...]) -> _Room | None:
        """Return the room of one pattern. pattern: for each condition its value when empty or zero, else None."""
        if pattern in self._rooms:
            return self._rooms[pattern]
        if self._quick is None or len(self._rooms) >= _MOST_ROOMS:
            return None
        empty = {name: value for name, value in zip(self._conditions, pattern, strict=True) if value is not None}
        parts = self._quick.take_apart({**self._fixed, **empty})
        room = self._rooms[pattern] = None if parts is None else _room(parts)
        return room


def used_names(content: TemplateSource) -> set[str]:
    """Return the variables that the templates name."""
    sources = (content.subject, content.html, content.text)
    return {token.value for source in sources for token in syntax.names(source) if token.value in VARIABLES}


def _room(parts: Parts) -> _Room | None:
    subject, html, text = parts
    if not "".join(subject.literals).strip(" \t") or _EMPTY_HREF.search(_filled(html)):
        return None
    room = min(
        _left(subject, MAX_SUBJECT_CHARACTERS, 1),
        _left(html, MAX_HTML_CHARACTERS, _ESCAPED_CHARACTERS),
        _left(text, MAX_TEXT_CHARACTERS, 1),
    )
    links = [name for literal, name in zip(html.literals, html.names, strict=False) if _HREF_BEGINS.search(literal)]
    return _Room(room, tuple(dict.fromkeys(links)))


def _left(pieces: Pieces, most: int, grows: int) -> int:
    """Return how many characters the values may have together, if each hole took all of them."""
    left = most - sum(map(len, pieces.literals))
    return left // (grows * len(pieces.names)) if pieces.names else (most if left >= 0 else -1)


def _filled(pieces: Pieces) -> str:
    return _SOME.join(pieces.literals)
