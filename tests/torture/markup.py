"""HTML and schema.org markup made to hurt: depth, tags without end, values that no book can hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from tests.torture.writing import Case, reference

from todoku.intake.types import MailState

UNKNOWN, OTHER, UNREADABLE = MailState.UNKNOWN_LAYOUT, MailState.NOT_A_RESERVATION, MailState.UNREADABLE
_HEAD = b"From: book@example.com\nSubject: booking\nContent-Type: text/html; charset=UTF-8\n\n"
_OPEN = '<script type="application/ld+json">'
_TYPE = "http://schema.org/FoodEstablishmentReservation"
_START = "2026-11-28T18:30:00+09:00"


def cases() -> Iterator[Case]:
    """Yield the cases of markup."""
    for name, piece in (
        ("divs", "<div>"), ("tables", "<table><tr><td>"), ("cells", "<td>"), ("comments", "<!--"),
        ("scripts", "<script>"),
        ("quotes", '<a "'), ("entities", "&#xD800;&amp;"), ("hidden", "<p hidden>"), ("item scopes", "<div itemscope>"),
    ):  # fmt: skip
        yield Case(f"html of {name}", partial(_repeated, piece), OTHER, "other")
    yield Case(
        "json deeper than any stack",
        lambda: _json("[" * 200_000 + "FoodEstablishmentReservation"),
        UNKNOWN,
        "broken_markup",
    )
    yield Case("a thousand scripts that name nothing", lambda: _HEAD + f"schema.org{_OPEN}{{}}</script>".encode()
               * 1_000, OTHER, "other")  # fmt: skip
    wholesome = {"start": _START, "name": "佐藤 花子", "party_size": 2}
    yield _reservation("markup", facts=wholesome)
    yield _reservation("markup with a lone surrogate", name="佐\ud800藤 花子")
    yield _reservation("markup with NUL", name="佐\x00藤 花子")
    yield _reservation("markup of 10,000 guests and one", party=10_001, facts={"party_size": None})
    yield _reservation("markup of a number beyond 64 bits", party=10**30, facts={"party_size": None})
    yield _reservation("markup of a name of a megabyte", name="あ" * 1_000_000, ends=(UNKNOWN, "broken_markup"))
    yield _reservation(
        "markup of the year 9999", start="9999-12-31T23:00:00-09:00", ends=(UNREADABLE, "impossible:start")
    )
    yield _reservation("markup of the year 1", start="0001-01-01T00:00:00+09:00", ends=(UNREADABLE, "impossible:start"))
    yield _reservation("markup without an offset", start="2026-11-28T18:30:00", ends=(UNKNOWN, "unreadable:start"))


def _repeated(piece: str) -> bytes:
    return _HEAD + piece.encode() * 200_000


def _json(source: str) -> bytes:
    return _HEAD + f"schema.org {_OPEN}{source}</script>".encode()


def _reservation(
    key: str, *, name: str = "佐藤 花子", party: int = 2, start: str = _START,
    ends: tuple[MailState, str] = (MailState.APPLIED, ""), facts: dict[str, object] | None = None,
) -> Case:  # fmt: skip
    value = {
        "@context": "http://schema.org", "@type": _TYPE.rpartition("/")[2], "reservationNumber": reference(key),
        "reservationStatus": "http://schema.org/Confirmed", "startTime": start, "partySize": party,
        "underName": {"@type": "Person", "name": name},
        "reservationFor": {"@type": "FoodEstablishment", "name": "届屋 銀座本店"},
    }  # fmt: skip
    return Case(key, lambda: _json(json.dumps(value)), ends[0], ends[1], facts or {})
