"""The SMTP door learns whose mail it takes from KV, and KV from the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from todoku.bus.streams import ADDRESSES_BUCKET
from todoku.intake.errors import BookUnavailable
from todoku.intake.routes import publish_addresses
from todoku.kernel.clock import VirtualClock
from todoku.projects import services as projects
from todoku.sources.types import Route

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office


async def known(office: Office) -> dict[str, Route]:
    bucket = office.bus.bucket(ADDRESSES_BUCKET)
    entries = {key: await bucket.get(key) for key in await bucket.keys()}
    return {key: msgspec.msgpack.decode(entry.value, type=Route) for key, entry in entries.items() if entry}


def _retire(local_part: str, moment: datetime) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE projects_intakeaddress SET retired_at = %s WHERE local_part = %s", [moment, local_part])


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


async def test_addresses_are_mirrored_once_and_leave_when_they_are_gone(office: Office, clock: VirtualClock) -> None:
    bucket = office.bus.bucket(ADDRESSES_BUCKET)
    for key in await bucket.keys():
        await bucket.delete(key)
    stranger = msgspec.msgpack.encode(Route(project_id="elsewhere"))
    await bucket.put("r-stranger", stranger)
    for local_part, shop_code, site in (("r-ginza", "ginza", "gnavi"), ("r-any", None, None)):
        await office.ask(
            projects.create_intake_address,
            office.mine,
            shop_code=shop_code,
            site=site,
            clock=clock,
            local_part=local_part,
        )
    assert await publish_addresses(office.bus) == 2
    assert await publish_addresses(office.bus) == 0
    assert await known(office) == {
        "r-ginza": Route(project_id=office.mine, shop_code="ginza", site="gnavi"),
        "r-any": Route(project_id=office.mine),
        "r-stranger": Route(project_id="elsewhere"),
    }
    await office.ask(_retire, "r-ginza", clock.now_utc())
    assert await publish_addresses(office.bus) == 1
    assert (await known(office))["r-ginza"].accepted_until_utc == clock.now_utc()
    await office.ask(_execute, "DELETE FROM projects_intakeaddress WHERE local_part = 'r-ginza'")
    assert await publish_addresses(office.bus) == 1
    assert set(await known(office)) == {"r-any", "r-stranger"}


async def test_a_database_that_is_away_leaves_the_bus_as_it_is(office: Office) -> None:
    await office.ask(_execute, "ALTER TABLE projects_intakeaddress RENAME TO projects_away")
    try:
        before = await known(office)
        with pytest.raises(BookUnavailable):
            await publish_addresses(office.bus)
        assert await known(office) == before
    finally:
        await office.ask(_execute, "ALTER TABLE projects_away RENAME TO projects_intakeaddress")
