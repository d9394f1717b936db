"""What keeps recording quick: one connection for many batches, and a planner that knows how large the tables are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.db import connection

from todoku.intake import store
from todoku.intake.errors import BookUnavailable
from todoku.intake.recording import record
from todoku.intake.statistics import FEWEST_ROWS, FreshStatistics

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office

Gnavi = Callable[..., bytes]


def server_process() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def last_count_utc() -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_analyze FROM pg_stat_user_tables WHERE relname = 'intake_incomingmail'")
        counted_utc: datetime | None = cursor.fetchone()[0]
    return counted_utc


async def test_batches_share_a_connection_until_it_breaks(office: Office) -> None:
    def batches() -> None:
        record(office.mine, [])
        first = server_process()
        record(office.mine, [])
        assert server_process() == first
        end_server_process(first)
        with pytest.raises(BookUnavailable):
            record(office.mine, [])
        record(office.mine, [])
        assert server_process() != first

    await office.ask(batches)


def end_server_process(process: int) -> None:
    parameters = connection.get_connection_params()
    parameters = {key: value for key, value in parameters.items() if key in {"dbname", "user", "host", "port"}}
    with psycopg.connect(**parameters, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [process])


async def test_the_planner_is_told_when_the_mails_have_doubled(office: Office, gnavi: Gnavi) -> None:
    await office.arrive(*(gnavi(f"PL{n}") for n in range(30)))
    await office.reader().drain()

    def grow() -> None:
        before_utc = last_count_utc()
        statistics = FreshStatistics()
        statistics.grown_by(FEWEST_ROWS - 1)
        assert last_count_utc() == before_utc
        statistics.grown_by(1)
        assert last_count_utc() != before_utc
        assert store.counted_rows() >= 30

    await office.ask(grow)
