"""Intake addresses from the first to the last mail: made once, rotated, accepted for a while, retired, never lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from todoku.bus.streams import ADDRESSES_BUCKET, UNROUTED_PROJECT
from todoku.intake import addresses
from todoku.intake.routes import publish_addresses
from todoku.kernel.clock import VirtualClock
from todoku.projects import queries, services
from todoku.projects.errors import AddressMissing, AddressTaken, ProjectMissing
from todoku.projects.types import IntakeAddressInfo, Rotation
from todoku.sources.routes import RouteBook
from todoku.sources.smtp import SmtpDoor
from todoku.sources.types import Route

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office

DAY = 86_400.0


async def make(office: Office, clock: VirtualClock, **named: str) -> IntakeAddressInfo:
    wanted = {"shop_code": "ginza", "site": "gnavi", **named}
    return await office.ask(
        lambda: services.create_intake_address(
            office.mine,
            shop_code=wanted["shop_code"],
            site=wanted["site"],
            clock=clock,
            local_part=wanted.get("local_part"),
        )
    )


async def rotate(office: Office, clock: VirtualClock, local_part: str, **named: timedelta) -> Rotation:
    return await office.ask(lambda: services.rotate_intake_address(office.mine, local_part, clock=clock, **named))


async def routes(office: Office) -> dict[str, Route]:
    bucket = office.bus.bucket(ADDRESSES_BUCKET)
    entries = {key: await bucket.get(key) for key in await bucket.keys()}
    return {key: msgspec.msgpack.decode(entry.value, type=Route) for key, entry in entries.items() if entry}


async def test_a_shop_and_site_have_one_address_however_often_it_is_asked_for(
    office: Office, clock: VirtualClock
) -> None:
    first = await make(office, clock)
    assert first.local_part.startswith("ginza-gnavi-")
    assert (first.created_at_utc, first.accepted_until_utc) == (clock.now_utc(), None)
    assert await make(office, clock) == first
    other = await make(office, clock, site="tabelog")
    assert other.local_part != first.local_part
    assert await office.ask(queries.list_intake_addresses, office.mine) == [first, other]


async def test_two_who_ask_at_the_same_moment_get_the_same(office: Office, clock: VirtualClock) -> None:
    from django.db import connections

    def ask(_number: int) -> str:
        try:
            return services.create_intake_address(office.mine, shop_code="ekimae", site="retty", clock=clock).local_part
        finally:
            connections.close_all()

    def ask_all() -> set[str]:
        with ThreadPoolExecutor(6) as pool:
            return set(pool.map(ask, range(12)))

    assert len(await office.ask(ask_all)) == 1


async def test_after_a_rotation_both_are_accepted_and_the_new_one_is_shown(office: Office, clock: VirtualClock) -> None:
    first = await make(office, clock)
    clock.advance(DAY)
    turned = await rotate(office, clock, first.local_part.upper())
    assert turned.old.accepted_until_utc == clock.now_utc() + timedelta(days=90)
    assert not turned.old.is_retired(clock.now_utc() + timedelta(days=89))
    assert turned.old.is_retired(clock.now_utc() + timedelta(days=90))
    assert turned.new.accepted_until_utc is None
    assert await office.ask(queries.list_intake_addresses, office.mine) == [turned.new]
    everything = await office.ask(lambda: queries.list_intake_addresses(office.mine, with_replaced=True))
    assert everything == [turned.new, turned.old]
    assert await make(office, clock) == turned.new


async def test_rotating_twice_because_the_answer_was_lost_changes_nothing(office: Office, clock: VirtualClock) -> None:
    first = await make(office, clock)
    turned = await rotate(office, clock, first.local_part)
    clock.advance(DAY)
    assert await rotate(office, clock, first.local_part) == turned


async def test_a_rotation_that_is_killed_before_its_end_leaves_all_as_it_was(
    office: Office, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await make(office, clock)

    def die(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    def rotate_and_die() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(services, "_make", die)
            with pytest.raises(KeyboardInterrupt):
                services.rotate_intake_address(office.mine, first.local_part, clock=clock)

    await office.ask(rotate_and_die)
    assert await office.ask(queries.list_intake_addresses, office.mine) == [first]


async def test_retiring_ends_it_now_and_an_earlier_end_stays(office: Office, clock: VirtualClock) -> None:
    first = await make(office, clock)
    await rotate(office, clock, first.local_part)
    retired = await office.ask(lambda: services.retire_intake_address(office.mine, first.local_part, clock=clock))
    assert retired.accepted_until_utc == clock.now_utc()
    clock.advance(DAY)
    again = await office.ask(lambda: services.retire_intake_address(office.mine, first.local_part, clock=clock))
    assert again == retired


async def test_what_is_not_ours_is_not_touched(office: Office, clock: VirtualClock) -> None:
    first = await make(office, clock)
    for act in (services.rotate_intake_address, services.retire_intake_address):
        with pytest.raises(AddressMissing):
            await office.ask(lambda act=act: act(office.other, first.local_part, clock=clock))
    with pytest.raises(ProjectMissing):
        await office.ask(lambda: services.rotate_intake_address("nobody", first.local_part, clock=clock))
    with pytest.raises(ValueError, match="overlap"):
        await rotate(office, clock, first.local_part, overlap=timedelta(seconds=-1))
    with pytest.raises(ValueError, match="intake address"):
        await make(office, clock, local_part="two words")
    assert await office.ask(queries.list_intake_addresses, office.mine) == [first]


async def test_an_address_is_never_given_to_another_project_not_even_when_it_is_retired(
    office: Office, clock: VirtualClock
) -> None:
    first = await make(office, clock)
    await rotate(office, clock, first.local_part, overlap=timedelta(0))
    with pytest.raises(AddressTaken):
        await office.ask(
            lambda: services.create_intake_address(
                office.other, shop_code="ginza", site="gnavi", clock=clock, local_part=first.local_part
            )
        )


async def test_the_door_knows_the_old_and_the_new_one_and_whose_they_are_for_ever(
    office: Office, clock: VirtualClock, gnavi: Callable[..., bytes]
) -> None:
    first = await make(office, clock)
    await publish_addresses(office.bus)
    turned = await rotate(office, clock, first.local_part, overlap=timedelta(days=30))
    # whoever rotated was killed before the mirror: the next one brings both
    assert await publish_addresses(office.bus) == 2
    assert await publish_addresses(office.bus) == 0
    clock.advance(31 * DAY)
    assert await publish_addresses(office.bus) == 0, "the end was written at the rotation: nobody has to come back"
    known = await routes(office)
    assert known[first.local_part].accepted_until_utc == turned.old.accepted_until_utc
    assert known[turned.new.local_part] == Route(project_id=office.mine, shop_code="ginza", site="gnavi")
    book = RouteBook(office.bus)
    await book.start()
    await book.until_ready(10)
    route = book.resolve(f"{first.local_part}+line@in.example.com")
    assert route is not None
    assert (route.project_id, route.accepted_until_utc) == (office.mine, turned.old.accepted_until_utc)
    door = SmtpDoor(office.writer, book, "in.example.com")
    port = await door.start("127.0.0.1", 0)
    await _send(port, f"{first.local_part}+line@in.example.com", gnavi("G1"))
    await door.stop()
    await book.stop()
    assert await office.balance(UNROUTED_PROJECT) == {"arrived": 0, "pending": 0}
    assert (await office.balance())["arrived"] == 1


async def _send(port: int, rcpt_to: str, raw: bytes) -> None:
    import asyncio
    import smtplib

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("a@b.example", [rcpt_to], raw)

    await asyncio.to_thread(send)


async def test_the_end_of_an_address_is_found_by_recipient_as_written(office: Office, clock: VirtualClock) -> None:
    first = await make(office, clock)
    turned = await rotate(office, clock, first.local_part)
    until = turned.old.accepted_until_utc
    spelled = [f"{first.local_part.upper()}@IN.example.com", f"{first.local_part}+x+y@in.example.com"]
    asked = [*spelled, f"{turned.new.local_part}@in.example.com", "", "postmaster"]
    assert await office.ask(addresses.ends_of_addresses, office.mine, asked) == dict.fromkeys(spelled, until)
    assert await office.ask(addresses.ends_of_addresses, office.other, asked) == {}


async def test_who_still_writes_to_the_old_address_can_be_counted(
    office: Office, clock: VirtualClock, gnavi: Callable[..., bytes]
) -> None:
    first = await make(office, clock)
    await office.arrive(gnavi("G0"), rcpt_to=f"{first.local_part}@in.example.com")
    clock.advance(DAY)
    turned = await rotate(office, clock, first.local_part)
    since = clock.now_utc()
    old, new = first.local_part, turned.new.local_part
    await office.arrive(gnavi("G1"), rcpt_to=f"{old.upper()}@in.example.com")
    clock.advance(DAY)
    await office.arrive(gnavi("G2"), rcpt_to=f"{old}+x@in.example.com")
    await office.arrive(gnavi("G3"), rcpt_to=f"{new}@in.example.com")
    assert await office.reader().drain() == 4
    found = await office.ask(lambda: addresses.uses_of_addresses(office.mine, [old, new, "nobody"], since_utc=since))
    assert found == {
        old: addresses.AddressUse(2, clock.now_utc()),
        new: addresses.AddressUse(1, clock.now_utc()),
    }
    assert (
        await office.ask(
            lambda: addresses.uses_of_addresses(office.other, [old], since_utc=datetime(2020, 1, 1, tzinfo=UTC))
        )
        == {}
    )
