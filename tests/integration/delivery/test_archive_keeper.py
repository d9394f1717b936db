"""Old months leave by themselves, and what stands in the way ends nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from structlog.testing import capture_logs
from tests.integration.delivery.delivery_world import until
from tests.integration.delivery.test_ledger_archive import NOW, filled_run, in_database

from todoku.delivery.ledger import archive as archive_module
from todoku.delivery.ledger.keeper import ArchiveKeeper

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(autouse=True)
def own_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    monkeypatch.setattr(settings, "TODOKU_HOME", tmp_path)
    monkeypatch.setattr(settings, "TODOKU_VAULT_URL", "")


@pytest.fixture
def old_run() -> UUID:
    return filled_run()


async def keep_until(keeper: ArchiveKeeper, event: str) -> list[str]:
    """Let the keeper work until the log has said this; return all that it said."""
    stop = asyncio.Event()
    with capture_logs() as told:
        task = asyncio.create_task(keeper.run(stop))
        await until(lambda: any(word["event"] == event for word in told))
        stop.set()
        await task
    return [word["event"] for word in told]


def quick_keeper(months: int) -> ArchiveKeeper:
    return ArchiveKeeper(months, NOW, look_seconds=0.05, first_look_seconds=0.0)


async def test_a_month_that_is_due_leaves_by_itself(old_run: UUID) -> None:
    await keep_until(quick_keeper(3), "ledger.month_archived")
    assert await sync_to_async(in_database)() == 0


async def test_a_month_that_is_not_due_stays(old_run: UUID) -> None:
    keeper = ArchiveKeeper(12, NOW)
    assert await sync_to_async(keeper.look)() == []
    assert await sync_to_async(in_database)() == 67


async def test_never_is_never(old_run: UUID) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(quick_keeper(0).run(stop))
    await asyncio.sleep(0.2)
    stop.set()
    await task
    assert await sync_to_async(in_database)() == 67


async def test_a_month_that_does_not_add_up_is_named_each_time_and_stays(old_run: UUID) -> None:
    def falsify() -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE run_tally SET sent = sent + 1 WHERE run_id = %s", [old_run])

    await sync_to_async(falsify)()
    told = await keep_until(quick_keeper(3), "ledger.month_not_archived")
    assert "ledger.month_archived" not in told
    assert await sync_to_async(in_database)() == 67


def test_while_another_archives_it_is_put_off(old_run: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [archive_module._LOCK_KEY])
        with capture_logs() as told, ThreadPoolExecutor(1) as other:
            assert other.submit(ArchiveKeeper(3, NOW).look).result() == []
        cursor.execute("SELECT pg_advisory_unlock(%s)", [archive_module._LOCK_KEY])
    assert [word["event"] for word in told] == ["ledger.archive_put_off"]
    assert in_database() == 67
