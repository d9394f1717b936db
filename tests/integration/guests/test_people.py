"""People as they come out of visits, on a real PostgreSQL."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from todoku.guests import queries, services
from todoku.guests.errors import GuestMissing
from todoku.guests.types import GuestRow, PersonImport, VisitFact
from todoku.kernel.clock import VirtualClock

Came = Callable[..., VisitFact]
NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def people(project_id: str, clock: VirtualClock) -> list[GuestRow]:
    return queries.search(project_id, limit=1000, clock=clock)


def partition(project_id: str, visits: list[VisitFact]) -> set[frozenset[str]]:
    groups: dict[object, set[str]] = {}
    for visit in visits:
        guest = queries.guest_of_reservation(project_id, visit.reservation_id)
        groups.setdefault(guest, set()).add(visit.reference)
    return {frozenset(group) for group in groups.values()}


def test_one_person_over_several_sites_where_the_phone_agrees(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    services.record_visits(
        mine,
        [
            came("+819000000001", name="髙橋", start=NOON - 30 * DAY, shop_code="ginza"),
            came("+819000000001", name="髙橋 花子", start=NOON - DAY, site="gnavi", shop_code="shinjuku"),
            came("+819000000001", start=NOON + DAY, site="hotpepper"),
            came("+819000000001", start=NOON - 2 * DAY, counts=False),
            came("+819000000002", name="髙橋 花子", start=NOON - DAY),
        ],
    )
    alone, regular = sorted(people(mine, clock), key=lambda row: row.visits)
    assert (regular.name, regular.visits, regular.upcoming, regular.last_visit_at) == ("髙橋 花子", 2, 1, NOON - DAY)
    assert regular.sites == ("gnavi", "hotpepper", "tabelog")
    assert regular.shop_codes == ("ginza", "shinjuku")
    assert (alone.name, alone.visits, alone.phones) == ("髙橋 花子", 1, ("+819000000002",))


def test_a_name_alone_joins_nobody(tenants: tuple[str, str], came: Came, clock: VirtualClock) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came(name="佐々木"), came(name="佐々木")])
    assert [row.name for row in people(mine, clock)] == ["佐々木", "佐々木"]


def test_a_visit_that_proves_it_merges_two_people_and_old_ids_lead_on(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    by_phone, by_mail = came("+819000000001", name="髙橋"), came(None, "hana@example.com")
    services.record_visits(mine, [by_phone])
    services.record_visits(mine, [by_mail])
    services.give_consent(mine, "hana@example.com", source="card", wording="はい", clock=clock)
    older = queries.guest_of_reservation(mine, by_phone.reservation_id)
    newer = queries.guest_of_reservation(mine, by_mail.reservation_id)
    assert older is not None
    assert newer is not None
    assert older != newer
    with structlog.testing.capture_logs() as logs:
        services.record_visits(mine, [came("+819000000001", "HANA@example.com")])
    assert [line["event"] for line in logs].count("guest.merged") == 1
    (row,) = people(mine, clock)
    assert (row.id, row.phones, row.emails) == (older, ("+819000000001",), ("hana@example.com",))
    merged = queries.get(mine, newer, clock=clock)
    assert (merged.row.id, len(merged.visits), len(merged.consents)) == (older, 3, 1)
    assert queries.all_ids(mine, older) == (older, newer)
    assert queries.count(mine) == 1


def test_a_later_mail_of_a_reservation_joins_it_to_somebody_known(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    unknown = came(name="髙橋")
    services.record_visits(mine, [unknown, came("+819000000001", name="髙橋 花子", start=NOON - DAY)])
    assert len(people(mine, clock)) == 2
    services.record_visits(mine, [replace(unknown, phone="+819000000001", start=NOON - 5 * DAY)])
    (row,) = people(mine, clock)
    assert (row.name, row.visits) == ("髙橋 花子", 2)


def test_handing_over_again_replaces_and_adds_nothing(
    tenants: tuple[str, str], came: Came, clock: VirtualClock
) -> None:
    mine, _ = tenants
    visit = came("+819000000001", name="髙橋", start=NOON - DAY)
    services.record_visits(mine, [visit])
    first = people(mine, clock)
    services.record_visits(mine, [visit, visit])
    assert people(mine, clock) == first
    services.record_visits(mine, [replace(visit, counts_as_visit=False)])
    assert [row.visits for row in people(mine, clock)] == [0]


def test_the_partition_is_the_same_in_any_order(tenants: tuple[str, str], came: Came) -> None:
    mine, other = tenants
    chance = random.Random(11)
    phones = [None, *(f"+8190000000{number:02d}" for number in range(12))]
    mails = [None, *(f"g{number}@example.com" for number in range(12))]
    visits = [came(chance.choice(phones), chance.choice(mails), name="同じ名前") for _ in range(60)]
    services.record_visits(mine, visits)
    twins = {visit.reservation_id: came(visit.phone, visit.email, name=visit.name) for visit in visits}
    theirs = [replace(twins[visit.reservation_id], reference=visit.reference) for visit in visits]
    chance.shuffle(theirs)
    for first in range(0, len(theirs), 7):
        services.record_visits(other, theirs[first : first + 7])
    assert partition(other, theirs) == partition(mine, visits)
    assert len(partition(mine, visits)) > 1


def test_two_readers_at_once_make_one_person(tenants: tuple[str, str], came: Came, clock: VirtualClock) -> None:
    mine, _ = tenants
    visits = [came("+819000000001", f"g{number}@example.com") for number in range(40)]
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def read(number: int) -> None:
        start.wait()
        try:
            for visit in visits[number::4]:
                services.record_visits(mine, [visit])
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)
        finally:
            connections.close_all()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert failures == []
    (row,) = people(mine, clock)
    assert len(row.emails) == 40


@pytest.mark.parametrize("size", [1, 200])
def test_the_number_of_statements_does_not_depend_on_the_batch(tenants: tuple[str, str], came: Came, size: int) -> None:
    mine, _ = tenants
    for number in range(size):
        services.record_visits(mine, [came(f"+8190{number:08d}")])
    services.record_visits(mine, [came(None, f"g{number}@example.com") for number in range(size)])
    batch = [came(f"+8190{number:08d}", f"g{number}@example.com") for number in range(size)]
    with CaptureQueriesContext(connection) as captured:
        services.record_visits(mine, batch)
    words = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    assert len([query for query in captured if not query["sql"].startswith(words)]) <= 12


def test_importing_people_twice_changes_nothing(tenants: tuple[str, str], clock: VirtualClock) -> None:
    mine, _ = tenants
    listed = [
        PersonImport(
            "髙橋 花子", "タカハシ ハナコ", "090-0000-0001", "Hana@Example.com", "会員カード", "受け取ります", NOON
        ),
        PersonImport("佐々木", phone="+819000000002"),
        PersonImport("名前だけ"),
        PersonImport("髙橋 花子", email="hana@example.com", phone="なし"),
    ]
    first = services.import_people(mine, listed)
    assert (first.created, first.known, first.refused) == (2, 1, ((2, "no_phone_or_address"),))
    rows = people(mine, clock)
    assert services.import_people(mine, listed) == replace(first, created=0, known=3)
    assert people(mine, clock) == rows
    (hana,) = queries.search(mine, "hana@", clock=clock)
    assert (hana.name, hana.kana, hana.emails) == ("髙橋 花子", "タカハシ ハナコ", ("Hana@Example.com",))
    (consent,) = queries.get(mine, hana.id, clock=clock).consents
    assert (consent.source, consent.wording, consent.given_at_utc) == ("会員カード", "受け取ります", NOON)


def test_nul_bytes_in_a_list_of_people(tenants: tuple[str, str], clock: VirtualClock) -> None:
    mine, _ = tenants
    services.import_people(
        mine, [PersonImport("髙\x00橋", "\ud83d", "090-0000-0001", "ha\x00na@example.com", "ca\x00rd", "\x00", NOON)]
    )
    (row,) = people(mine, clock)
    assert (row.name, row.kana, row.emails, row.may_be_mailed) == ("髙橋", "", ("hana@example.com",), True)


def test_tenants_never_see_each_other(tenants: tuple[str, str], came: Came, clock: VirtualClock) -> None:
    mine, other = tenants
    visit = came("+819000000001", "hana@example.com", name="髙橋")
    services.record_visits(mine, [visit])
    guest = queries.guest_of_reservation(mine, visit.reservation_id)
    assert guest is not None
    assert people(other, clock) == []
    assert queries.search(other, "髙橋", clock=clock) == []
    assert queries.count(other) == 0
    assert queries.guest_of_reservation(other, visit.reservation_id) is None
    assert queries.all_ids(other, guest) == (guest,)
    with pytest.raises(GuestMissing):
        queries.get(other, guest, clock=clock)
    services.record_visits(other, [came("+819000000001", name="別の店の客")])
    assert [row.name for row in people(mine, clock)] == ["髙橋"]
    assert [row.visits + row.upcoming for row in people(other, clock)] == [1]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["佐々木", "髙橋"]),
        ("髙", ["髙橋"]),
        ("サ", ["佐々木"]),
        ("HANA@", ["髙橋"]),
        ("090-0000-0001", ["髙橋"]),
        ("0001", ["髙橋"]),
        ("' OR 1=1 --", []),
        ("%", []),
        ("\x00", ["佐々木", "髙橋"]),
    ],
)
def test_looking_for_people(
    tenants: tuple[str, str], came: Came, clock: VirtualClock, text: str, names: list[str]
) -> None:
    mine, _ = tenants
    services.record_visits(mine, [came("+819000000001", "hana@example.com", name="髙橋")])
    services.record_visits(mine, [came("+819000000092", name="佐々木", kana="ササキ")])
    assert [row.name for row in queries.search(mine, text, clock=clock)] == names
    assert queries.count(mine, text) == len(names)
    assert [row.name for row in queries.search(mine, text, limit=1, offset=1, clock=clock)] == names[1:2]


def test_a_time_zone_comes_with_a_list_and_survives_a_merge(tenants: tuple[str, str]) -> None:
    project = tenants[0]
    from todoku.guests.models import Guest

    def zones() -> list[str]:
        return list(Guest.objects.filter(project_id=project, merged_into=None).values_list("time_zone", flat=True))

    berliner = PersonImport(name="見本", email="zone@example.com", time_zone="Europe/Berlin")
    services.import_people(project, [berliner])
    assert zones() == ["Europe/Berlin"]
    services.import_people(project, [PersonImport(email="zone@example.com")])
    assert zones() == ["Europe/Berlin"]
    services.import_people(project, [PersonImport(phone="090-0000-0042", email="zone2@example.com")])
    services.import_people(project, [PersonImport(phone="090-0000-0042", email="zone@example.com")])
    assert zones() == ["Europe/Berlin"]


def test_a_time_zone_that_does_not_exist_is_refused_by_name(tenants: tuple[str, str]) -> None:
    project = tenants[0]
    result = services.import_people(project, [PersonImport(email="zone@example.com", time_zone="Mars/Olympus")])
    assert result.refused == ((0, "time_zone_unknown"),)
