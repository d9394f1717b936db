"""The definition language of a site: what `site.toml` may say, checked once when it is loaded."""

from __future__ import annotations

import tomllib
from typing import Literal

import msgspec

from todoku.extraction.errors import DefinitionError
from todoku.extraction.types import Event, NoticeKind

FieldName = Literal[
    "reference", "shop", "shop_code",
    "start", "start_date", "start_time", "end", "end_time", "stay", "year_date", "weekday_date",
    "party_size", "party_part", "guest", "guest.name", "guest.kana", "guest.phone", "guest.email",
    "course", "seat", "requests", "amount", "cancel_reason", "link", "status", "ignored",
]  # fmt: skip

SyntaxName = Literal[
    "colon", "square_colon", "bullet_colon", "marked_colon", "angle", "square_next_line", "lenticular_next_line",
    "bracket", "bracket_next_line", "pipe", "dot_space", "box_space", "square_inline",
    "link", "url_query", "url_path", "addressee", "text", "subject",
]  # fmt: skip

ValueMode = Literal["line", "next_line", "line_or_next", "block", "wrapped", "lines"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refuse a key that the language does not have: a misspelt key must not be silence."""


class Recognise(_Strict, frozen=True):
    """How a mail is known to be of this site: by who sent it, or, when it was forwarded, by marks in its text.

    senders: whole addresses. domains: the domain or any below it. marks: lists of words; a list is met when all of
    its words are in the subject or the text. dkim_domains: who may sign for the site; empty means not known.
    """

    senders: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    dkim_domains: tuple[str, ...] = ()
    marks: tuple[tuple[str, ...], ...] = ()


class Layout(_Strict, frozen=True):
    """What separates values. rulers, stops: how a line begins that ends a value, as plain words, not patterns; a ruler
    also ends a before or after block that has had a label.

    before, after: headings, alone on their line, of the old and the new state in a change mail. arrow: what stands
    between an old and a new value inside one field.
    """

    rulers: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    before: str | None = None
    after: str | None = None
    arrow: str | None = None


class FieldRule(_Strict, frozen=True):
    """Where one value stands. Several rules of one name are tried in order; the first that yields a value counts.

    syntax: one of the named ones (docs/sites.md). labels: the words before the value; for url_query the names of
    query keys, for url_path what stands before the value in the path, for addressee the honorifics behind the name, for
    link how its address begins, with `…` for anything
    between; url_query and url_path look only into that `link`. pattern: RE2 with one group on the
    folded text, for text and subject, which have no labels.
    value: which lines belong to it, if other than the syntax says. shape: RE2 that the whole converted value must
    match, else it counts as not found; a group narrows it. nothing: values that mean "none". strip: characters cut
    off both ends. join: add to the value that an earlier rule of the same name found, on a new line.
    """

    name: FieldName
    syntax: SyntaxName
    labels: tuple[str, ...] = ()
    pattern: str | None = None
    value: ValueMode | None = None
    shape: str | None = None
    nothing: tuple[str, ...] = ()
    strip: str = ""
    join: bool = False


class KindRule(_Strict, frozen=True):
    """One rule of the ordered list that decides the kind; all given conditions must hold.

    Gives either an event or a notice. subject, body: any of these words; blanks don't count, and `…` inside a word
    stands for anything between its parts. status: the value of the field `status` begins with one of these.
    not_status: it begins with none of these, or there is none. no_status: the mail has no such field. after_block: the
    mail has a block under the heading layout.after. sender: one of these addresses sent it.
    """

    event: Event | None = None
    notice: NoticeKind | None = None
    subject: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    not_status: tuple[str, ...] = ()
    no_status: bool = False
    after_block: bool = False
    sender: tuple[str, ...] = ()


class Structured(_Strict, frozen=True):
    """For a site that is read from schema.org markup: the types it reads, and its status words as events."""

    types: tuple[str, ...]
    status: dict[str, Event]


class Definition(_Strict, frozen=True):
    """One whole `site.toml`."""

    id: str
    name_ja: str
    name_en: str
    time_zone: str = "Asia/Tokyo"
    recognise: Recognise = Recognise()
    layout: Layout = Layout()
    field: tuple[FieldRule, ...] = ()
    kind: tuple[KindRule, ...] = ()
    structured: Structured | None = None


def load_definition(toml_text: str, *, file: str) -> Definition:
    """Return the checked definition; file is only named in errors.

    Raises DefinitionError naming the file and the key: not TOML, an unknown key, a wrong type, a rule that gives
    neither or both of event and notice, a field without its labels or pattern.
    """
    try:
        definition = msgspec.convert(tomllib.loads(toml_text), Definition)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(file, "the whole file", f"not TOML: {error}") from error
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise DefinitionError(file, place.rstrip("`") or "top level", what) from error
    for number, rule in enumerate(definition.kind):
        _check_kind(rule, file, f"kind[{number}]")
    for number, field in enumerate(definition.field):
        _check_field(field, file, f"field[{number}] ({field.name})")
    if not definition.structured and not definition.kind:
        raise DefinitionError(file, "kind", "no rule decides the kind of notification")
    return definition


def _check_kind(rule: KindRule, file: str, key: str) -> None:
    if (rule.event is None) == (rule.notice is None):
        raise DefinitionError(file, key, "give exactly one of event and notice")
    if not (rule.subject or rule.body or rule.status or rule.no_status or rule.after_block or rule.sender):
        raise DefinitionError(file, key, "a rule without a condition would take every mail")
    if rule.status and rule.no_status:
        raise DefinitionError(file, key, "status and no_status exclude each other")


def _check_field(rule: FieldRule, file: str, key: str) -> None:
    by_pattern = rule.syntax in ("text", "subject")
    if by_pattern and (rule.pattern is None or rule.labels):
        raise DefinitionError(file, key, f"syntax {rule.syntax!r} takes a pattern and no labels")
    if not by_pattern and (rule.pattern is not None or not rule.labels):
        raise DefinitionError(file, key, f"syntax {rule.syntax!r} takes labels and no pattern")
    if any(not label.strip() for label in rule.labels):
        raise DefinitionError(file, f"{key}.labels", "an empty label is before everything")
