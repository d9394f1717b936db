"""How punctually runs start: hundreds due in the same second, one huge run under way, the database well, slow, gone.

    python bench/punctual.py [--json] [--runs N] [--recipients N] [--huge N] [--slower N] [--only NAME ...]

Three times the same: `plan`, `send` and `book` run as processes of their own, N runs of some recipients each are
scheduled for one second and sealed, one huge run is due five seconds before them. Half a minute before the due second
the wire to PostgreSQL stays as it is (healthy), becomes so many times slower than it was measured (slow), or is cut
(gone); it is restored when everything is at the sink. A start is the end of a run's first message at the sink, by the
sink's own clock on the same machine. Then every ledger must close: `closed` of `runs`, nothing stopped, nobody doubled.

The lead is set to 20 seconds, so that the seal of "a day before" is made at once and its refresh falls into the fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

if TYPE_CHECKING:
    from bench.many_guests import make_guests
else:
    from many_guests import make_guests

BENCH = Path(__file__).parent

SCENARIOS = ("healthy", "slow", "gone")
LEAD_SECONDS = 20.0
FAULT_BEFORE_SECONDS = 30.0
HUGE_BEFORE_SECONDS = 5.0
MANY, HUGE = "bench-many", "bench-huge"
ROLES = ("plan", "send", "book")
TEXT = "{{ guest_name }} 様\n{{ sender_name }} {{ postal_address }} {{ contact }}\n{{ unsubscribe_url }}\n"
HTML = (
    "<p>{{ guest_name }} 様、冬のご案内です。</p><p>{{ sender_name }} {{ postal_address }} {{ contact }}</p>"
    '<a href="{{ unsubscribe_url }}">配信停止</a>'
)


@dataclass(slots=True)
class Stage:
    """Where everything is. link: the wire between the roles and PostgreSQL."""

    options: argparse.Namespace
    home: Path
    database_url: str
    nats_url: str
    sink_port: int = 0
    link: Any = None
    roles: list[subprocess.Popen[bytes]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--recipients", type=int, default=200, help="of each of these runs")
    parser.add_argument("--huge", type=int, default=200_000, help="recipients of the run that is under way")
    parser.add_argument("--slower", type=float, default=100.0, help="how many times slower the database becomes")
    parser.add_argument("--only", nargs="*", choices=SCENARIOS, default=list(SCENARIOS))
    options = parser.parse_args()
    figures = _measure(options)
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from todoku.engines.nats import EmbeddedNats
    from todoku.engines.postgres import EmbeddedPostgres

    home = Path(tempfile.mkdtemp(prefix="todoku-bench-"))
    home.chmod(0o755)  # the embedded PostgreSQL may run as another user
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        postgres, nats = EmbeddedPostgres(home), EmbeddedNats(home)
        stage = Stage(options, home, postgres.start(), nats.start())
        stack.callback(postgres.stop)
        stack.callback(nats.stop)
        stack.callback(_end_all, stage)
        os.environ.update(
            TODOKU_HOME=str(home),
            TODOKU_DATABASE_URL=stage.database_url,
            TODOKU_NATS_URL=stage.nats_url,
            DJANGO_SETTINGS_MODULE="todoku.config.django_settings",
        )
        _prepare(options)
        scenarios: dict[str, Any] = {}
        for name in options.only:
            with ExitStack() as sink_stack:
                _start_sink(stage, sink_stack)
                scenarios[name] = asyncio.run(_scenario(stage, name))
    return {
        "runs": options.runs,
        "start_delay_seconds": {name: one.pop("start_delay_seconds") for name, one in scenarios.items()},
        "recipients_of_each": options.recipients,
        "huge": options.huge,
        "scenarios": scenarios,
    }


def _prepare(options: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    from todoku.config.logging import set_up_logging

    set_up_logging(level=logging.WARNING)
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from todoku.kernel.clock import SystemClock
    from todoku.projects import services
    from todoku.projects.types import ProjectInfo

    for project_id, guests in ((MANY, options.recipients), (HUGE, options.huge)):
        info = ProjectInfo(
            project_id,
            "見本食堂",
            "Asia/Tokyo",
            "見本食堂",
            f"shop@{project_id}.example",
            "東京都架空区1-2",
            "03-0000-0000",
        )
        services.save_project(info, clock=SystemClock())
        if guests:
            make_guests(project_id, guests)


# --- one scenario ---


async def _scenario(stage: Stage, name: str) -> dict[str, Any]:
    from todoku.drills.tcp_link import TcpLink

    stage.link = TcpLink(*_database_address(stage.database_url))
    await stage.link.start()
    try:
        _start_roles(stage)
        ahead_seconds = 45.0 + FAULT_BEFORE_SECONDS + stage.options.runs / 5 + stage.options.huge / 20_000
        due_utc = datetime.fromtimestamp(int(time.time() + ahead_seconds), UTC)
        runs = await asyncio.to_thread(_schedule, stage.options, due_utc)
        await _until_sealed(runs, due_utc)
        await _sleep_until(due_utc - timedelta(seconds=FAULT_BEFORE_SECONDS))
        slower_by = await _fault(stage, name)
        wanted = stage.options.runs * stage.options.recipients + stage.options.huge
        counts = await _until_sent(stage, wanted, due_utc)
        await stage.link.restore()
        states = await _until_closed(runs)
        return _figures(runs, counts, due_utc, states) | {"statement_delay_seconds": slower_by}
    except SystemExit:
        for role in ROLES:
            lines = (stage.home / f"{role}.log").read_text("utf-8", "replace").splitlines()
            print(f"--- {role}", *lines[-20:], sep="\n", file=sys.stderr)
        raise
    finally:
        await asyncio.to_thread(_end_all, stage)
        stage.roles.clear()
        await stage.link.stop()


def _figures(
    runs: dict[UUID, str], counts: dict[str, Any], due_utc: datetime, states: dict[str, int]
) -> dict[str, Any]:
    many = [run_id.hex for run_id, project_id in runs.items() if project_id == MANY]
    delays = sorted(counts["firsts"][run_id] - due_utc.timestamp() for run_id in many)
    return {
        "start_delay_seconds": {
            "p50": round(statistics.median(delays), 3),
            "p99": round(delays[min(len(delays) - 1, int(len(delays) * 0.99))], 3),
            "max": round(delays[-1], 3),
        },
        "earliest_seconds": round(delays[0], 3),
        "at_sink": counts["total"],
        "doubled": counts["total"] - counts["different"],
        "runs_by_state": states,
    }


def _schedule(options: argparse.Namespace, due_utc: datetime) -> dict[UUID, str]:
    """Schedule all runs; return their project by run id."""
    from todoku.campaigns import queries, services
    from todoku.campaigns.types import CampaignContent
    from todoku.guests.types import Audience
    from todoku.kernel.clock import SystemClock

    clock, runs = SystemClock(), {}
    plan = [(MANY, due_utc)] * options.runs
    if options.huge:
        plan.append((HUGE, due_utc - timedelta(seconds=HUGE_BEFORE_SECONDS)))
    for number, (project_id, at_utc) in enumerate(plan):
        content = CampaignContent("{{ guest_name }} 様へ", HTML, TEXT)
        name = f"{due_utc:%H:%M:%S} {number}"
        campaign_id = services.create(
            project_id, name=name, content=content, audience=Audience(), by="bench", clock=clock
        )
        services.schedule(project_id, campaign_id, due_at_utc=at_utc, by="bench", clock=clock)
        row = queries.get(project_id, campaign_id)
        assert row.run is not None, "a scheduled campaign has a run"
        runs[row.run.id] = project_id
    return runs


async def _until_sealed(runs: dict[UUID, str], due_utc: datetime) -> None:
    latest = due_utc - timedelta(seconds=FAULT_BEFORE_SECONDS)
    while True:
        states = await asyncio.to_thread(_states, runs)
        if states.get("sealed", 0) == len(runs):
            return
        if datetime.now(UTC) >= latest:
            raise SystemExit(f"not all runs were sealed in time: {states}; this machine needs fewer --runs")
        await asyncio.sleep(1.0)


async def _fault(stage: Stage, name: str) -> float:
    if name == "gone":
        await stage.link.cut()
    if name != "slow":
        return 0.0
    healthy_seconds = await asyncio.to_thread(_statement_seconds)
    stage.link.delay_seconds = healthy_seconds * (stage.options.slower - 1) / 2  # there and back
    return round(float(healthy_seconds * stage.options.slower), 4)


async def _until_sent(stage: Stage, wanted: int, due_utc: datetime) -> dict[str, Any]:
    longest = due_utc + timedelta(seconds=120 + wanted / 500)
    while True:
        counts = await asyncio.to_thread(_ask_sink, stage.sink_port)
        if counts["total"] >= wanted:
            return counts
        if datetime.now(UTC) > longest:
            raise SystemExit(f"{counts['total']} of {wanted} messages are at the sink; nothing more comes")
        await asyncio.sleep(1.0)


async def _until_closed(runs: dict[UUID, str]) -> dict[str, int]:
    longest_seconds = time.monotonic() + 300
    while True:
        states = await asyncio.to_thread(_states, runs)
        if states.get("finished", 0) == len(runs) or time.monotonic() > longest_seconds:
            return states
        await asyncio.sleep(1.0)


def _states(runs: dict[UUID, str]) -> dict[str, int]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT state, count(*) FROM campaigns_run WHERE id = ANY(%s) GROUP BY state", [list(runs)])
        return dict(cursor.fetchall())


def _statement_seconds() -> float:
    """Return how long a plain statement of the planner takes now: the median of twenty."""
    from django.db import connection

    took: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, state, due_at FROM campaigns_run WHERE closed_at IS NULL ORDER BY due_at")
            cursor.fetchall()
        took.append(time.monotonic() - began)
    return statistics.median(took)


async def _sleep_until(moment: datetime) -> None:
    await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


# --- processes ---


def _start_roles(stage: Stage) -> None:
    parts = urlsplit(stage.database_url)
    environment = os.environ | {
        "TODOKU_DATABASE_URL": f"postgresql://{parts.username or 'todoku'}@127.0.0.1:{stage.link.port}{parts.path}",
        "TODOKU_RELAY_URL": f"smtp://127.0.0.1:{stage.sink_port}",
        "TODOKU_SEAL_LEAD_SECONDS": str(LEAD_SECONDS),
    }
    for role in ROLES:
        log = (stage.home / f"{role}.log").open("ab")
        command = [sys.executable, "-m", "todoku.cli.main", "run", role]
        stage.roles.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        log.close()


def _start_sink(stage: Stage, stack: ExitStack) -> None:
    sink = subprocess.Popen([sys.executable, str(BENCH / "punctual_sink.py"), "0"], stdout=subprocess.PIPE, text=True)
    stack.callback(sink.wait)
    stack.callback(sink.terminate)
    assert sink.stdout is not None
    stage.sink_port = int(sink.stdout.readline())


def _ask_sink(port: int) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rb") as answers:
        answers.readline()
        peer.sendall(b"XSTAT\r\n")
        counts: dict[str, Any] = json.loads(answers.readline()[4:])
    return counts


def _end_all(stage: Stage) -> None:
    for role in stage.roles:
        _end(role)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _database_address(url: str) -> tuple[str, int]:
    """Return host and port, or the path of the socket: `<folder>/.s.PGSQL.<port>`."""
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    host = query.get("host") or parts.hostname or "127.0.0.1"
    port = int(query.get("port") or parts.port or 5432)
    return (f"{host}/.s.PGSQL.{port}", 0) if host.startswith("/") else (host, port)


if __name__ == "__main__":
    main()
