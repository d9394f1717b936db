"""The part of the template language that is allowed, checked token by token before the engine sees it.

Fuel counts instructions, not bytes: `{{ 'x' * 999999999 }}` is one instruction and a gigabyte, and twenty `set` that
double a text are as cheap. So what can grow without burning fuel is not in the language, and every expression is
built from the tokens below. The scan errs on the strict side: what it can't split is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from todoku.content.types import TemplateProblem

TAGS = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
FILTERS = frozenset(
    {
        "default",
        "d",
        "upper",
        "lower",
        "title",
        "capitalize",
        "trim",
        "length",
        "count",
        "round",
        "int",
        "abs",
        "escape",
    }
    | {"e", "urlencode", "first", "last"}
)
FUNCTIONS = frozenset({"range"})
_WORDS = frozenset({"and", "or", "not", "in", "is", "if", "elif", "else"})  # may stand before "(" without being called

_OPENER = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<close>[-+]?(?:%\}|\}\}))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>==|!=|<=|>=|//|[|().,:<>=+\-/%~\[\]])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression. kind: name, text, number or sign. line: 1-based."""

    kind: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One `{{ … }}` (tag False) or `{% … %}` (tag True) with its words; stray: what could not be split."""

    tag: bool
    line: int
    tokens: tuple[Token, ...]
    stray: str = ""


def segments(source: str) -> Iterator[Segment]:
    """Yield each expression and tag of a template in order; ends after the first one that can't be split."""
    position = 0
    while opener := _OPENER.search(source, position):
        line = source.count("\n", 0, opener.start()) + 1
        if opener.group() == "{#":
            end = source.find("#}", opener.end())
            if end < 0:
                return
            position = end + 2
            continue
        segment, position = _read_segment(source, opener.end(), line, tag=opener.group() == "{%")
        yield segment
        if segment.stray:
            return


def problems(part: str, source: str) -> list[TemplateProblem]:
    """Return what the template uses that templates may not use; [] when it is within the language."""
    found: list[TemplateProblem] = []
    for segment in segments(source):
        if segment.stray:
            found.append(_refused(part, segment.line, segment.stray))
            continue
        tokens = segment.tokens
        if segment.tag and (not tokens or tokens[0].value not in TAGS):
            found.append(_refused(part, segment.line, "{% " + (tokens[0].value if tokens else "") + " %}"))
            continue
        found.extend(_expression_problems(part, tokens))
    return found


def names(source: str) -> list[Token]:
    """Return every name that stands in an expression, with its line."""
    return [token for segment in segments(source) for token in segment.tokens if token.kind == "name"]


def _read_segment(source: str, position: int, line: int, *, tag: bool) -> tuple[Segment, int]:
    tokens: list[Token] = []
    if source[position : position + 1] in {"-", "+"}:
        position += 1
    here = line
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            return Segment(tag, here, tuple(tokens), source[position : position + 1]), position
        kind, value = str(match.lastgroup), match.group()
        position = match.end()
        if kind == "close":
            wrong_end = value.endswith("%}") != tag
            return Segment(tag, line, tuple(tokens), value if wrong_end else ""), position
        if kind != "space":
            tokens.append(Token(kind, value, here))
        here += value.count("\n")
    return Segment(tag, line, tuple(tokens)), position  # not closed: the engine says so with its line


def _expression_problems(part: str, tokens: tuple[Token, ...]) -> Iterator[TemplateProblem]:
    for before, token, after in zip((None, *tokens), tokens, (*tokens[1:], None), strict=False):
        filtered = before is not None and before.value == "|" and before.kind == "sign"
        if filtered and token.kind == "name" and token.value not in FILTERS:
            yield _refused(part, token.line, f"| {token.value}")
        if after is None or after.value != "(" or after.kind != "sign":
            continue
        called = token.kind in {"name", "text", "number"} or token.value in {")", "]"}
        if called and not filtered and token.value not in FUNCTIONS | _WORDS:
            yield _refused(part, token.line, f"{token.value}( … )")
        elif token.value in FUNCTIONS and before is not None and before.value == ".":
            yield _refused(part, token.line, f".{token.value}( … )")


def _refused(part: str, line: int, what: str) -> TemplateProblem:
    return TemplateProblem(
        part,
        line,
        f"`{what}` can't be used in a template",
        f"`{what}` はテンプレートでは使えません",
    )
