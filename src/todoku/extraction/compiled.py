"""A site's definition made ready to run: one RE2 pattern that finds every label and ruler in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import re2

from todoku.extraction.definition import Definition, FieldRule, KindRule, ValueMode
from todoku.extraction.errors import DefinitionError
from todoku.kernel.folding import fold_for_matching

_B = "[ \t]*"
_LABEL_EDGES = " \t\n:|[]【】■□●◆◇○▼・"

# Each opens a line, except square_inline. {L} is the alternation of the labels, {B} any blanks. A colon may follow a
# bracketed label because a table cell turned to text gets one.
_SYNTAXES: dict[str, tuple[str, ValueMode]] = {
    "colon": ("^{B}{L}{B}:[ \t:]*", "line"),
    "square_colon": ("^{B}■{B}{L}{B}:[ \t:]*", "line"),
    "bullet_colon": ("^{B}[●◆◇■□○・]{B}{L}{B}:[ \t:]*", "line"),
    "square_next_line": ("^{B}[■□]{B}{L}{B}:?{B}$", "next_line"),
    "lenticular_next_line": ("^{B}【{B}{L}{B}】{B}:?{B}", "line_or_next"),
    "bracket": (r"^{B}\[{B}{L}{B}\]{B}:?{B}", "line"),
    "bracket_next_line": (r"^{B}\[{B}{L}{B}\]{B}:?{B}$", "next_line"),
    "pipe": (r"^{B}[●◆◇■□○・]?{B}{L}{B}\|{B}", "line"),
    "dot_space": ("^{B}・{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
    "box_space": ("^{B}□{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
    "square_inline": ("[■□]{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
}
_TABLE_ROW = r"^{B}[■□●◆◇○・]?{B}[\[【]?{B}{L}{B}[\]】]?(?:{B}[:|\t][ \t:|]*|{B}$)"


@dataclass(frozen=True, slots=True)
class CompiledField:
    """One rule for one value. labels are folded and without blanks; pattern is on the UTF-8 of the folded text."""

    rule: FieldRule
    mode: ValueMode
    labels: tuple[str, ...]
    pattern: Any
    shape: Any
    nothing: frozenset[str]


@dataclass(frozen=True, slots=True)
class CompiledKind:
    """One rule of the kind list with its words folded and without blanks."""

    rule: KindRule
    subject: tuple[tuple[str, ...], ...]
    body: tuple[tuple[str, ...], ...]
    status: tuple[str, ...]
    not_status: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompiledSite:
    """A definition ready to run. scan and scan_table are RE2 patterns without groups (RE2 is fastest so)."""

    definition: Definition
    zone: ZoneInfo
    senders: frozenset[str]
    domains: tuple[str, ...]
    marks: tuple[tuple[str, ...], ...]
    fields: dict[str, tuple[CompiledField, ...]]
    kinds: tuple[CompiledKind, ...]
    labels: frozenset[str]
    before: str | None
    after: str | None
    ruler: Any
    scan: Any
    scan_table: Any

    @property
    def id(self) -> str:
        """Return the site's id."""
        return self.definition.id


def squeeze(text: str) -> str:
    """Return the text folded for matching and without any blank: the form in which words are compared."""
    return "".join(fold_for_matching(text).split())


@lru_cache(maxsize=65536)
def label_of(token: str) -> str:
    """Return the label inside a matched piece of folded text: marks and blanks around and inside it removed."""
    return "".join(token.strip(_LABEL_EDGES).split())


def compile_site(definition: Definition, *, file: str) -> CompiledSite:
    """Return the definition ready to run. Raises DefinitionError for an unknown time zone or a bad pattern."""
    try:
        zone = ZoneInfo(definition.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise DefinitionError(file, "time_zone", f"no such zone {definition.time_zone!r}") from error
    compiler = _Compiler(file)
    fields: dict[str, list[CompiledField]] = {}
    for number, rule in enumerate(definition.field):
        fields.setdefault(rule.name, []).append(compiler.field(rule, f"field[{number}] ({rule.name})"))
    layout = definition.layout
    labels = frozenset(label for rules in fields.values() for field in rules for label in field.labels)
    recognise = definition.recognise
    return CompiledSite(
        definition=definition,
        zone=zone,
        senders=frozenset(sender.casefold() for sender in recognise.senders),
        domains=tuple(domain.casefold() for domain in recognise.domains),
        marks=tuple(tuple(squeeze(word) for word in words) for words in recognise.marks),
        fields={name: tuple(rules) for name, rules in fields.items()},
        kinds=tuple(_kind(rule) for rule in definition.kind),
        labels=labels,
        before=label_of(fold_for_matching(layout.before)) if layout.before else None,
        after=label_of(fold_for_matching(layout.after)) if layout.after else None,
        ruler=compiler.pattern("|".join(f"(?:{ruler})" for ruler in layout.rulers), "layout.rulers"),
        scan=compiler.scan(definition, table=False),
        scan_table=compiler.scan(definition, table=True),
    )


def _kind(rule: KindRule) -> CompiledKind:
    return CompiledKind(
        rule=rule,
        subject=tuple(_parts(word) for word in rule.subject),
        body=tuple(_parts(word) for word in rule.body),
        status=tuple(squeeze(word) for word in rule.status),
        not_status=tuple(squeeze(word) for word in rule.not_status),
    )


def _parts(word: str) -> tuple[str, ...]:
    return tuple(squeeze(part) for part in word.split("…"))


class _Compiler:
    """Compile patterns and name the file and the key in every refusal."""

    def __init__(self, file: str) -> None:
        self._file = file

    def pattern(self, source: str, key: str) -> Any:
        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(source.encode(), options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            detail = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise DefinitionError(self._file, key, f"not an RE2 pattern: {detail}") from error

    def field(self, rule: FieldRule, key: str) -> CompiledField:
        shape = self.pattern(rule.shape, f"{key}.shape") if rule.shape else None
        nothing = frozenset(squeeze(word) for word in rule.nothing)
        if rule.syntax == "url_query":
            keys = "|".join(re2.escape(label) for label in rule.labels)
            pattern = self.pattern(f"[?&;](?:{keys})=([^&\\s\"'<>#]+)", f"{key}.labels")
            return CompiledField(rule, "line", (), pattern, shape, nothing)
        if rule.pattern is not None:
            pattern = self.pattern(rule.pattern, f"{key}.pattern")
            if pattern.groups != 1:
                raise DefinitionError(self._file, f"{key}.pattern", f"needs one group, has {pattern.groups}")
            return CompiledField(rule, "line", (), pattern, shape, nothing)
        labels = tuple(label_of(fold_for_matching(label)) for label in rule.labels)
        return CompiledField(rule, rule.value or _SYNTAXES[rule.syntax][1], labels, None, shape, nothing)

    def scan(self, definition: Definition, *, table: bool) -> Any:
        by_syntax: dict[str, list[str]] = {}
        for rule in definition.field:
            if rule.syntax in _SYNTAXES:
                by_syntax.setdefault(_TABLE_ROW if table else _SYNTAXES[rule.syntax][0], []).extend(rule.labels)
        pieces = [
            syntax.replace("{L}", _alternation(labels)).replace("{B}", _B) for syntax, labels in by_syntax.items()
        ]
        layout = definition.layout
        pieces += [f"^{_B}{_spaced(heading)}{_B}$" for heading in (layout.before, layout.after) if heading]
        for key in ("rulers", "stops"):
            for number, stop in enumerate(getattr(layout, key)):
                self.pattern(stop, f"layout.{key}[{number}]")
                pieces.append(f"^{_B}(?:{stop})")
        return self.pattern("(?m)" + "|".join(pieces), "field") if pieces else None


def _alternation(labels: list[str]) -> str:
    # Longest first: RE2 takes the first alternative that fits, and 予約番号 is the beginning of 予約番号(会員).
    ordered = sorted(dict.fromkeys(labels), key=len, reverse=True)
    return "(?:" + "|".join(_spaced(label) for label in ordered) + ")"


def _spaced(label: str) -> str:
    """Return a pattern for the folded label whose characters may stand apart (`人　数`)."""
    return _B.join(re2.escape(character) for character in "".join(fold_for_matching(label).split()))
