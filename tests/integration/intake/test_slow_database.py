"""Mails come in while the database is a hundred times slower and then away: acknowledged, none lost, none doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from todoku.intake import reader
from todoku.reservations import queries as reservations

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office

COUNT = 150

# a row takes some 0.2 ms otherwise
_SLOW = """
CREATE FUNCTION todoku_test_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.02);
    RETURN NEW;
END $$;
CREATE TRIGGER todoku_test_slow BEFORE INSERT ON intake_incomingmail FOR EACH ROW EXECUTE FUNCTION todoku_test_slow();
"""


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


async def test_sources_are_acknowledged_and_the_books_balance_when_it_is_back(
    office: Office,
    gnavi: Callable[..., bytes],
    logged: Callable[[str], asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bus hands mails over again while they are still being recorded."""
    monkeypatch.setattr(reader, "ACK_WAIT_SECONDS", 0.5)
    away, recorded = logged("mail.book_away"), logged("mail.recorded")
    stop = asyncio.Event()
    await office.ask(_execute, _SLOW)
    running = asyncio.create_task(office.reader().run(stop))
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(office.arrive(gnavi(f"PL{number}")) for number in range(COUNT)))
            assert (await office.balance())["pending"] > 0, "sources waited for the database"
            await recorded.wait()
            await office.ask(_execute, "ALTER TABLE intake_incomingmail RENAME TO intake_away")
            try:
                await office.arrive(*(gnavi(f"PL{number}") for number in range(COUNT, COUNT + 20)))
                await away.wait()
            finally:
                await office.ask(_execute, "ALTER TABLE intake_away RENAME TO intake_incomingmail")
            recorded.clear()
            while (await office.balance())["pending"]:
                await recorded.wait()
                recorded.clear()
            stop.set()
            await running
    finally:
        stop.set()
        await office.ask(_execute, "DROP FUNCTION todoku_test_slow() CASCADE")
    await office.reader().drain()
    assert await office.balance() == {"arrived": COUNT + 20, "pending": 0, "applied": COUNT + 20}
    assert len(await office.ask(reservations.online, office.mine, limit=1000)) == COUNT + 20
