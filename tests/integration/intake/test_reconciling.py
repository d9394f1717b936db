"""Counted from the other side: 766 of 6,300 mails do not load, are named, come twice, are there once.

TableCheck, 2020-10-27: 766 of 6,300 mails were not retrieved; processed again they made duplicates, and three days
later 199 were found that had never come (status page of the incident).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.sources.maildir_bench import MaildirBench

from todoku.credentials.cipher import SecretCipher, new_key
from todoku.credentials.inventory import CredentialBook
from todoku.intake import source_days
from todoku.intake.reconciling import Reconciler
from todoku.intake.source_days import compare, cursor_text
from todoku.intake.types import MailState
from todoku.kernel.clock import SystemClock
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.errors import CannotFetch
from todoku.sources.maildir import MaildirSource
from todoku.sources.registry import SourceBook, SourceEntry
from todoku.sources.types import Listed

from .conftest import Office, write_gnavi

MAILS, MISSED = 6_300, 766
NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
_NUMBERS = itertools.count(1)


@pytest.fixture
def bench(tmp_path: Path) -> MaildirBench:
    return MaildirBench(tmp_path / "mailbox")


@pytest.fixture
def source() -> str:
    return f"maildir-{next(_NUMBERS)}-{random.randrange(10**9)}"


class Refusing(MaildirSource):
    """A source that can't give some of its mails just now."""

    refused: frozenset[str] = frozenset()

    async def fetch(self, key: str) -> bytes:
        if key in self.refused:
            raise CannotFetch("the server is being configured")
        return await super().fetch(key)


def _fill(bench: MaildirBench, count: int) -> None:
    for number in range(count):
        (bench.folder / "new" / f"{number:05d}.host").write_bytes(write_gnavi(f"R{number:06d}", minute=number % 600))


async def _collector(office: Office, mails: MaildirSource, source: str) -> Collector:
    keys = await ArrivedKeys.load(office.bus, office.mine, source)
    return Collector(Place(office.mine, source, shop_code="ginza"), mails, office.writer, keys)


async def _reconciler(office: Office, bench: MaildirBench, source: str) -> tuple[Reconciler, SourceEntry]:
    inventory = CredentialBook(office.bus, SecretCipher([new_key()]), SystemClock())
    settings: dict[str, str | int | float | bool] = {"folder": str(bench.folder)}
    entry = SourceEntry(project_id=office.mine, source=source, kind="maildir", settings=settings)
    await SourceBook(office.bus).add(entry)
    return Reconciler(office.bus, inventory, SystemClock()), entry


async def _forget(office: Office, source: str) -> None:
    await SourceBook(office.bus).remove(office.mine, source)


async def test_mails_that_did_not_load_are_named_and_come_once(
    office: Office, bench: MaildirBench, source: str
) -> None:
    await asyncio.to_thread(_fill, bench, MAILS)
    long_ago = (SystemClock().now_utc() - timedelta(hours=3)).timestamp()
    for file in (bench.folder / "new").iterdir():
        os.utime(file, (long_ago, long_ago))
    refused = frozenset(f"{number:05d}.host" for number in random.Random(1).sample(range(MAILS), MISSED))
    mails = Refusing(bench.folder, SystemClock())
    mails.refused = refused
    look = await (await _collector(office, mails, source)).look()
    assert (look.arrived, len(look.failed)) == (MAILS - MISSED, MISSED)
    await office.reader().drain()
    reconciler, entry = await _reconciler(office, bench, source)
    sums = await reconciler.reconcile(entry)
    assert sums == {"seen": MAILS, "arrived": MAILS - MISSED, "pending": 0, "missing": MISSED, "surplus": 0}
    named = (await office.ask(source_days.totals, office.mine))[source].missing
    assert set(named) == refused, "each missing mail is named within one reconciliation"

    mails.refused = frozenset()  # processed again, twice, in any order, by two that do not know of each other
    await asyncio.gather(*[(await _collector(office, mails, source)).look() for _ in range(2)])
    await office.reader().drain()
    sums = await reconciler.reconcile(entry)
    assert sums == {"seen": MAILS, "arrived": MAILS, "pending": 0, "missing": 0, "surplus": 0}
    (day,) = await office.ask(source_days.days, office.mine, source, "Asia/Tokyo")
    assert day.states[MailState.APPLIED] == MAILS, "in the book once"
    assert set(day.states) <= {MailState.APPLIED, MailState.DUPLICATE}
    await _forget(office, source)


async def test_what_is_on_the_bus_and_not_read_is_pending_and_what_left_the_source_is_surplus(
    office: Office, bench: MaildirBench, source: str
) -> None:
    _fill(bench, 5)
    collector = await _collector(office, MaildirSource(bench.folder, SystemClock()), source)
    await collector.look()
    reconciler, entry = await _reconciler(office, bench, source)
    sums = await reconciler.reconcile(entry)
    assert sums == {"seen": 5, "arrived": 0, "pending": 5, "missing": 0, "surplus": 0}
    await office.reader().drain()
    (bench.folder / "new" / "00003.host").unlink()
    sums = await reconciler.reconcile(entry)
    assert sums == {"seen": 4, "arrived": 4, "pending": 0, "missing": 0, "surplus": 1}
    await _forget(office, source)


async def test_a_source_that_can_not_be_asked_keeps_its_last_counts_and_says_why(
    office: Office, bench: MaildirBench, source: str
) -> None:
    _fill(bench, 2)
    reconciler, entry = await _reconciler(office, bench, source)
    stop = asyncio.Event()
    assert await reconciler.reconcile_due(stop) >= 1
    before = await office.ask(source_days.days, office.mine, source, "Asia/Tokyo")
    assert sum(day.seen for day in before) == 2
    assert await reconciler.reconcile_due(stop) == 0, "an hour has not passed"
    await bench.break_off()
    assert await reconciler.reconcile(entry) is None
    assert await office.ask(source_days.days, office.mine, source, "Asia/Tokyo") == before
    _tried, _succeeded, why = (await office.ask(source_days.checks, office.mine))[source]
    assert "there is no folder" in why
    await _forget(office, source)


async def test_two_processes_do_not_reconcile_one_source_at_once(office: Office, source: str) -> None:
    now_utc = SystemClock().now_utc()
    first = await office.ask(source_days.claim, office.mine, source, None, now_utc)
    second = await office.ask(source_days.claim, office.mine, source, None, now_utc)
    assert (first, second) == (True, False)
    later_utc = now_utc + timedelta(hours=1)
    answers = [await office.ask(source_days.claim, office.mine, source, now_utc, later_utc) for _ in range(2)]
    assert answers == [True, False]


def test_days_are_those_of_the_project() -> None:
    listed = [
        Listed("a", datetime(2026, 11, 28, 14, 59, tzinfo=UTC)),
        Listed("b", datetime(2026, 11, 28, 15, 0, tzinfo=UTC)),
    ]
    days = compare(listed, [False, False], {}, NOW, "Asia/Tokyo")
    assert set(days) == {date(2026, 11, 28), date(2026, 11, 29)}


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=8), st.booleans(), st.booleans(), st.integers(0, 9)), max_size=40),
    st.sets(st.text(min_size=1, max_size=8), max_size=10),
)
def test_both_sides_always_add_up(mails: list[tuple[str, bool, bool, int]], elsewhere: set[str]) -> None:
    by_key = {key: (on_bus, in_books, days) for key, on_bus, in_books, days in mails}
    listed = [Listed(key, NOW - timedelta(days=days)) for key, (_, _, days) in by_key.items()]
    books: dict[str, datetime | None] = {cursor_text(key): NOW for key in elsewhere}
    books |= {cursor_text(key): NOW for key, (_, in_books, _) in by_key.items() if in_books}
    days = compare(listed, [on_bus for on_bus, _, _ in by_key.values()], books, NOW, "Asia/Tokyo")
    for count in days.values():
        assert count.seen == count.arrived + count.pending + len(count.missing)
    assert sum(count.seen for count in days.values()) == len(listed)
    assert sum(count.arrived + count.surplus for count in days.values()) >= len(books)


def test_long_names_keep_apart() -> None:
    one, two = cursor_text("予" * 3_000 + "1"), cursor_text("予" * 3_000 + "2")
    assert one != two
    assert len(one) <= 600
    assert cursor_text("short") == "short"
