"""Who is who: phones and mail addresses join what several visits say into one person. Pure.

The partition of visits into persons depends on what was said, never on its order: joining is a union of sets. A name
joins nobody, because some sites hide it and many people share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from todoku.kernel.addresses import comparable_address, is_addr_spec
from todoku.kernel.ids import new_id

_E164 = re.compile(r"\+[1-9]\d{6,14}\Z")

PHONE = "phone"
EMAIL = "email"


@dataclass(frozen=True, slots=True)
class Identity:
    """One proof of who somebody is. written: as it was given, for sending; it takes no part in comparing."""

    kind: str
    value: str
    written: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement that these identities, and the guest of this reservation if there is one, are one person."""

    reservation_id: UUID | None
    identities: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Who the claims turned out to be. guests: one per claim. merged: guest that is no more -> guest that stays."""

    guests: tuple[UUID, ...]
    created: tuple[UUID, ...]
    identities: dict[Identity, UUID]
    merged: dict[UUID, UUID]


def identities_of(phone: str | None, email: str | None) -> tuple[Identity, ...]:
    """Return the proofs in a phone (E.164) and a mail address; what is neither proves nothing and is left out."""
    found: list[Identity] = []
    if phone and _E164.match(phone):
        found.append(Identity(PHONE, phone, phone))
    if email:
        written = email.strip()
        if is_addr_spec(written):
            found.append(Identity(EMAIL, comparable_address(written), written))
    return tuple(found)


def join(claims: Iterable[Claim], visits: Mapping[UUID, UUID], identities: Mapping[Identity, UUID]) -> Joined:
    """Join claims with what is known; the oldest known guest stays, a new one is made when nobody is known.

    visits: reservation -> guest; identities: proof -> guest, as stored. `Joined.identities` holds the new ones only.
    """
    groups = _Groups(set(visits.values()) | set(identities.values()))
    by_visit = dict(visits)
    by_identity = dict(identities)
    fresh: dict[Identity, UUID] = {}
    members: list[UUID] = []
    for claim in claims:
        known = [by_identity[identity] for identity in claim.identities if identity in by_identity]
        if claim.reservation_id in by_visit:
            known.append(by_visit[claim.reservation_id])
        guest = groups.joined(known) if known else groups.new()
        for identity in claim.identities:
            if identity not in by_identity:
                by_identity[identity] = fresh[identity] = guest
        if claim.reservation_id is not None:
            by_visit[claim.reservation_id] = guest
        members.append(guest)
    return Joined(
        guests=tuple(map(groups.root, members)),
        created=tuple(guest for guest in groups.created if groups.root(guest) == guest),
        identities={identity: groups.root(guest) for identity, guest in fresh.items()},
        merged={guest: groups.root(guest) for guest in groups.known if groups.root(guest) != guest},
    )


class _Groups:
    """A union of sets whose name is its oldest known member; ids sort by the time they were made (UUIDv7)."""

    def __init__(self, known: set[UUID]) -> None:
        self.known = known
        self.created: list[UUID] = []
        self._parent: dict[UUID, UUID] = {}

    def new(self) -> UUID:
        guest = new_id()
        self.created.append(guest)
        return guest

    def root(self, guest: UUID) -> UUID:
        while (parent := self._parent.get(guest)) is not None:
            guest = parent
        return guest

    def joined(self, guests: Iterable[UUID]) -> UUID:
        roots = sorted({self.root(guest) for guest in guests}, key=lambda guest: (guest not in self.known, guest))
        for other in roots[1:]:
            self._parent[other] = roots[0]
        return roots[0]
