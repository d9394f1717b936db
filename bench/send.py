"""How fast a sealed campaign leaves, beside Postfix's smtp-source into the same sink, in the same run.

    python bench/send.py [--json] [--messages N] [--connections N] [--rounds N] [--senders N]
                         [--dkim KIND] [--signing-processes N]

Seals N personalised messages of about 4 KB, sends them with one sender process, journal and ledger on, and counts
them at a sink in a process of its own (bench/counting_sink.py). The clock runs from posting the run until the journal
holds the last outcome. The reference is `smtp-source -d` (C, one constant message, no record) over as many
connections, with as many messages of 4,096 octets (ours have a little more), into the same sink. References and rounds
of ours alternate, so that a busy machine is busy for both; a round counts against the mean of its two neighbours, and
medians are printed, the ratios of all rounds beside them. `saturated` says what was the limit until the last outcome.
With --senders N each round also sends with N processes, and `scaling` is their throughput by that of one. With --dkim
rsa2048 or ed25519 all messages are signed, and `dkim_ratio` is their number a second by what `openssl speed` signs on
as many cores as there are signing processes (--signing-processes, all cores unless told otherwise: they are then also
those that make, carry and receive the messages). NATS stores with sync_interval: always. Engines are started in a
temporary home; TODOKU_DATABASE_URL and TODOKU_NATS_URL name others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import uvloop

if TYPE_CHECKING:
    from bench.machine import bottleneck, busy_seconds, children_named, cpu_seconds, peak_rss_mb
    from bench.send_campaign import PROJECT_ID, SENDER_ADDRESS, audience, draft, message_bytes
else:
    from machine import bottleneck, busy_seconds, children_named, cpu_seconds, peak_rss_mb
    from send_campaign import PROJECT_ID, SENDER_ADDRESS, audience, draft, message_bytes

BENCH = Path(__file__).resolve().parent
MESSAGE_BYTES = 4096
HOW_TO_GET = "smtp-source is missing: `apt install postfix` (or another package with Postfix's test programs)"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is."""

    home: Path
    nats_url: str
    database_url: str
    sink_port: int
    connections: int


@dataclass(frozen=True, slots=True)
class Look:
    """CPU seconds so far, of all cores and of each process; or what came since another look."""

    at_utc: datetime
    busy: float
    spent: dict[str, float]
    seconds: float = 0.0

    def since(self, earlier: Look) -> Look:
        """Return what was spent between two looks."""
        spent = {name: seconds - earlier.spent[name] for name, seconds in self.spent.items()}
        return Look(self.at_utc, self.busy - earlier.busy, spent, (self.at_utc - earlier.at_utc).total_seconds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, default=1, help="also with so many sender processes")
    parser.add_argument("--dkim", choices=["rsa2048", "ed25519"], help="sign every message")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--signing-processes", type=int, default=cores, help="of each sender; openssl gets as many cores"
    )
    parser.add_argument("--profile", help="write a cProfile of the sender to this file")
    options = parser.parse_args()
    _report(_measure(options), as_json=options.json)


def _report(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


# --- the measuring process ---


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="todoku-bench-"))
    home.chmod(0o755)  # the embedded PostgreSQL may run as another user
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        nats_url = _nats(home, stack)
        database_url = _database(home, stack)
        sink, sink_port = _sink(stack)
        stage = Stage(home, nats_url, database_url, sink_port, options.connections)
        os.environ.update(_environment(stage), TODOKU_BENCH_SIGNING_PROCESSES=str(options.signing_processes))
        _migrate()
        if options.dkim:
            _prepare_signing(home, options.dkim)
        senders = [_child(stack, "sender", *([options.profile] if options.profile else []))]
        projector = _child(stack, "projector")
        others = {"sink": sink.pid, "ledger": projector.pid}
        others |= children_named("nats-server") | children_named("postgres")
        references = [_reference(stage, options.messages)]
        openssl = [_openssl_rates(options.dkim, options.signing_processes)]
        rounds, crowds = [], []
        for _ in range(options.rounds):
            rounds.append(uvloop.run(_send(stage, options.messages, senders, others)))
            if options.senders > 1:
                crew = senders + [_child(stack, "sender") for _ in range(options.senders - 1)]
                crowds.append(uvloop.run(_send(stage, options.messages, crew, others)))
                for extra in crew[1:]:
                    _end(extra)
            references.append(_reference(stage, options.messages))
            openssl.append(_openssl_rates(options.dkim, options.signing_processes))
        statements = _last_words(projector)["statements"]
        _end(senders[0])
    figures = _figures(rounds, references, statements / (len(rounds) + len(crowds)), options.messages)
    if crowds:
        figures |= _scaling(rounds, crowds, options.senders)
    if options.dkim:
        figures |= _signing(openssl, _best(rounds, crowds), figures["cpu_us_per_message"]["sender"])
    return figures


def _best(rounds: list[dict[str, Any]], crowds: list[dict[str, Any]]) -> float:
    return max(_median(some, "messages_per_second") for some in (rounds, crowds) if some)


def _scaling(rounds: list[dict[str, Any]], crowds: list[dict[str, Any]], senders: int) -> dict[str, Any]:
    """Return how much more several senders do than one."""
    many = _median(crowds, "messages_per_second")
    return {
        "senders": senders,
        "senders_messages_per_second": round(many),
        "scaling": round(many / _median(rounds, "messages_per_second"), 3),
        "senders_doubled": sum(one["doubled"] for one in crowds),
        "senders_saturated": crowds[-1]["saturated"],
    }


def _prepare_signing(home: Path, kind: str) -> None:
    """Make a key for the senders."""
    from todoku.delivery.signing import KeyFolder
    from todoku.kernel.clock import SystemClock
    from todoku.mail.dkim import KeyKind, new_key

    domain = SENDER_ADDRESS.rpartition("@")[2]
    KeyFolder(home / "dkim", SystemClock()).add(new_key(domain, "bench", KeyKind(kind)), in_use=True)


def _openssl_rates(kind: str | None, cores: int) -> tuple[float, float]:
    """Return how many signatures openssl makes a second on so many cores, and a second of CPU."""
    if not kind:
        return 0.0, 0.0
    rates = []
    for options in (["-elapsed"], []):  # openssl counts CPU time unless told otherwise
        together = ["-multi", str(cores)] * (cores > 1)
        command = ["openssl", "speed", "-seconds", "3", *options, *together, kind]
        words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()
        rates.append(float(words[-2]))
    return rates[0], rates[1] / cores


def _signing(openssl: list[tuple[float, float]], messages_per_second: float, sender_us: float) -> dict[str, Any]:
    """Return our rates by openssl's. The ratio of CPU time says the same on a machine that others use too."""
    wall = statistics.mean(rate for rate, _ in openssl)
    cpu = statistics.mean(rate for _, rate in openssl)
    return {
        "openssl_signatures_per_second": round(wall),
        "dkim_ratio": round(messages_per_second / wall, 3),
        "dkim_cpu_ratio": round(1e6 / cpu / sender_us, 3),
    }


def _figures(rounds: list[dict[str, Any]], references: list[float], statements: float, messages: int) -> dict[str, Any]:
    """Return medians over the rounds; of the counts the worst, so that one message too few or too many is seen.

    A round's ratio is to the mean of the references before and after it.
    """
    for ours, before, after in zip(rounds, references, references[1:], strict=False):
        ours["ratio"] = 2 * ours["messages_per_second"] / (before + after) if before and after else None
    known = all(references)
    return {
        "messages_per_second": round(_median(rounds, "messages_per_second")),
        "reference_messages_per_second": round(statistics.median(references)) if known else None,
        "ratio": round(_median(rounds, "ratio"), 3) if known else None,
        "statements_per_1000": round(1000 * statements / messages, 2),
        "peak_rss_mb": max(one["peak_rss_mb"] for one in rounds),
        "planned": messages,
        "sent": min(one["sent"] for one in rounds),
        "at_sink": max((one["at_sink"] for one in rounds), key=lambda count: abs(count - messages)),
        "doubled": sum(one["doubled"] for one in rounds),
        "ratios": [round(one["ratio"], 3) for one in rounds] if known else [],
        "references": [round(one) for one in references],
        "cpu_us_per_message": {
            name: round(statistics.median(one["cpu_us"][name] for one in rounds), 1) for name in rounds[0]["cpu_us"]
        },
        "saturated": [one["saturated"] for one in rounds],
        "ledger_closed_seconds_after_last": _median(rounds, "ledger_late"),
        "message_bytes": rounds[0]["message_bytes"],
    }


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(one[name] for one in rounds))


def _nats(home: Path, stack: ExitStack) -> str:
    given = os.environ.get("TODOKU_NATS_URL")
    if given:
        return given
    from todoku.engines.nats import EmbeddedNats

    engine = EmbeddedNats(home)
    url = engine.start()
    stack.callback(engine.stop)
    return url


def _database(home: Path, stack: ExitStack) -> str:
    given = os.environ.get("TODOKU_DATABASE_URL")
    if given:
        return given
    from todoku.engines.postgres import EmbeddedPostgres

    engine = EmbeddedPostgres(home)
    url = engine.start()
    stack.callback(engine.stop)
    return url


def _sink(stack: ExitStack) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "counting_sink.py"), "0"], stdout=subprocess.PIPE, text=True
    )
    stack.callback(_end, process)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _child(stack: ExitStack, role: str, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "send_roles.py"), role, *more], stdout=subprocess.PIPE, text=True
    )
    stack.callback(_end, process)
    assert process.stdout is not None
    process.stdout.readline()  # "ready"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def _last_words(process: subprocess.Popen[str]) -> dict[str, Any]:
    _end(process)
    assert process.stdout is not None
    words: dict[str, Any] = json.loads(process.stdout.read().splitlines()[-1])
    return words


def _environment(stage: Stage) -> dict[str, str]:
    return {
        "TODOKU_HOME": str(stage.home),
        "TODOKU_NATS_URL": stage.nats_url,
        "TODOKU_DATABASE_URL": stage.database_url,
        "TODOKU_RELAY_URL": f"smtp://127.0.0.1:{stage.sink_port}",
        "TODOKU_BENCH_CONNECTIONS": str(stage.connections),
        "DJANGO_SETTINGS_MODULE": "todoku.config.django_settings",
    }


def _migrate() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", "ledger", verbosity=0, interactive=False)


def _reference(stage: Stage, messages: int) -> float:
    """Return messages per second of smtp-source, 0 when it is not there."""
    program = shutil.which("smtp-source")
    if program is None:
        print(HOW_TO_GET, file=sys.stderr)
        return 0.0
    command = [program, "-d", "-l", str(MESSAGE_BYTES), "-m", str(messages), "-s", str(stage.connections)]
    command += ["-f", "shop@todoku.example", "-t", "guest@example.com", f"127.0.0.1:{stage.sink_port}"]
    _ask_sink(stage, "XRESET")
    began = time.monotonic()
    subprocess.run(command, check=True)
    took = time.monotonic() - began
    taken = _ask_sink(stage, "XSTAT")["total"]
    if taken != messages:
        raise SystemExit(f"the reference is not comparable: smtp-source sent {messages}, the sink has {taken}")
    return messages / took


def _ask_sink(stage: Stage, command: str) -> dict[str, int]:
    with socket.create_connection(("127.0.0.1", stage.sink_port)) as peer, peer.makefile("rb") as answers:
        answers.readline()
        peer.sendall(command.encode() + b"\r\n")
        words = answers.readline()[4:]
    return json.loads(words) if words.startswith(b"{") else {}


async def _send(
    stage: Stage, messages: int, senders: list[subprocess.Popen[str]], others: dict[str, int]
) -> dict[str, Any]:
    from todoku.bus.connection import Bus
    from todoku.bus.streams import RUNS_BUCKET
    from todoku.delivery.engine.codec import encode_order
    from todoku.delivery.engine.sealing import Sealer
    from todoku.delivery.engine.sender import close_run
    from todoku.delivery.ledger import queries
    from todoku.kernel.clock import SystemClock

    clock = SystemClock()
    bus = await Bus.connect(stage.nats_url, name="bench")
    await bus.declare()
    order = await Sealer(bus, clock).seal(draft(), audience(messages))
    _ask_sink(stage, "XRESET")
    pids = {f"sender{number or ''}": sender.pid for number, sender in enumerate(senders)} | others
    began_utc = clock.now_utc()
    looks = [_look(began_utc, pids)]
    await bus.bucket(RUNS_BUCKET).put(order.run_id, encode_order(replace(order, due_at_utc=began_utc)))
    run_id = UUID(order.run_id)
    balance = await asyncio.to_thread(queries.balance, PROJECT_ID, run_id, messages)
    while balance.pending:
        if any(sender.poll() is not None for sender in senders):
            raise SystemExit(f"a sender ended with {[sender.returncode for sender in senders]}")
        await asyncio.sleep(0.1)
        looks.append(_look(clock.now_utc(), pids))
        balance = await asyncio.to_thread(queries.balance, PROJECT_ID, run_id, messages)
    closed_utc = clock.now_utc()
    last_utc = await _last_line_utc(bus, order.run_id)
    counts = _ask_sink(stage, "XSTAT")
    spent = looks[-1].since(looks[0]).spent
    under_way = [look for look in looks if look.at_utc <= last_utc][-1].since(looks[0])
    await close_run(bus, order)
    await bus.close()
    return {
        "messages_per_second": messages / (last_utc - began_utc).total_seconds(),
        "sent": balance.sent,
        "at_sink": counts["total"],
        "doubled": counts["total"] - counts["different"],
        "peak_rss_mb": max(peak_rss_mb(sender.pid) for sender in senders),
        "saturated": bottleneck(under_way.seconds, under_way.busy, under_way.spent),
        "cpu_us": {name: round(1e6 * seconds / messages, 1) for name, seconds in spent.items()},
        "ledger_late": round((closed_utc - last_utc).total_seconds(), 2),
        "message_bytes": message_bytes(order),
    }


def _look(at_utc: datetime, pids: dict[str, int]) -> Look:
    return Look(at_utc, busy_seconds(), {name: cpu_seconds(pid) for name, pid in pids.items()})


async def _last_line_utc(bus: Any, run_id: str) -> Any:
    """Return when the journal took its last line of this run."""
    from todoku.bus.streams import JOURNAL

    moments = [message.published_at_utc async for message in bus.messages(JOURNAL, f"journal.{run_id}.>")]
    return max(moments)


if __name__ == "__main__":
    main()
