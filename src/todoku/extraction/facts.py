"""Put the values of one mail together to Facts, or say which key is missing or contradicts another."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from todoku.extraction.convert import Person, class_of_price, identifier, party_size, person
from todoku.extraction.fields import FieldReader
from todoku.extraction.phone import to_e164
from todoku.extraction.scan import BEFORE, Piece
from todoku.extraction.types import Amount, Event, Facts, GuestFacts, Previous
from todoku.extraction.visit import DateContradiction, read_visit, states_two_visits
from todoku.kernel.addresses import is_addr_spec
from todoku.kernel.money import read_money

NEEDS_START = frozenset({Event.BOOKED, Event.REQUESTED, Event.TENTATIVE, Event.CHANGED, Event.CHANGE_REQUESTED})
"""A cancellation is complete without its time: the reference says what is cancelled."""


class Problem(NamedTuple):
    """Why a mail of a known site can't be read: a stable word, and after the colon the field."""

    word: str


def build_facts(reader: FieldReader, event: Event) -> Facts | Problem:
    """Return what the mail states, or the Problem that makes it an unknown layout. Nothing is guessed."""
    if event in (Event.CHANGED, Event.CHANGE_REQUESTED):
        reader.use_arrows()
    reference = reader.read("reference", _identifier)
    if reference is None:
        return Problem("missing:reference")
    if reader.is_ambiguous("reference", _identifier):
        return Problem("ambiguous:reference")  # several notifications in one mail, such as a quoted history
    try:
        visit = read_visit(reader)
    except DateContradiction:
        return Problem("date_mismatch")
    if visit.start is None and event in NEEDS_START:
        return Problem("missing:start")
    if states_two_visits(reader):
        return Problem("ambiguous:start")
    party = reader.find("party_size", _party_size)
    return Facts(
        event=event,
        reference=reference,
        shop=reader.text("shop"),
        shop_code=reader.read("shop_code", _identifier),
        start=visit.start,
        end=visit.end,
        party_size=party[0] if party else _party_by_class(reader),
        guest=_guest(reader),
        course=reader.text("course"),
        seat=reader.text("seat"),
        requests=reader.text("requests"),
        amount=reader.read("amount", _amount),
        cancel_reason=reader.text("cancel_reason"),
        link=reader.text("link"),
        previous=_previous(reader, visit.previous, party[1] if party else None),
    )


def _guest(reader: FieldReader) -> GuestFacts:
    both = reader.read("guest", _person) or Person(None, None)
    name = reader.read("guest.name", _name)
    kana = reader.read("guest.kana", _name)
    return GuestFacts(
        name=name or both.name,
        kana=kana or both.kana,
        phone=reader.read("guest.phone", _phone),
        email=reader.read("guest.email", _email),
    )


def _party_by_class(reader: FieldReader) -> int | None:
    """Return the sum over the classes of price; a class that is stated twice counts once, and must agree."""
    counts: dict[str, int] = {}
    for written in reader.every("party_part"):
        count = party_size(written)
        if count is None or counts.setdefault(class_of_price(written), count) != count:
            return None
    return sum(counts.values()) or None


def _previous(reader: FieldReader, old_start: datetime | None, party_before: Piece | None) -> Previous | None:
    size = party_size(party_before.folded) if party_before is not None else None
    if size is None:
        size = reader.read("party_size", _party_size, sections=(BEFORE,))
    if size is None and old_start is None:
        return None
    return Previous(start=old_start, party_size=size)


def _identifier(piece: Piece) -> str | None:
    return identifier(piece.folded)


def _party_size(piece: Piece) -> int | None:
    return party_size(piece.folded)


def _person(piece: Piece) -> Person:
    return person(piece.value)


def _name(piece: Piece) -> str | None:
    return person(piece.value).name


def _phone(piece: Piece) -> str | None:
    return to_e164(piece.folded)


def _email(piece: Piece) -> str | None:
    address = piece.folded.strip().strip("<>")
    return address if is_addr_spec(address) else None


def _amount(piece: Piece) -> Amount | None:
    money = read_money(piece.folded)
    return Amount(minor=money.minor, currency=money.currency) if money is not None else None
