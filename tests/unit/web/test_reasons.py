"""Every reason that reading, the book or intake can give has words in both languages.

The words are gathered from the source of these rooms: a new one without words fails here, and so does a new way of
giving one that the gathering does not understand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.utils import translation

import todoku
from todoku.extraction.types import NoticeKind
from todoku.intake.types import MailRow, MailState
from todoku.mail.errors import Unreadable
from todoku.web import words

ROOMS = ("intake", "extraction", "reservations")
# Which argument of which call is a reason; of ImpossibleFacts it is the field in "impossible:<field>".
GIVES = {"Fate": 1, "ReadOutcome": 1, "Problem": 0, "_Refused": 0, "_unknown": 2, "ImpossibleFacts": 1}
# These hand on what another place, gathered too, has made.
HANDED_ON = {
    *("reading.problem", "reading.notice.value", "received.outcome.problem", "error.word", "refused.word"),
    *("facts.word", "fate.reason", "refused[arrival.arrival_id]", "_note(reading, received.arrival)", "problem"),
}


def _literals(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    """Yield the reasons that an expression can be; the part that is filled in later is shown as "*"."""
    if ast.unparse(node) in HANDED_ON:
        return
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Constant(value=None):
            return
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.IfExp(body=yes, orelse=no):
            yield from _literals(yes, constants)
            yield from _literals(no, constants)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _literals(value, constants)
        case ast.JoinedStr(values=values):
            yield "".join(_piece(value, constants) for value in values)
        case _:
            raise AssertionError(f"a reason is given in a way that this test does not know: {ast.unparse(node)}")


def _piece(node: ast.expr, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    named = node.value if isinstance(node, ast.FormattedValue) else node
    return constants.get(named.id, "*") if isinstance(named, ast.Name) else "*"


def _of_file(tree: ast.Module) -> Iterator[str]:
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                yield from _of_call(node, function, constants)
            elif (
                isinstance(node, ast.Assign | ast.Return) and node.value is not None and _is_reason(node, function.name)
            ):
                yield from (word for word in _literals(node.value, constants) if word)


def _is_reason(node: ast.Assign | ast.Return, function: str) -> bool:
    """Tell whether it is `word = …`, or what `_note` returns."""
    return function == "_note" if isinstance(node, ast.Return) else ast.unparse(node.targets[0]) == "word"


def _of_call(
    call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef, constants: dict[str, str]
) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = [one.value for one in call.keywords if one.arg in ("problem", "reason")] if called in _READINGS else []
    place = GIVES.get(called)
    if place is not None and len(call.args) > place:
        given.append(call.args[place])
    for node in given:
        if called == "ImpossibleFacts" and isinstance(node, ast.Name):
            found: Iterator[str] = _names_looped_over(function)
        else:
            found = _literals(node, constants)
        yield from (f"impossible:{word}" if called == "ImpossibleFacts" else word for word in found if word)


_READINGS = {*GIVES, "_without_facts"}


def _names_looped_over(function: ast.AST) -> Iterator[str]:
    """Yield the names in a table of (name, value) that a function goes through."""
    for node in ast.walk(function):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
            yield str(node.elts[0].value)


def _words_of_code() -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((Path(todoku.__file__).parent / room).glob("*.py")):
            source = path.read_text(encoding="utf-8")
            if any(f"{name}(" in source for name in _READINGS):
                yield from _of_file(ast.parse(source))


def _words_of_errors(root: type[Unreadable]) -> Iterator[str]:
    yield root.word
    for kind in root.__subclasses__():
        yield from _words_of_errors(kind)


# READER_ERROR is a public name of intake.extracting and so one of its constants.
ALL = sorted({*_words_of_code(), *_words_of_errors(Unreadable), *(kind.value for kind in NoticeKind)})
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


def test_the_gathering_finds_what_is_known_to_be_given() -> None:
    """Guard the gathering itself: one of each way in which a reason is given."""
    assert {
        *("same_bytes", "published_twice", "unknown_address", "address_retired:*", "site_of_address:*", "no_facts"),
        *("bytes_missing", "bytes_corrupt", "reader_error", "arrival_undecodable", "refused:*", "impossible:*"),
        *("missing:reference", "unreadable:start", "unreadable:end", "ambiguous:reference", "broken_markup"),
        *("date_mismatch", "unknown_kind", "impossible:party_size", "impossible:issued_at", "too_deep", "digest"),
    } <= set(ALL)


@pytest.mark.parametrize("reason", ALL)
def test_every_reason_has_words_in_both_languages(reason: str) -> None:
    head, _colon, field = reason.partition(":")
    said = {}
    for language in ("en", "ja"):
        with translation.override(language):
            said[language] = words.reason(reason)
    assert head in words.REASONS
    assert reason not in said.values()
    assert said["en"].isascii()
    assert JAPANESE.search(said["ja"]), "no Japanese in the Japanese words"
    if field not in ("", "*"):
        assert field in words.FIELDS
        assert field not in said["ja"], "the field is named in words"


def test_a_reason_without_a_field_is_a_whole_sentence() -> None:
    with translation.override("en"):
        assert words.reason("unreadable") == "Could not be understood: the whole mail"


def row(state: MailState, reason: str) -> MailRow:
    return MailRow(UUID(int=1), "smtp", "tabelog", None, "", "", state, reason, datetime(2026, 12, 1, tzinfo=UTC), None)


@pytest.mark.parametrize("state", [state for state in MailState if state is not MailState.APPLIED])
def test_a_row_that_is_not_in_the_book_always_says_why(state: MailState) -> None:
    for reason in ("", "same_bytes", "site_of_address:tabelog"):
        with translation.override("ja"):
            assert JAPANESE.search(words.why(row(state, reason)))


def test_a_remark_about_the_address_does_not_hide_the_cause() -> None:
    with translation.override("en"):
        assert words.why(row(MailState.APPLIED, "")) == ""
        assert words.why(row(MailState.STALE, "site_of_address:tabelog")).startswith(
            "A newer mail about it was entered"
        )
        assert "Tabelog" in words.why(row(MailState.STALE, "site_of_address:tabelog"))
