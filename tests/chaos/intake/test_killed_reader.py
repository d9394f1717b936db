"""kill -9 of a reader at random moments: the balance closes, nothing is doubled, the book is the one it must be."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.projects.types import ProjectInfo
from todoku.sources.arrivals import ArrivalWriter
from todoku.vault import open_vault

PROJECT = "chaos-intake"
BOOKINGS = 300
KILLS = 6
Result = TypeVar("Result")

READER = """
import asyncio, sys
from pathlib import Path
import django
django.setup()
from todoku.bus.connection import Bus
from todoku.intake.reader import MailReader
from todoku.kernel.clock import SystemClock
from todoku.vault import open_vault

async def main(nats_url, folder):
    bus = await Bus.connect(nats_url, name="chaos-reader")
    reader = MailReader(bus, open_vault("", Path(folder)), SystemClock())
    print("reading", flush=True)
    await reader.run(asyncio.Event())

asyncio.run(main(*sys.argv[1:]))
"""


def mail(reference: str, state: str, minute: int, party: int) -> bytes:
    return (
        "From: plan-reserve@gnavi.co.jp\nTo: shop@in.todoku.example\nSubject: ネット予約のお知らせ\n"
        f"Date: Fri, 20 Nov 2026 09:{minute:02d}:00 +0000\nMessage-ID: <{reference}.{minute}@gnavi.co.jp>\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n"
        "届屋 銀座本店 様 (abcd001)\n\n"
        f"［予約番号］ {reference}\n［状態］ {state}\n［来店日時］ 2026年11月28日(土) 19時00分\n"
        f"［来店人数］ {party}名\n"
        f"［予約者名］ 髙橋様\n［電話番号］ 090-0000-{int(reference[2:]) % 50:04d}\n"
    ).encode()


def story(chance: random.Random) -> list[bytes]:
    """Booking, a change and a cancel for every third, shuffled, with some mails handed over twice."""
    mails = []
    for number in range(BOOKINGS):
        reference = f"PL{number:08d}"
        mails.append(mail(reference, "確定済", 0, 2))
        if number % 2 == 0:
            mails.append(mail(reference, "確定済", 5, 4))
        if number % 3 == 0:
            mails.append(mail(reference, "キャンセル", 9, 4))
    mails += chance.sample(mails, 40)
    chance.shuffle(mails)
    return mails


async def ask(question: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    from django.db import connections

    def call() -> Result:
        try:
            return question(*arguments, **named)
        finally:
            connections.close_all()

    return await asyncio.to_thread(call)


async def line_with(child: asyncio.subprocess.Process, words: bytes) -> None:
    assert child.stdout is not None
    line = b""
    while words not in line:
        line = await child.stdout.readline()
        assert line, "the reader ended by itself"


async def test_a_reader_killed_again_and_again_loses_and_doubles_nothing(
    own_nats_url: str, database: None, database_url: str, clock: VirtualClock, tmp_path: Path
) -> None:
    from todoku.guests import queries as guests
    from todoku.intake import queries
    from todoku.intake.counting import count_on_bus
    from todoku.intake.reader import MailReader
    from todoku.intake.types import MailState
    from todoku.projects import services as projects
    from todoku.reservations import queries as reservations

    def count_rows() -> int:
        return sum(queries.balance(PROJECT, None).states.values())

    unread: list[int] = []
    chance = random.Random(20201105)
    mails = story(chance)
    await ask(projects.save_project, ProjectInfo(PROJECT, PROJECT, "Asia/Tokyo", "", "", "", ""), clock=clock)
    bus = await Bus.connect(own_nats_url, name="chaos")
    vault = open_vault("", tmp_path / "vault")
    try:
        await bus.declare()
        await bus.purge(MAIL, "mail.>")
        writer = ArrivalWriter(vault, bus, SystemClock())
        environment = {**os.environ, "TODOKU_DATABASE_URL": database_url}
        handed_over = 0
        for number in range(KILLS):
            portion = mails[number::KILLS]
            handed_over += len(portion)
            await asyncio.gather(*(writer.accept(raw, project_id=PROJECT, source="smtp") for raw in portion))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", READER, own_nats_url, str(tmp_path / "vault"),
                env=environment, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            # every other one dies while it begins, the others around their first commit
            await line_with(child, b"reading" if number % 2 else b"mail.recorded")
            await asyncio.sleep(chance.uniform(0.0, 0.1 if number % 2 else 0.03))
            child.send_signal(signal.SIGKILL)
            await child.communicate()
            unread.append(handed_over - await ask(count_rows))
        await MailReader(bus, vault, SystemClock()).drain()
        on_bus = await count_on_bus(bus, PROJECT)
    finally:
        await bus.close()
        await vault.close()
    assert any(unread), "some kill must fall into the middle of the work"
    balance = await ask(queries.balance, PROJECT, on_bus)
    assert (balance.arrived, balance.pending) == (len(mails), 0)
    assert balance.states[MailState.DUPLICATE] == 40
    assert balance.states[MailState.HELD] == balance.states[MailState.UNREADABLE] == 0
    rows = await ask(reservations.online, PROJECT, limit=10_000)
    assert len(rows) == len({row.reference for row in rows}) == BOOKINGS
    expected = Counter(
        ("cancelled" if number % 3 == 0 else "booked", 2 if number % 2 and number % 3 else 4)
        for number in range(BOOKINGS)
    )
    assert Counter((row.state.value, row.party_size) for row in rows) == expected
    assert await ask(guests.count, PROJECT) == 50
