"""Each mail of a source arrives once, whatever happens in between: real files, vault and bus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.sources.conftest import Intake
from tests.integration.sources.maildir_bench import MaildirBench

from todoku.bus.streams import ARRIVED_BUCKET, MAIL
from todoku.sources import arrived_keys
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.types import Fetch, Look
from todoku.vault.errors import VaultUnavailable


@pytest.fixture
def bench(tmp_path: Path) -> MaildirBench:
    return MaildirBench(tmp_path / "mail")


async def _collector(intake: Intake, bench: MaildirBench) -> Collector:
    """Return a collector as a process has it that was just started."""
    place = Place(intake.project, "maildir-ginza", shop_code="ginza", site="tabelog")
    keys = await ArrivedKeys.load(intake.bus, place.project_id, place.source)
    return Collector(place, bench.open(), intake.writer, keys)


async def _deliver(bench: MaildirBench, count: int) -> None:
    for number in range(count):
        await bench.deliver(f"Subject: {number}\r\n\r\n".encode())


def _says(look: Look) -> tuple[Fetch, int | None, int, int, int]:
    return look.outcome, look.listed, look.fresh, look.arrived, look.left


async def test_each_mail_arrives_once_over_looks_and_restarts(intake: Intake, bench: MaildirBench) -> None:
    await _deliver(bench, 30)
    collector = await _collector(intake, bench)
    assert _says(await collector.look()) == (Fetch.FETCHED, 30, 30, 30, 0)
    assert _says(await collector.look()) == (Fetch.FETCHED, 30, 0, 0, 0)
    await _deliver(bench, 2)
    assert _says(await (await _collector(intake, bench)).look()) == (Fetch.FETCHED, 32, 2, 2, 0)
    arrivals = await intake.arrivals()
    assert len(arrivals) == len({arrival.cursor for arrival in arrivals}) == 32
    assert {(one.source, one.shop_code, one.site) for one in arrivals} == {("maildir-ginza", "ginza", "tabelog")}
    assert await intake.vault.get(arrivals[0].vault_key) in {f"Subject: {n}\r\n\r\n".encode() for n in range(30)}


async def test_nothing_there_and_could_not_look_are_two_things(intake: Intake, bench: MaildirBench) -> None:
    collector = await _collector(intake, bench)
    assert _says(await collector.look()) == (Fetch.FETCHED, 0, 0, 0, 0)
    await bench.break_off()
    look = await collector.look()
    assert _says(look) == (Fetch.COULD_NOT, None, 0, 0, 0)
    assert look.why.startswith("missing: there is no folder")
    await bench.restore()
    assert _says(await collector.look()) == (Fetch.FETCHED, 0, 0, 0, 0)


async def test_what_arrived_is_known_when_the_bus_has_forgotten_it(intake: Intake, bench: MaildirBench) -> None:
    """MAIL keeps arrivals for 90 days; a mailbox keeps its mails for years."""
    await _deliver(bench, 12)
    collector = await _collector(intake, bench)
    await collector.look()
    await collector._save()
    await intake.bus.purge(MAIL, f"mail.{intake.project}.*")
    await _deliver(bench, 1)
    assert _says(await (await _collector(intake, bench)).look()) == (Fetch.FETCHED, 13, 1, 1, 0)


async def test_a_snapshot_of_many_parts_replaces_the_one_before(
    intake: Intake, bench: MaildirBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrived_keys, "_PART_BYTES", 64)
    keys = await ArrivedKeys.load(intake.bus, intake.project, "s3-mails")
    for number in range(10):
        keys.add(f"mail/{number}")
    await keys.save()
    keys.forget_all_but([f"mail/{number}" for number in range(9)])
    await keys.save()
    again = await ArrivedKeys.load(intake.bus, intake.project, "s3-mails")
    assert [number for number in range(12) if f"mail/{number}" in again] == list(range(9))
    kept = [key for key in await intake.bus.bucket(ARRIVED_BUCKET).keys() if key.startswith(intake.project)]
    assert len(kept) == 1 + 3, "a head and its parts"


async def test_a_broken_snapshot_costs_duplicates_and_no_mail(intake: Intake, bench: MaildirBench) -> None:
    await _deliver(bench, 3)
    collector = await _collector(intake, bench)
    await collector.look()
    await collector._save()
    bucket = intake.bus.bucket(ARRIVED_BUCKET)
    for key in await bucket.keys():
        if key.startswith(f"{intake.project}.maildir-ginza.part"):
            await bucket.delete(key)
    look = await (await _collector(intake, bench)).look()
    assert _says(look)[:2] == (Fetch.FETCHED, 3)
    assert look.fresh in (0, 3), "known from MAIL, or fetched again"


async def test_a_vault_that_is_away_leaves_the_mails_where_they_are(
    intake: Intake, bench: MaildirBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _deliver(bench, 25)
    collector = await _collector(intake, bench)
    put, taken = intake.vault.put, 0

    async def full(project_id: str, content: bytes) -> object:
        nonlocal taken
        taken += 1
        if taken > 5:
            raise VaultUnavailable("no space left")
        return await put(project_id, content)

    with monkeypatch.context() as patch:
        patch.setattr(intake.vault, "put", full)
        look = await collector.look()
    assert (look.fresh, look.arrived) == (25, 5)
    assert look.left == 20
    assert "no space left" in look.why
    assert taken <= 5 + 3 + 2 * 8, "it goes on trying although nothing is taken"
    assert _says(await collector.look()) == (Fetch.FETCHED, 25, 20, 20, 0)


async def test_one_mail_that_can_not_be_fetched_does_not_stop_the_others(
    intake: Intake, bench: MaildirBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todoku.sources.maildir import source as module

    await _deliver(bench, 5)
    bench.put("9.large", b"x" * 2_000)
    monkeypatch.setattr(module, "MAX_MAIL_BYTES", 1_000)
    look = await (await _collector(intake, bench)).look()
    assert (look.fresh, look.arrived, look.left) == (6, 5, 0)
    assert [key for key, _ in look.failed] == ["9.large"]


async def test_it_goes_on_by_itself_and_ends_when_it_is_told(intake: Intake, bench: MaildirBench) -> None:
    collector = await _collector(intake, bench)
    stop, told = asyncio.Event(), asyncio.Queue[Look]()
    running = asyncio.create_task(collector.run(stop, told.put, poll_seconds=600.0))
    async with asyncio.timeout(60):
        assert (await told.get()).arrived == 0
        for _ in range(3):
            await _deliver(bench, 1)
            while (await told.get()).arrived == 0:
                pass
        stop.set()
        await running
    assert len(await intake.arrivals()) == 3
