"""After an outage: so many missed, imported, late, doubled, and to be looked at by a person; counted, not guessed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.integration.sources.maildir_bench import MaildirBench

from todoku.bus.streams import LOOKS_BUCKET
from todoku.intake import backfills
from todoku.intake.types import MailState
from todoku.kernel.clock import VirtualClock
from todoku.sources.arrived_keys import ArrivedKeys
from todoku.sources.collecting import Collector, Place
from todoku.sources.maildir import MaildirSource
from todoku.sources.outages import Outage
from todoku.sources.standing import StandingWriter, read_standings

from .conftest import Office, write_gnavi

BEFORE, MISSED, RENAMED, BROKEN = 5, 20, 3, 2


@pytest.fixture
async def source(office: Office) -> AsyncIterator[str]:
    name = f"maildir-{uuid4().hex[:8]}"
    yield name
    await office.bus.bucket(LOOKS_BUCKET).delete(f"{office.mine}.{name}")


async def _look(office: Office, bench: MaildirBench, source: str) -> None:
    """Look once, as a process does that was just started."""
    keys = await ArrivedKeys.load(office.bus, office.mine, source)
    clock = office.writer.clock
    assert isinstance(clock, VirtualClock)
    clock.advance(60.0)
    place = Place(office.mine, source)
    writer = StandingWriter(office.bus, clock, f"{office.mine}.{source}", "here", poll_seconds=60.0)
    await writer.load()
    await writer.looked(await Collector(place, MaildirSource(bench.folder, clock), office.writer, keys).look())


async def _outages(office: Office, source: str) -> tuple[Outage, ...]:
    return (await read_standings(office.bus, office.mine))[source].outages


async def test_what_came_of_an_outage_is_counted(office: Office, tmp_path: Path, source: str) -> None:
    bench = MaildirBench(tmp_path / "mailbox")
    new = bench.folder / "new"
    two_hours_ago = (office.writer.clock.now_utc() - timedelta(hours=2)).timestamp()

    def deliver(name: str, raw: bytes) -> None:
        (new / name).write_bytes(raw)
        os.utime(new / name, (two_hours_ago, two_hours_ago))

    for number in range(BEFORE):
        deliver(f"a{number}.host", write_gnavi(f"PL1{number}"))
    await _look(office, bench, source)
    await office.reader().drain()
    assert await _outages(office, source) == ()

    for number in range(MISSED - RENAMED - BROKEN):
        deliver(f"b{number}.host", write_gnavi(f"PL2{number}"))
    for number in range(RENAMED):  # the same mails under other names: fetched again, and nothing is doubled
        deliver(f"c{number}.host", write_gnavi(f"PL1{number}"))
    for number in range(BROKEN):
        deliver(f"d{number}.host", b"\0" * 40 + bytes([number]))
    await bench.break_off()
    await _look(office, bench, source)
    (lasting,) = await _outages(office, source)
    assert lasting.why.startswith("missing")
    assert lasting.recovered_utc is None
    empty = await office.ask(backfills.report, office.mine, source, lasting, office.writer.clock.now_utc())
    assert (empty.imported, empty.late_by) == (0, None)

    await bench.restore()
    await _look(office, bench, source)
    await office.reader().drain()
    (outage,) = await _outages(office, source)
    assert (outage.missed, outage.arrived, outage.vanished, outage.failed) == (MISSED, MISSED, 0, 0)
    assert outage.caught_up_utc is not None
    report = await office.ask(backfills.report, office.mine, source, outage, office.writer.clock.now_utc())
    assert (report.imported, report.duplicates, report.need_a_person) == (MISSED, RENAMED, BROKEN)
    assert report.states[MailState.APPLIED] == MISSED - RENAMED - BROKEN
    assert report.late_by is not None
    assert timedelta(hours=2) <= report.late_by < timedelta(hours=2, minutes=10)
    await _look(office, bench, source)
    assert await _outages(office, source) == (outage,), "it is kept, and ends once"
