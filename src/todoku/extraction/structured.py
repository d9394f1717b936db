"""Reservations that a mail states as schema.org markup: JSON-LD or microdata.

Source: facts on the Google e-mail markup for restaurant reservations. Broken JSON is common there: what can be mended
without a guess is mended (comments, CDATA, HTML entities, line ends inside strings, trailing commas, several values
in a row, a list without its brackets); the rest is refused, never half read.
"""

from __future__ import annotations

import html as html_entities
import json
import re
from collections.abc import Iterator
from typing import Any

from todoku.extraction.microdata import MAX_HTML_CHARACTERS, json_ld_blocks, microdata_items

MAX_DEPTH = 32
MAX_NODES = 20_000

_OPENINGS = ("<!--", "<![CDATA[", "/*<![CDATA[*/", "//<![CDATA[", "// <![CDATA[")
_ENDINGS = (";", "-->", "]]>", "/*]]>*/", "//]]>", "// ]]>", "//-->")
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_DECODER = json.JSONDecoder(strict=False)


class BrokenMarkup(ValueError):
    """The markup names a reservation but can't be read."""


def find_reservations(html: str, types: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the reservations of the wanted types, JSON-LD first, each as a nested dict with plain property names.

    Raises BrokenMarkup when a JSON-LD block names a wanted type and is not JSON even after mending, and when one is
    named beyond the characters that are read: a reservation is never overlooked in silence.
    """
    if "schema.org" not in html:
        return []
    if len(html) > MAX_HTML_CHARACTERS and any(html.find(name, MAX_HTML_CHARACTERS) >= 0 for name in types):
        raise BrokenMarkup("a reservation is named too far behind")
    found: list[dict[str, Any]] = []
    for source in json_ld_blocks(html):
        for value in _json_values(source, types):
            found.extend(_typed(value, types))
    if not found and any(name in html for name in types):
        found.extend(microdata_items(html, frozenset(types)))
    return found


def short_name(word: object) -> str:
    """Return a schema.org word without its address: `http://schema.org/Confirmed` gives `Confirmed`."""
    return word.strip().rstrip("/").rpartition("/")[2] if isinstance(word, str) else ""


def _json_values(source: str, types: tuple[str, ...]) -> list[Any]:
    candidates = [_unwrapped(source)]
    if "&quot;" in source or "&#34;" in source:
        candidates.append(html_entities.unescape(candidates[0]))
    for candidate in candidates:
        for text in (candidate, _TRAILING_COMMA.sub(r"\1", candidate)):
            try:
                return list(_values_in_a_row(text))
            except (ValueError, RecursionError):
                continue
    if any(name in source for name in types):
        raise BrokenMarkup("the JSON-LD of a reservation is not JSON")
    return []


def _unwrapped(source: str) -> str:
    source = source.strip()
    for opening in _OPENINGS:
        source = source.removeprefix(opening).lstrip()
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        source = source.removesuffix(ending).rstrip()
    return source


def _values_in_a_row(text: str) -> Iterator[Any]:
    position, length = 0, len(text)
    while True:
        while position < length and text[position] in " \t\r\n,;":
            position += 1
        if position >= length:
            return
        value, position = _DECODER.raw_decode(text, position)
        yield value


def _typed(value: Any, types: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield every object of a wanted type, in order, without recursion: depth is the sender's choice."""
    stack: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while stack and seen < MAX_NODES:
        item, depth = stack.pop()
        seen += 1
        if depth > MAX_DEPTH:
            continue
        if isinstance(item, list):
            stack.extend((child, depth + 1) for child in reversed(item))
        elif isinstance(item, dict):
            kinds = item.get("@type")
            names = kinds if isinstance(kinds, list) else [kinds]
            if any(short_name(name) in types for name in names):
                yield item
            else:
                stack.extend((child, depth + 1) for child in reversed(list(item.values())))
