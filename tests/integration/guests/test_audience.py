"""Whom a campaign reaches, counted and streamed by the same statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from todoku.guests import queries, services
from todoku.guests.errors import NotAnAddress
from todoku.guests.types import Audience, AudienceMember, PersonImport, SuppressionReason, VisitFact
from todoku.kernel.clock import VirtualClock

Came = Callable[..., VisitFact]
NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TODAY = date(2026, 11, 21)


def members(project_id: str, audience: Audience, clock: VirtualClock, today: date = TODAY) -> list[AudienceMember]:
    chunks = queries.stream_audience(project_id, audience, today=today, clock=clock)
    return [member for chunk in chunks for member in chunk]


def addresses(project_id: str, audience: Audience, clock: VirtualClock, today: date = TODAY) -> list[str]:
    counted = queries.count_audience(project_id, audience, today=today, clock=clock)
    found = members(project_id, audience, clock, today)
    assert counted.planned == len(found)
    assert counted.sendable == sum(member.not_sendable == "" for member in found)
    assert sum(counted.not_sendable.values()) == counted.planned - counted.sendable
    return sorted(member.address for member in found)


@pytest.fixture
def regulars(tenants: tuple[str, str], came: Came, clock: VirtualClock) -> str:
    """a: 3 visits, b: 1 visit long ago, c: none but one to come, d: none at all."""
    mine, _ = tenants
    services.record_visits(
        mine,
        [
            *(came(None, "a@example.com", start=NOON - days * DAY, shop_code="ginza") for days in (1, 40, 80)),
            came(None, "b@example.com", start=NOON - 300 * DAY, site="gnavi", shop_code="shinjuku"),
            came(None, "c@example.com", start=NOON + timedelta(hours=8), site="hotpepper", shop_code="ginza"),
            came(None, "c@example.com", start=NOON - DAY, site="gnavi", counts=False),
        ],
    )
    services.import_people(mine, [PersonImport("四", email="d@example.com")])
    return mine


@pytest.mark.parametrize(
    ("audience", "found"),
    [
        (Audience(), "abcd"),
        (Audience(min_visits=1), "ab"),
        (Audience(min_visits=2, max_visits=3), "a"),
        (Audience(max_visits=0), "cd"),
        (Audience(last_visit_before=date(2026, 11, 1)), "b"),
        (Audience(last_visit_on_or_after=date(2026, 11, 20)), "a"),
        (Audience(last_visit_on_or_after=date(2026, 11, 21)), ""),
        (Audience(last_visit_before=date(2026, 11, 20)), "b"),
        (Audience(sites=("gnavi",)), "b"),
        (Audience(sites=("gnavi", "hotpepper")), "bc"),
        (Audience(shop_codes=("ginza",)), "ac"),
        (Audience(shop_codes=("ginza",), min_visits=1), "a"),
        (Audience(sites=("x'); DROP TABLE guests_guest; --", "%s", "{}", "\x00")), ""),
    ],
)
def test_every_given_criterion_must_hold(regulars: str, clock: VirtualClock, audience: Audience, found: str) -> None:
    assert addresses(regulars, audience, clock) == [f"{letter}@example.com" for letter in found]


def test_visits_and_the_last_one_are_as_of_the_day(regulars: str, clock: VirtualClock) -> None:
    by_address = {member.address: member for member in members(regulars, Audience(), clock)}
    a, c = by_address["a@example.com"], by_address["c@example.com"]
    assert (a.visits, a.last_visit_on, a.last_shop_name) == (3, date(2026, 11, 20), "届屋 銀座本店")
    assert (c.visits, c.last_visit_on, c.last_shop_name) == (0, None, "")
    earlier = {member.address: member for member in members(regulars, Audience(), clock, date(2026, 11, 1))}
    assert (earlier["a@example.com"].visits, earlier["a@example.com"].last_visit_on) == (2, date(2026, 10, 12))


def test_days_are_those_of_the_projects_zone(tenants: tuple[str, str], came: Came, clock: VirtualClock) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came(None, "a@example.com", start=datetime(2026, 11, 19, 15, 30, tzinfo=UTC))])
    (member,) = members(mine, Audience(), clock)
    assert member.last_visit_on == date(2026, 11, 20)  # 00:30 in Tokyo


def test_who_may_not_be_mailed_is_planned_with_the_reason(tenants: tuple[str, str], clock: VirtualClock) -> None:
    mine, _ = tenants
    agreed = [
        PersonImport(email=f"{reason.value}@example.com", consent_source="card", consent_given_at_utc=NOON)
        for reason in SuppressionReason
    ]
    services.import_people(mine, [*agreed, PersonImport(email="silent@example.com")])
    services.import_people(
        mine, [PersonImport(email="ok@example.com", consent_source="card", consent_given_at_utc=NOON)]
    )
    for reason in SuppressionReason:
        assert services.suppress(mine, f"{reason.value}@EXAMPLE.com", reason, evidence="x", clock=clock)
    found = {member.address: member.not_sendable for member in members(mine, Audience(), clock)}
    assert found == {
        "bounced@example.com": "bounced",
        "complained@example.com": "complained",
        "manual@example.com": "manual",
        "ok@example.com": "",
        "silent@example.com": "no_consent",
        "unsubscribed@example.com": "unsubscribed",
    }
    rows = {row.emails[0]: (row.may_be_mailed, row.why_not) for row in queries.search(mine, clock=clock)}
    assert rows == {address: (reason == "", reason) for address, reason in found.items()}


def test_one_person_is_written_to_once_whatever_the_case_of_the_address(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came(None, "Hana@Example.com"), came(None, "hana@example.COM")])
    assert addresses(mine, Audience(), clock) == ["Hana@Example.com"]


def test_of_several_addresses_the_sendable_one_is_taken(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came("+819000000001", "old@example.com"), came("+819000000001", "new@example.com")])
    services.give_consent(mine, "old@example.com", source="card", wording="", clock=clock)
    (member,) = members(mine, Audience(), clock)
    assert (member.address, member.not_sendable) == ("old@example.com", "")
    services.suppress(mine, "old@example.com", SuppressionReason.BOUNCED, evidence="550", clock=clock)
    services.give_consent(mine, "new@example.com", source="card", wording="", clock=clock)
    (member,) = members(mine, Audience(), clock)
    assert (member.address, member.not_sendable) == ("new@example.com", "")


def test_a_persons_own_word_holds_for_all_their_addresses(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came("+819000000001", "a@example.com"), came("+819000000001", "b@example.com")])
    services.give_consent(mine, "b@example.com", source="card", wording="", clock=clock)
    services.suppress(mine, "a@example.com", SuppressionReason.UNSUBSCRIBED, evidence="form", clock=clock)
    (member,) = members(mine, Audience(), clock)
    assert member.not_sendable == "unsubscribed"


def test_consent_is_proof_and_its_withdrawal_stays(tenants: tuple[str, str], clock: VirtualClock) -> None:
    mine, _ = tenants
    person = PersonImport("花子", email="a@example.com", consent_source="card", consent_given_at_utc=NOON - DAY)
    services.import_people(mine, [person])
    assert not services.give_consent(mine, "A@example.com", source="again", wording="", clock=clock)
    assert services.withdraw_consent(mine, "a@example.com", by="本人", clock=clock)
    assert not services.withdraw_consent(mine, "a@example.com", by="本人", clock=clock)
    services.import_people(mine, [person])
    (member,) = members(mine, Audience(), clock)
    assert member.not_sendable == "no_consent"
    clock.advance(60)
    assert services.give_consent(mine, "a@example.com", source="form", wording="はい", clock=clock)
    detail = queries.get(mine, member.guest_id, clock=clock)
    assert [(consent.source, consent.withdrawn_at_utc is None) for consent in detail.consents] == [
        ("form", True),
        ("card", False),
    ]


def test_a_weightier_reason_replaces_a_lighter_one_and_only_a_person_lifts_it(
    tenants: tuple[str, str], clock: VirtualClock
) -> None:
    mine, other = tenants
    agreed = PersonImport(email="a@example.com", consent_source="card", consent_given_at_utc=NOON)
    services.import_people(mine, [agreed])
    assert services.suppress(mine, "a@example.com", SuppressionReason.BOUNCED, evidence="550", clock=clock)
    assert services.suppress(mine, "a@example.com", SuppressionReason.COMPLAINED, evidence="arf", clock=clock)
    assert not services.suppress(mine, "a@example.com", SuppressionReason.MANUAL, evidence="", clock=clock)
    assert members(mine, Audience(), clock)[0].not_sendable == "complained"
    assert not services.allow_again(other, "a@example.com", by="owner", clock=clock)
    assert services.allow_again(mine, "a@example.com", by="owner", clock=clock)
    assert not services.allow_again(mine, "a@example.com", by="owner", clock=clock)
    assert members(mine, Audience(), clock)[0].not_sendable == ""


@pytest.mark.parametrize("address", ["", "no at", "a@b@c", "a\x00@example.com", "a@example.com\r\nBcc: b@example.com"])
def test_what_is_no_address_is_refused(tenants: tuple[str, str], clock: VirtualClock, address: str) -> None:
    mine, _ = tenants
    with pytest.raises(NotAnAddress):
        services.suppress(mine, address, SuppressionReason.MANUAL, evidence="", clock=clock)


def test_a_stream_comes_in_chunks_in_the_order_of_guests_and_may_be_dropped(
    tenants: tuple[str, str], clock: VirtualClock
) -> None:
    mine, other = tenants
    services.import_people(
        mine, [PersonImport("名\t前\n\\N", email=f"g{number}@example.com") for number in range(1203)]
    )
    services.import_people(other, [PersonImport(email="stranger@example.com")])
    chunks = list(queries.stream_audience(mine, Audience(), today=TODAY, clock=clock))
    assert [len(chunk) for chunk in chunks] == [500, 500, 203]
    found = [member for chunk in chunks for member in chunk]
    assert [member.guest_id for member in found] == sorted(member.guest_id for member in found)
    assert len({member.address for member in found}) == 1203
    assert {member.name for member in found} == {"名\t前\n\\N"}
    stream = queries.stream_audience(mine, Audience(), today=TODAY, clock=clock)
    assert len(next(stream)) == 500
    assert queries.count(mine) == 1203  # the database is free for others while a stream is open
    stream.close()  # type: ignore[attr-defined]
