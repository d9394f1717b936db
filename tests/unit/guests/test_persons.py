"""Phones and mail addresses say who is who; names never do; the order of telling does not matter."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todoku.guests.persons import Claim, Identity, identities_of, join
from todoku.guests.phones import as_e164

claims = st.builds(
    Claim,
    reservation_id=st.integers(0, 9).map(lambda number: uuid.UUID(int=number + 1)),
    identities=st.builds(
        identities_of,
        st.sampled_from([None, "+819000000001", "+819000000002", "+819000000003", "+819000000004"]),
        st.sampled_from([None, "a@example.com", "A@Example.com", "b@example.com", "c@example.com"]),
    ),
)


class Register:
    """Keep what `join` decides, as the tables do."""

    def __init__(self) -> None:
        self.visits: dict[uuid.UUID, uuid.UUID] = {}
        self.identities: dict[Identity, uuid.UUID] = {}

    def take(self, batch: Sequence[Claim]) -> None:
        joined = join(batch, self.visits, self.identities)
        self.identities.update(joined.identities)
        for claim, guest in zip(batch, joined.guests, strict=True):
            assert claim.reservation_id is not None
            self.visits[claim.reservation_id] = guest
        for table in (self.visits, self.identities):
            for key, guest in list(table.items()):
                table[key] = joined.merged.get(guest, guest)  # type: ignore[index]

    def partition(self) -> set[frozenset[object]]:
        groups: dict[uuid.UUID, set[object]] = {}
        for table in (self.visits, self.identities):
            for key, guest in table.items():
                groups.setdefault(guest, set()).add(key)
        return {frozenset(group) for group in groups.values()}


@settings(max_examples=300, deadline=None)
@given(st.lists(claims, max_size=12), st.randoms(use_true_random=False))
def test_the_partition_is_the_same_in_any_order_and_any_batches(told: list[Claim], chance: random.Random) -> None:
    together = Register()
    together.take(told)
    shuffled = told + told[:3]
    chance.shuffle(shuffled)
    piecemeal = Register()
    while shuffled:
        size = chance.randrange(1, 5)
        piecemeal.take(shuffled[:size])
        del shuffled[:size]
    assert piecemeal.partition() == together.partition()


@settings(max_examples=200, deadline=None)
@given(st.lists(claims, max_size=12))
def test_whoever_shares_a_proof_is_one_person_and_nobody_else(told: list[Claim]) -> None:
    """Compare with the definition: the transitive closure of sharing a proof or a reservation."""
    register = Register()
    register.take(told)
    groups: list[set[object]] = []
    for claim in told:
        mine: set[object] = {claim.reservation_id, *claim.identities}
        touching = [group for group in groups if group & mine]
        groups = [group for group in groups if not group & mine] + [mine.union(*touching)]
    assert register.partition() == {frozenset(group) for group in groups}


def test_the_oldest_known_person_stays() -> None:
    older, newer = uuid.UUID(int=5), uuid.UUID(int=9)
    phone, mail = identities_of("+819000000001", "a@example.com")
    joined = join([Claim(uuid.UUID(int=1), (phone, mail))], {}, {mail: newer, phone: older})
    assert (joined.guests, joined.merged, joined.created) == ((older,), {newer: older}, ())


def test_without_a_proof_each_reservation_is_somebody_of_its_own() -> None:
    joined = join([Claim(uuid.UUID(int=1), ()), Claim(uuid.UUID(int=2), ())], {}, {})
    assert len(set(joined.guests)) == len(joined.created) == 2


@pytest.mark.parametrize(
    ("phone", "email", "kinds"),
    [
        ("+819000000001", "Taro@Example.com", ["phone", "email"]),
        ("090-0000-0001", None, []),  # not E.164: whoever wrote it did not know the country
        (None, "not an address", []),
        ("", "", []),
        (None, "taro..y@docomo.example", ["email"]),
    ],
)
def test_what_proves_something(phone: str | None, email: str | None, kinds: list[str]) -> None:
    assert [identity.kind for identity in identities_of(phone, email)] == kinds


def test_an_address_is_kept_as_written_and_compared_folded() -> None:
    (written,) = identities_of(None, " Taro@Example.COM ")
    assert (written.value, written.written) == ("taro@example.com", "Taro@Example.COM")
    assert {written} == set(identities_of(None, "taro@example.com"))


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("090-0000-0001", "+819000000001"),
        ("０９０−００００−０００１", "+819000000001"),
        ("+81 90 0000 0001", "+819000000001"),
        ("03-0000-1200", "+81300001200"),
        ("12", None),
        ("なし", None),
    ],
)
def test_phones_as_people_write_them(text: str, phone: str | None) -> None:
    assert as_e164(text) == phone
