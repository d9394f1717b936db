"""A NATS of this room's own, a vault in a folder, two tenants, and mails in few words.

The reader's place in the MAIL stream is one for a whole NATS, so these tests do not share theirs with other rooms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import structlog

from todoku.bus.connection import Bus
from todoku.bus.streams import MAIL
from todoku.engines.nats import EmbeddedNats
from todoku.kernel.clock import SystemClock, VirtualClock
from todoku.projects.types import ProjectInfo, ShopInfo
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.types import Arrival
from todoku.vault import open_vault
from todoku.vault.types import Vault

if TYPE_CHECKING:
    from todoku.intake.reader import MailReader

MINE, OTHER = "intake-mine", "intake-other"
Result = TypeVar("Result")


def write_gnavi(
    reference: str,
    state: str = "確定済",
    *,
    minute: int = 0,
    party: str = "2名",
    name: str = "髙橋 花子",
    phone: str = "090-0000-0001",
) -> bytes:
    """One mail as ぐるなび writes it; minute: when it was issued on 2026-11-20, from 09:00 UTC on."""
    return (
        "From: plan-reserve@gnavi.co.jp\nTo: shop@in.todoku.example\nSubject: ネット予約のお知らせ\n"
        f"Date: Fri, 20 Nov 2026 {9 + minute // 60:02d}:{minute % 60:02d}:00 +0000\n"
        f"Message-ID: <{reference}.{minute}@gnavi.co.jp>\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n"
        "届屋 銀座本店 様 (abcd001)\n\n"
        f"［予約番号］ {reference}\n［状態］ {state}\n［来店日時］ 2026年11月28日(土) 19時00分\n［来店人数］ {party}\n"
        f"［予約者名］ {name}様\n［電話番号］ {phone}\n［コース］\n冬の鍋コース①\n"
    ).encode()


@dataclass
class Office:
    """What a test of intake works with; `mine` and `other` are two tenants with one shop each."""

    bus: Bus
    vault: Vault
    writer: ArrivalWriter
    home: Path
    nats_url: str
    mine: str = MINE
    other: str = OTHER

    def reader(self, **options: Any) -> MailReader:
        """A reader that is not running yet."""
        from todoku.intake.reader import MailReader

        return MailReader(self.bus, self.vault, SystemClock(), **options)

    async def arrive(self, *mails: bytes, project_id: str = MINE, **envelope: Any) -> list[Arrival]:
        """Let mails come in, one after the other."""
        return [await self.writer.accept(raw, project_id=project_id, source="smtp", **envelope) for raw in mails]

    async def ask(self, question: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Run a query on a thread, because Django refuses them on an event loop, and leave no connection behind."""
        from django.db import connections

        def call() -> Result:
            try:
                return question(*arguments, **named)
            finally:
                connections.close_all()

        return await asyncio.to_thread(call)

    async def balance(self, project_id: str = MINE) -> dict[str, int]:
        """Both sides of the balance: arrived by the bus, states by the book; states that no mail has are left out."""
        from todoku.intake import queries
        from todoku.intake.counting import count_on_bus

        counted = await self.ask(queries.balance, project_id, await count_on_bus(self.bus, project_id))
        states = {state.value: count for state, count in counted.states.items() if count}
        return {"arrived": counted.arrived, "pending": counted.pending, **states}


@pytest.fixture
def gnavi() -> Callable[..., bytes]:
    return write_gnavi


@pytest.fixture
async def logged() -> AsyncIterator[Callable[[str], asyncio.Event]]:
    """Hand out events that are set when the named action is logged, from whatever thread."""
    loop = asyncio.get_running_loop()
    awaited: dict[str, asyncio.Event] = {}

    def watch(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if entry["event"] in awaited:
            loop.call_soon_threadsafe(awaited[entry["event"]].set)
        return entry

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[watch, *before])
    try:
        yield lambda action: awaited.setdefault(action, asyncio.Event())
    finally:
        structlog.configure(processors=before)


@pytest.fixture(scope="session")
def own_nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = EmbeddedNats(tmp_path_factory.mktemp("intake-nats"))
    try:
        yield engine.start()
    finally:
        engine.stop()


@pytest.fixture
async def office(own_nats_url: str, database: None, clock: VirtualClock, tmp_path: Path) -> AsyncIterator[Office]:
    from todoku.intake.reader import DURABLE
    from todoku.projects import services as projects

    bus = await Bus.connect(own_nats_url, name="test-intake")
    vault = open_vault("", tmp_path / "vault")
    office = Office(bus, vault, ArrivalWriter(vault, bus, clock), tmp_path, own_nats_url)

    def tenants() -> None:
        for project_id in (MINE, OTHER):
            projects.save_project(ProjectInfo(project_id, project_id, "Asia/Tokyo", "", "", "", ""), clock=clock)
            projects.save_shops(project_id, [ShopInfo("ginza", "届屋 銀座本店", ("届屋 銀座本店", "abcd001"))])

    try:
        await office.ask(tenants)
        await bus.declare()
        await bus.delete_consumer(MAIL, DURABLE)
        await bus.purge(MAIL, "mail.>")
        yield office
    finally:
        await bus.close()
        await vault.close()
