"""Intake, end to end and durable: mails per second, and how soon a mail is visible.

    python bench/intake.py [--json] [--mails N] [--connections C] [--readers N] [--rate R]
                           [--database-url U --nats-url U]

Real roles in processes of their own (one intake, N of read: as many as cores unless told otherwise), real engines in a
home made for the run, a client that pipelines. Three phases:
  flood    N mails as fast as the door takes them; mails_per_second = N / (first byte sent to last mail in the book).
           rss_mb: of each role at a quarter, at half and at the end of the mails: it must not grow with them.
  fetch    N more mails that lie in a Maildir when it becomes a source: fetched_mails_per_second = N / (source added to
           last mail in the book).
  calm     mails at a steady rate (50/s for 10 s); p99_visible_seconds = from the 250 to the live event that pages
           follow, which is published after the transaction that puts the mail into the book.
lost = answered with 250 or fetched, but without a state in the book; doubled = arrived more often than that.
Reference in the same run: the same client and mails into Postfix's `smtp-sink -d`, which writes each mail to a file
without fsync and reads nothing (missing? `apt install postfix`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
import uvloop

if TYPE_CHECKING:
    from bench.intake_stage import engines, free_port, open_port, prepare_project, roles
    from bench.machine import resident_mb
    from bench.smtp_load import send_all
    from bench.varied_mails import VariedMails

    from todoku.bus.connection import Bus
else:
    from intake_stage import engines, free_port, open_port, prepare_project, roles
    from machine import resident_mb
    from smtp_load import send_all
    from varied_mails import VariedMails

FINISH_WITHIN_SECONDS = 600.0
CALM_SECONDS = 10.0


@dataclass
class Options:
    """What the command line said."""

    mails: int
    connections: int
    readers: int
    rate: float
    database_url: str
    nats_url: str


class Stage(NamedTuple):
    """A running installation. project: id and local part of an address; pids: the roles' processes."""

    port: int
    project: tuple[str, str]
    pids: list[tuple[str, int]]


@dataclass
class Bench:
    """One prepared installation, and what the client has seen of it."""

    bus: Bus
    project_id: str
    address: bytes
    port: int
    pids: list[tuple[str, int]]
    answered: dict[UUID, float] = field(default_factory=dict)
    visible: dict[UUID, float] = field(default_factory=dict)

    def on_answer(self, line: bytes, now: float) -> None:
        """Note a 250: `250 2.0.0 kept as <arrival id>`."""
        self.answered[UUID(line.rsplit(b" ", 1)[1].decode("ascii"))] = now

    def on_event(self, subject: str, payload: bytes) -> None:
        """Note which arrivals a live page hears of."""
        now = time.monotonic()
        for arrival_id in msgspec.msgpack.decode(payload).get("arrival_ids", ()):
            self.visible.setdefault(UUID(arrival_id), now)


# ---- measuring


async def balance(bench: Bench) -> dict[str, int]:
    """Return arrived, and each state with its count."""
    from todoku.intake import queries
    from todoku.intake.counting import count_on_bus

    on_bus = await count_on_bus(bench.bus, bench.project_id)
    counted = await asyncio.to_thread(queries.balance, bench.project_id, on_bus)
    return {"arrived": counted.arrived, **{state.value: count for state, count in counted.states.items() if count}}


async def until_in_book(bench: Bench, count: int) -> float:
    """Wait until that many arrivals have a state; return when that was seen (looked at 20 times a second)."""
    deadline = time.monotonic() + FINISH_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if await in_book(bench) >= count:
            break
        await asyncio.sleep(0.05)
    return time.monotonic()


async def in_book(bench: Bench) -> int:
    """Return how many arrivals have a state."""
    counts = await balance(bench)
    return sum(counts.values()) - counts["arrived"]


async def memory_over(bench: Bench, first: int, mails: int) -> dict[str, list[float]]:
    """Return each role's resident megabytes when a quarter, half and all of the mails are in the book.

    first: how many were in it before.
    """
    readings: dict[str, list[float]] = {}
    for share in (0.25, 0.5, 1.0):
        await until_in_book(bench, first + int(share * mails))
        for number, (name, pid) in enumerate(bench.pids):
            readings.setdefault(f"{name}{number}", []).append(resident_mb(pid))
    return readings


async def flood(bench: Bench, samples: VariedMails, options: Options, warm: int) -> dict[str, Any]:
    """Flood, counting the warm-up mails as being in the book already."""
    mails = list(samples.take(options.mails, bench.address))
    memory = asyncio.create_task(memory_over(bench, warm, options.mails))
    began = time.monotonic()
    refused = await send_all(bench.port, iter(mails), options.connections, bench.on_answer)
    last_answer = max(bench.answered.values(), default=began)
    ended = await until_in_book(bench, warm + len(bench.answered))
    if refused:
        memory.cancel()
    return {
        "mails_per_second": len(bench.answered) / (ended - began),
        "door_mails_per_second": len(bench.answered) / max(last_answer - began, 1e-9),
        "refused": len(refused),
        "rss_mb": {} if refused else await memory,
    }


async def fetch(bench: Bench, samples: VariedMails, options: Options, home: Path) -> dict[str, float]:
    """Let a Maildir full of mails become a source, as after an outage."""
    from todoku.sources.registry import SourceBook, SourceEntry

    folder = home / "maildir"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for number, (_, content) in enumerate(samples.take(options.mails, bench.address)):
        (folder / "new" / f"{number}.bench").write_bytes(content.replace(b"\r\n..", b"\r\n."))
    before = await in_book(bench)
    began = time.monotonic()
    entry = SourceEntry(
        project_id=bench.project_id, source="maildir-bench", kind="maildir", settings={"folder": str(folder)}
    )
    await SourceBook(bench.bus).add(entry)
    ended = await until_in_book(bench, before + options.mails)
    return {
        "fetched_mails_per_second": options.mails / (ended - began),
        "fetched_lost": before + options.mails - await in_book(bench),
    }


async def calm(bench: Bench, samples: VariedMails, options: Options) -> dict[str, float]:
    """Send at a steady rate and measure how soon each mail is visible."""
    before = set(bench.answered)
    mails = samples.take(int(options.rate * CALM_SECONDS), bench.address)
    began = time.monotonic()
    sending = []
    for number, mail in enumerate(mails):
        await asyncio.sleep(max(0.0, began + number / options.rate - time.monotonic()))
        sending.append(asyncio.create_task(send_all(bench.port, iter([mail]), 1, bench.on_answer)))
    await asyncio.gather(*sending)
    fresh = set(bench.answered) - before
    for _ in range(200):
        if fresh <= bench.visible.keys():
            break
        await asyncio.sleep(0.05)
    waits = sorted(max(0.0, bench.visible[each] - bench.answered[each]) for each in fresh & bench.visible.keys())
    if not waits:
        return {"p50_visible_seconds": float("nan"), "p99_visible_seconds": float("nan"), "visible": 0}
    return {
        "p50_visible_seconds": waits[len(waits) // 2],
        "p99_visible_seconds": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
        "visible": len(waits),
    }


async def reference(samples: VariedMails, options: Options, home: Path) -> dict[str, Any]:
    """Send the same kind of mails into smtp-sink, which writes each to a file without fsync."""
    binary = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/lib/postfix/sbin")
    if binary is None:
        return {"reference": "smtp-sink is missing: apt install postfix", "reference_mails_per_second": None}
    folder = home / "smtp-sink"
    folder.mkdir()
    folder.chmod(0o777)  # as root, smtp-sink insists on writing as somebody else
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        binary, *user, "-d", str(folder / "%H%M."), f"127.0.0.1:{port}", "200"
    )
    answers: list[float] = []
    try:
        await open_port(port, "smtp-sink")
        mails = list(samples.take(options.mails, bench_address()))
        began = time.monotonic()
        await send_all(port, iter(mails), options.connections, lambda _, now: answers.append(now))
    finally:
        process.kill()
        await process.wait()
    rate = len(answers) / (max(answers, default=began) - began) if answers else None
    return {"reference": "smtp-sink -d, no fsync, nothing read", "reference_mails_per_second": rate}


def bench_address() -> bytes:
    """Return a recipient for the reference, which takes any."""
    return b"r-bench@in.todoku.example"


@contextlib.asynccontextmanager
async def prepared(nats_url: str, stage: Stage) -> AsyncIterator[Bench]:
    """Give a bench whose door is open and knows the address."""
    from todoku.bus.connection import Bus
    from todoku.bus.streams import event_subject
    from todoku.intake.routes import publish_addresses

    project_id, local_part = stage.project
    bus = await Bus.connect(nats_url, name="bench-intake")
    bench = Bench(bus, project_id, f"{local_part}@in.todoku.example".encode("ascii"), stage.port, stage.pids)
    try:
        await bus.declare()
        await publish_addresses(bus)
        live = await bus.subscribe_live(event_subject(project_id, "reservation"), bench.on_event)
        await open_port(stage.port, "the SMTP door")
        yield bench
        await live.stop()
    finally:
        await bus.close()


async def measure(options: Options, home: Path, nats_url: str, stage: Stage) -> dict[str, Any]:
    """Run both phases and the reference; return the report."""
    async with prepared(nats_url, stage) as bench:
        samples = VariedMails()
        await send_all(stage.port, samples.take(20, bench.address), 2, bench.on_answer)  # wakes the roles up
        await until_in_book(bench, 20)
        warm = len(bench.answered)
        report: dict[str, Any] = {}
        bench.answered.clear()
        report |= await flood(bench, samples, options, warm)
        report |= await fetch(bench, samples, options, home)
        report |= await calm(bench, samples, options)
        answered = len(bench.answered) + warm + options.mails  # those that were fetched are told of by their source
        await until_in_book(bench, answered)
        counts = await balance(bench)
        recorded = sum(counts.values()) - counts["arrived"]
        report |= {
            "arrived": counts.pop("arrived"),
            "applied": counts.get("applied", 0),
            "lost": max(0, answered - recorded),
            "doubled": max(0, recorded - answered),
            "answered": answered,
            "states": counts,
            "p99_visible_at_mails_per_second": options.rate,
        }
        report |= await reference(samples, options, home)
        return report


def main() -> int:
    """Parse, set up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--mails", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--readers", type=int, default=len(os.sched_getaffinity(0)), help="processes of the role read")
    parser.add_argument("--rate", type=float, default=50.0, help="mails per second of the calm phase")
    parser.add_argument("--database-url", default="", help="a running, empty PostgreSQL instead of an embedded one")
    parser.add_argument("--nats-url", default="", help="a running NATS that nobody else reads from")
    given = parser.parse_args()
    options = Options(given.mails, given.connections, given.readers, given.rate, given.database_url, given.nats_url)
    from todoku.config.logging import set_up_logging

    set_up_logging(level=logging.ERROR)
    home = Path(tempfile.mkdtemp(prefix="todoku-bench-"))
    home.chmod(0o755)  # the embedded PostgreSQL runs as another user when this runs as root
    try:
        with engines(home, options.database_url, options.nats_url) as (database_url, nats_url):
            port = free_port()
            os.environ |= {
                "TODOKU_HOME": str(home),
                "TODOKU_DATABASE_URL": database_url,
                "TODOKU_NATS_URL": nats_url,
                "TODOKU_SMTP_LISTEN": f"127.0.0.1:{port}",
                "TODOKU_MAIL_DOMAIN": "in.todoku.example",
            }
            project = prepare_project()
            with roles(home, ["intake"] + ["read"] * options.readers) as pids:
                report = uvloop.run(measure(options, home, nats_url, Stage(port, project, pids)))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:34} {value:,.3f}" if isinstance(value, float) else f"{name:34} {value}")
    return 1 if report["lost"] or report["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
