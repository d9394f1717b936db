"""Compile three templates once, fill them many times."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import minijinja

from todoku.content import syntax
from todoku.content.errors import TemplateInvalid
from todoku.content.quick_fill import QuickFill, quick_fill
from todoku.content.types import TemplateProblem, TemplateSource
from todoku.content.variables import REQUIRED_IN_BODY, SAMPLE_VALUES, VARIABLES
from todoku.delivery.types import Rendered, RenderedColumns, RenderedOctets, Unrenderable

__all__ = ["SAMPLE_VALUES", "VARIABLES", "check", "make_renderer"]

MAX_SUBJECT_CHARACTERS = 500
MAX_HTML_CHARACTERS = 256 * 1024
MAX_TEXT_CHARACTERS = 128 * 1024
_LIMITS = {"subject": MAX_SUBJECT_CHARACTERS, "html": MAX_HTML_CHARACTERS, "text": MAX_TEXT_CHARACTERS}

_STRAIGHT_FUEL = 500_000  # no loop: each instruction runs once, a template of 256 KiB has fewer
_LOOP_FUEL = 100_000  # about 5 ms
_LOOP_OUTPUT_CHARACTERS = 16 * 1024 * 1024
_FILES = {"subject": "subject.txt", "html": "body.html", "text": "body.txt"}  # the ending .html switches escaping on
_BREAKERS = re.compile(r"[\r\n\x00]")
_UNDEFINED = re.compile(r"`([^`]+)` is undefined")


class MiniJinjaRenderer:
    """One run's templates, compiled. Safe to use from several threads."""

    __slots__ = ("_quick", "_render", "_subject_names")

    def __init__(self, subject_template: str, html_template: str, text_template: str) -> None:
        parts = {"subject": subject_template.strip(), "html": html_template, "text": text_template}
        environment = _environment(parts.values())
        found = [problem for part, source in parts.items() for problem in _compile(environment, part, source)]
        if found:
            raise TemplateInvalid(found)
        self._render = environment.render_template
        self._subject_names = [token.value for token in syntax.names(parts["subject"])]
        self._quick = quick_fill(self._part, parts.values(), (MAX_SUBJECT_CHARACTERS, MAX_TEXT_CHARACTERS))

    def render(self, values: Mapping[str, Any]) -> Rendered:
        """Return the message's words; raises Unrenderable, never anything else, in bounded time.

        values: by name of VARIABLES; None counts as missing. Unrenderable.variable is the name that is missing or
        unfit, "fuel" when a loop ran too long, "size" when the message grew too large.
        """
        if None in values.values():
            values = {name: value for name, value in values.items() if value is not None}
        render = self._render
        try:
            subject = render("subject.txt", **values).strip(" \t")
            html = render("body.html", **values)
            text = render("body.txt", **values)
        except Exception as error:
            raise _unrenderable(error) from error
        if _BREAKERS.search(subject):
            raise Unrenderable(self._breaking_name(values), "a line break in the subject would write headers")
        if not subject:
            raise Unrenderable("subject", "the subject is empty")
        if len(html) > MAX_HTML_CHARACTERS or len(text) > MAX_TEXT_CHARACTERS or len(subject) > MAX_SUBJECT_CHARACTERS:
            raise Unrenderable("size", "the message is larger than 500 / 256 Ki / 128 Ki characters")
        # the engine writes "/" as "&#x2f;", which is right but hides links from the link checkers of mail providers
        return Rendered(subject, html.replace("&#x2f;", "/"), text)

    def render_octets(self, values: Mapping[str, Any]) -> RenderedOctets | None:
        """Return what `render` would say, as octets for the composer; None when `render` must be asked.

        For templates of plain names and conditions, and values of str and int: a quarter of the time.
        """
        return self._quick.fill(values) if self._quick is not None else None

    @property
    def quick(self) -> QuickFill | None:
        """Return the quick way for these templates, None when there is none."""
        return self._quick

    def render_columns(self, values: Sequence[Mapping[str, Any]]) -> list[RenderedColumns]:
        """Return what `render_octets` says of each, grouped; whose row is in none must be asked singly."""
        return self._quick.fill_columns(values) if self._quick is not None else []

    def _part(self, part: str, values: Mapping[str, Any]) -> str:
        words = self._render(_FILES[part], **values)
        return words.replace("&#x2f;", "/") if part == "html" else words

    def _breaking_name(self, values: Mapping[str, Any]) -> str:
        for name in self._subject_names:
            if _BREAKERS.search(str(values.get(name, ""))):
                return name
        return "subject"


def make_renderer(subject_template: str, html_template: str, text_template: str) -> MiniJinjaRenderer:
    """Compile the templates; raises TemplateInvalid with every problem and its line. Implements RendererFactory."""
    return MiniJinjaRenderer(subject_template, html_template, text_template)


def check(content: TemplateSource, sample_values: Mapping[str, Any]) -> list[TemplateProblem]:
    """Return everything that speaks against mailing these templates; [] when nothing does.

    sample_values: one value for each of VARIABLES. Looks at: parts that are empty or too large, syntax, unknown
    variables with their line, the sample message itself, and whether what the law asks for (REQUIRED_IN_BODY) is
    visible in both the HTML and the text part.
    """
    parts = {"subject": content.subject.strip(), "html": content.html, "text": content.text}
    found = [problem for part, source in parts.items() for problem in _shape_problems(part, source)]
    if found:
        return found
    environment = _environment(parts.values())
    for part, source in parts.items():
        found += _compile(environment, part, source)
        found += _unknown_names(environment, part, source)
    return found or _sample_problems(content, sample_values)


def _environment(sources: Collection[str]) -> minijinja.Environment:
    fuel = _STRAIGHT_FUEL
    if any(token.value == "for" for source in sources for token in syntax.names(source)):
        # one instruction may write the longest literal of the source, so big templates get fewer rounds
        longest = max(map(len, sources))
        fuel = max(2_000, min(_LOOP_FUEL, _LOOP_OUTPUT_CHARACTERS // max(longest, 1)))
    return minijinja.Environment(undefined_behavior="strict", fuel=fuel, pycompat=False)


def _compile(environment: minijinja.Environment, part: str, source: str) -> list[TemplateProblem]:
    refused = syntax.problems(part, source)
    if refused:
        return refused
    try:
        environment.add_template(_FILES[part], source)
    except minijinja.TemplateError as error:
        detail = error.detail or error.kind
        return [TemplateProblem(part, error.line or 0, f"syntax: {detail}", f"書き方の誤り: {detail}")]
    return []


def _unknown_names(environment: minijinja.Environment, part: str, source: str) -> list[TemplateProblem]:
    try:
        used = environment.undeclared_variables_in_str(source)
    except minijinja.TemplateError:
        return []  # already said by _compile
    unknown = used - VARIABLES.keys() - syntax.FUNCTIONS
    found: list[TemplateProblem] = []
    for token in syntax.names(source):
        if token.value in unknown:
            unknown.discard(token.value)
            found.append(
                TemplateProblem(
                    part,
                    token.line,
                    f"unknown variable `{token.value}`",
                    f"`{token.value}` という差し込み項目はありません",
                )
            )
    return found


def _shape_problems(part: str, source: str) -> list[TemplateProblem]:
    if not source.strip():
        return [TemplateProblem(part, 0, f"the {part} is empty", f"{_NAMES_JA[part]}が空です")]
    if len(source) > _LIMITS[part]:
        return [
            TemplateProblem(
                part,
                0,
                f"the {part} is longer than {_LIMITS[part]} characters",
                f"{_NAMES_JA[part]}が{_LIMITS[part]}文字を超えています",
            )
        ]
    if part == "subject" and (breaker := _BREAKERS.search(source)):
        line = source.count("\n", 0, breaker.start()) + 1
        return [TemplateProblem(part, line, "the subject has a line break", "件名に改行があります")]
    return []


_NAMES_JA = {"subject": "件名", "html": "HTML本文", "text": "テキスト本文"}


def _sample_problems(content: TemplateSource, sample_values: Mapping[str, Any]) -> list[TemplateProblem]:
    """Fill the templates as for a guest, then with marks in place of what the law asks for, and look for the marks."""
    renderer = make_renderer(content.subject, content.html, content.text)
    marks = {name: f"todokumark{position}todoku" for position, name in enumerate(REQUIRED_IN_BODY)}
    try:
        renderer.render(sample_values)
        marked = renderer.render({**sample_values, **marks})
    except Unrenderable as error:
        part = "subject" if error.variable == "subject" else "html"
        return [
            TemplateProblem(
                part,
                0,
                f"can't be filled in: `{error.variable}`: {error.detail}",
                f"差し込みできません: `{error.variable}`（{error.detail}）",
            )
        ]
    return [
        TemplateProblem(
            part,
            0,
            f"must show {{{{ {name} }}}}: {VARIABLES[name].explanation_en}",
            f"{_NAMES_JA[part]}に {{{{ {name} }}}} が必要です: {VARIABLES[name].explanation_ja}",
        )
        for part, body in (("html", marked.html), ("text", marked.text))
        for name, mark in marks.items()
        if mark not in body
    ]


def _unrenderable(error: Exception) -> Unrenderable:
    if not isinstance(error, minijinja.TemplateError):
        return Unrenderable("value", f"a value can't be written: {type(error).__name__}")
    detail = error.detail or error.message
    if error.kind == "OutOfFuel" or "too many elements" in detail:
        return Unrenderable("fuel", f"a loop ran too long (line {error.line})")
    undefined = _UNDEFINED.search(detail)
    if undefined:
        return Unrenderable(undefined.group(1), f"{undefined.group(1)} has no value (line {error.line})")
    return Unrenderable("template", f"{detail} (line {error.line})")
