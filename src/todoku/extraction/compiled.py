"""A site's definition made ready to run: one pattern that finds every label and ruler in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import re2

from todoku.extraction.definition import Definition, FieldRule, KindRule, ValueMode
from todoku.extraction.errors import DefinitionError
from todoku.kernel.folding import fold_for_matching

# Possessive: blanks that were taken are never given back. Where two runs of blanks can meet, as around an optional
# mark, a line of 400,000 blanks cost the square of its length (minutes), in a table the cube.
_B = "[ \t]*+"
_LABEL_EDGES = " \t\n:|[]<>【】■□●◆◇○▼・★☆*"

# Each but square_inline begins on a new line: the scan pattern opens with the line end before it. {L} is the
# alternation of the labels, {B} any blanks; what follows {B} is no blank. A colon may follow a bracketed label: a table
# cell turned to text has one.
_SYNTAXES: dict[str, tuple[str, ValueMode]] = {
    "colon": ("{L}{B}:[ \t:]*", "line"),
    "square_colon": ("■{B}{L}{B}:[ \t:]*", "line"),
    "bullet_colon": ("[●◆◇■□○・]{B}{L}{B}:[ \t:]*", "line"),
    "marked_colon": ("[●◆◇■□○・★☆▼*]?{B}{L}{B}:[ \t:]*", "wrapped"),
    "angle": ("<{B}{L}{B}>{B}:?{B}", "block"),
    "square_next_line": ("[■□]{B}{L}{B}:?{B}$", "next_line"),
    "lenticular_next_line": ("【{B}{L}{B}】{B}:?{B}", "line_or_next"),
    "bracket": (r"\[{B}{L}{B}\]{B}:?{B}", "line"),
    "bracket_next_line": (r"\[{B}{L}{B}\]{B}:?{B}$", "next_line"),
    "pipe": (r"[●◆◇■□○・]?{B}{L}{B}\|{B}", "line"),
    "dot_space": ("・{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
    "box_space": ("□{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
    "square_inline": ("[■□]{B}{L}(?:{B}:|[ \t]+|$){B}", "line"),
}
_INLINE = frozenset({"square_inline"})
_TABLE_ROW = r"[■□●◆◇○・★☆▼*]?{B}[\[【<]?{B}{L}(?:{B}[\]】>])?(?:[ ]*+[:|\t][ \t:|]*|{B}$)"


@dataclass(frozen=True, slots=True)
class CompiledField:
    """One rule for one value.

    labels are folded and without blanks. plain: what stands there is the value, with nothing to strip or to check.
    """

    rule: FieldRule
    mode: ValueMode
    labels: tuple[str, ...]
    pattern: Any
    shape: Any
    nothing: frozenset[str]
    plain: bool
    ending: re.Pattern[str] | None = None


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
    """A definition ready to run.

    scan, scan_table: patterns made here from plain words, with nothing in them that could go back over a text twice;
    the standard engine runs them on str in half the time of RE2 (20 against 46 µs a mail, measured), which needs
    bytes and so a second count of every offset. What authors write as patterns runs on RE2.
    """

    definition: Definition
    zone: ZoneInfo
    senders: frozenset[str]
    domains: tuple[str, ...]
    marks: tuple[tuple[str, ...], ...]
    fields: dict[str, tuple[CompiledField, ...]]
    kinds: tuple[CompiledKind, ...]
    labels: frozenset[str]
    names_of_label: dict[str, frozenset[str]]
    names_without_label: frozenset[str]
    before: str | None
    after: str | None
    rulers: tuple[str, ...]
    scan: re.Pattern[str] | None
    scan_table: re.Pattern[str] | None

    @property
    def id(self) -> str:
        """Return the site's id."""
        return self.definition.id

    def names_found(self, labels: Iterable[str]) -> set[str]:
        """Return the names of the fields that may have a value where these labels were found."""
        names = set(self.names_without_label)
        for label in labels:
            names |= self.names_of_label[label]
        return names


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
        names_of_label={
            label: frozenset(name for name, rules in fields.items() if any(label in rule.labels for rule in rules))
            for label in labels
        },
        names_without_label=frozenset(name for name, rules in fields.items() if any(not rule.labels for rule in rules)),
        before=label_of(fold_for_matching(layout.before)) if layout.before else None,
        after=label_of(fold_for_matching(layout.after)) if layout.after else None,
        rulers=tuple(fold_for_matching(ruler) for ruler in layout.rulers),
        scan=_scan(definition, table=False),
        scan_table=_scan(definition, table=True),
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
        plain = not (rule.shape or rule.nothing or rule.strip)
        if rule.syntax == "addressee":
            return CompiledField(rule, "line", (), None, shape, nothing, plain, _addressee(rule))
        if rule.syntax in ("url_query", "url_path", "link"):
            return CompiledField(rule, "line", (), None, shape, nothing, plain)
        if rule.pattern is not None:
            pattern = self.pattern(rule.pattern, f"{key}.pattern")
            if pattern.groups != 1:
                raise DefinitionError(self._file, f"{key}.pattern", f"needs one group, has {pattern.groups}")
            return CompiledField(rule, "line", (), pattern, shape, nothing, plain)
        labels = tuple(label_of(fold_for_matching(label)) for label in rule.labels)
        return CompiledField(rule, rule.value or _SYNTAXES[rule.syntax][1], labels, None, shape, nothing, plain)


def _addressee(rule: FieldRule) -> re.Pattern[str]:
    """Return the pattern of how a line ends that addresses the shop, with the code that may stand behind it."""
    honorifics = "|".join(re.escape(fold_for_matching(label)) for label in sorted(rule.labels, key=len, reverse=True))
    return re.compile(rf"(?:{honorifics})[ \t]*(?:\([ \t]*([0-9A-Za-z]{{4,12}})[ \t]*\)[ \t]*)?\Z")


def _scan(definition: Definition, *, table: bool) -> re.Pattern[str] | None:
    by_syntax: dict[str, list[str]] = {}
    inline: list[str] = []
    for rule in definition.field:
        if rule.syntax in _INLINE:
            inline.extend(rule.labels)
        elif rule.syntax in _SYNTAXES:
            by_syntax.setdefault(_TABLE_ROW if table else _SYNTAXES[rule.syntax][0], []).extend(rule.labels)
    pieces = [_filled(syntax, labels) for syntax, labels in by_syntax.items()]
    layout = definition.layout
    pieces += [f"{_spaced(heading)}{_B}$" for heading in (layout.before, layout.after) if heading]
    pieces += [re.escape(fold_for_matching(word).lstrip(" \t")) for word in (*layout.rulers, *layout.stops)]
    source = rf"\n{_B}(?:{'|'.join(pieces)})" if pieces else ""
    if inline:
        source = "|".join(filter(None, (source, _filled(_SYNTAXES["square_inline"][0], inline))))
    return re.compile(source, re.MULTILINE) if source else None


def _filled(syntax: str, labels: list[str]) -> str:
    return syntax.replace("{L}", _alternation(labels)).replace("{B}", _B)


def _alternation(labels: list[str]) -> str:
    return "(?:" + "|".join(_spaced(label) for label in dict.fromkeys(labels)) + ")"


def _spaced(label: str) -> str:
    """Return a pattern for the folded label whose characters may stand apart (`人　数`)."""
    return _B.join(re.escape(character) for character in "".join(fold_for_matching(label).split()))
