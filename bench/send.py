"""How fast a sealed campaign leaves, beside Postfix's smtp-source into the same sink, in the same run.

    python bench/send.py [--json] [--messages N] [--connections N] [--rounds N]

Seals N personalised messages of about 4 KB, sends them with one sender process, journal and ledger on, and counts
them at a sink in a process of its own (bench/counting_sink.py). The clock runs from posting the run until the journal
holds the last outcome. The reference is `smtp-source -d` (C, one constant message, no record) over as many
connections, with as many messages of 4,096 octets (ours have a little more), into the same sink. References and rounds
of ours alternate, so that a busy machine is busy for both; a round counts against the mean of its two neighbours, and
medians are printed, the ratios of all rounds beside them. NATS stores with sync_interval: always. Engines are started
in a temporary home; TODOKU_DATABASE_URL and TODOKU_NATS_URL name others.
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
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop

BENCH = Path(__file__).resolve().parent
PROJECT_ID = "bench"
MESSAGE_BYTES = 4096
HOW_TO_GET = "smtp-source is missing: `apt install postfix` (or another package with Postfix's test programs)"

SUBJECT = "{{ guest_name }} 様へ、秋のお席のご案内"
STYLE = (
    "body{margin:0;background:#f6f3ee;color:#222;font-family:sans-serif;line-height:1.8}"
    "main{max-width:36em;margin:auto;padding:2em;background:#fff}h1{font-size:1.3em}"
    ".button{display:inline-block;padding:.8em 2em;background:#a33;color:#fff;text-decoration:none}"
    "footer{margin-top:3em;font-size:.85em;color:#777}"
)
PARAGRAPH = (
    "<p>朝晩の風が涼しくなってまいりました。料理長が市場で選んだ秋の食材を、炭火でゆっくりと焼き上げます。"
    "きのこの土瓶蒸し、戻り鰹の藁焼き、新米の釜炊きごはんなど、この季節だけの献立をご用意してお待ちしております。"
    "個室のお席もございますので、ご家族でのお集まりにもどうぞご利用ください。</p>\n"
)
HTML = (
    "<!doctype html><html lang=ja><head><meta charset=utf-8><title>秋のご案内</title>"
    f"<style>{STYLE}</style></head><body><main><h1>{{{{ guest_name }}}} 様</h1>\n"
    "<p>いつも {{ shop_name }} をご利用いただき、ありがとうございます。"
    "次は {{ visits }} 回目のご来店ですね。</p>\n"
    + PARAGRAPH
    * 5
    + '<p><a class=button href="https://todoku.example/r?g={{ visits }}">{{ guest_name }} 様のお席を予約する</a></p>\n'
    "<footer>{{ sender_name }}<br>{{ postal_address }}<br>{{ contact }}<br>"
    '<a href="{{ unsubscribe_url }}">配信停止</a></footer></main></body></html>\n'
)
TEXT = (
    "{{ guest_name }} 様\n\nいつもありがとうございます。{{ visits }} 回目のご来店をお待ちしております。\n"
    "{{ sender_name }} {{ postal_address }} {{ contact }}\n配信停止: {{ unsubscribe_url }}\n"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is."""

    home: Path
    nats_url: str
    database_url: str
    sink_port: int
    connections: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
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
        os.environ.update(_environment(stage))
        _migrate()
        sender = _child(stack, "sender", *([options.profile] if options.profile else []))
        projector = _child(stack, "projector")
        others = {"sink": sink.pid, "ledger": projector.pid}
        references = [_reference(stage, options.messages)]
        rounds = []
        for _ in range(options.rounds):
            rounds.append(uvloop.run(_send(stage, options.messages, sender, others)))
            references.append(_reference(stage, options.messages))
        statements = _last_words(projector)["statements"]
        _end(sender)
    return _figures(rounds, references, statements, options.messages)


def _figures(rounds: list[dict[str, Any]], references: list[float], statements: int, messages: int) -> dict[str, Any]:
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
        "statements_per_1000": round(1000 * statements / messages / len(rounds), 2),
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


async def _send(stage: Stage, messages: int, sender: subprocess.Popen[str], others: dict[str, int]) -> dict[str, Any]:
    from todoku.bus.connection import Bus
    from todoku.delivery.engine.runs import put_order
    from todoku.delivery.engine.sealing import Sealer
    from todoku.delivery.engine.sender import close_run
    from todoku.delivery.ledger import queries
    from todoku.kernel.clock import SystemClock

    clock = SystemClock()
    bus = await Bus.connect(stage.nats_url, name="bench")
    await bus.declare()
    order = await Sealer(bus, clock).seal(_draft(), _audience(messages))
    _ask_sink(stage, "XRESET")
    pids = {"sender": sender.pid, **others}
    before = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    began_utc = clock.now_utc()
    await put_order(bus, replace(order, due_at_utc=began_utc))
    run_id = UUID(order.run_id)
    balance = await asyncio.to_thread(queries.balance, PROJECT_ID, run_id, messages)
    while balance.pending:
        if sender.poll() is not None:
            raise SystemExit(f"the sender ended with {sender.returncode}")
        await asyncio.sleep(0.2)
        balance = await asyncio.to_thread(queries.balance, PROJECT_ID, run_id, messages)
    closed_utc = clock.now_utc()
    last_utc = await _last_line_utc(bus, order.run_id)
    counts = _ask_sink(stage, "XSTAT")
    spent = {name: _cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    await close_run(bus, order)
    await bus.close()
    return {
        "messages_per_second": messages / (last_utc - began_utc).total_seconds(),
        "sent": balance.sent,
        "at_sink": counts["total"],
        "doubled": counts["total"] - counts["different"],
        "peak_rss_mb": _peak_rss_mb(sender.pid),
        "cpu_us": {name: round(1e6 * seconds / messages, 1) for name, seconds in spent.items()},
        "ledger_late": round((closed_utc - last_utc).total_seconds(), 2),
        "message_bytes": _message_bytes(order),
    }


async def _last_line_utc(bus: Any, run_id: str) -> Any:
    """Return when the journal took its last line of this run."""
    from todoku.bus.streams import JOURNAL

    moments = [message.published_at_utc async for message in bus.messages(JOURNAL, f"journal.{run_id}.>")]
    return max(moments)


def _draft() -> Any:
    from todoku.delivery.types import RunOrder
    from todoku.kernel.clock import SystemClock
    from todoku.kernel.ids import new_id

    now_utc = SystemClock().now_utc()
    return RunOrder(
        project_id=PROJECT_ID,
        run_id=str(new_id()),
        seal=1,
        state="sealed",
        due_at_utc=now_utc,
        latest_finish_at_utc=now_utc + timedelta(hours=6),
        subject_template=SUBJECT,
        html_template=HTML,
        text_template=TEXT,
        sender_name="とどく食堂",
        sender_address="shop@todoku.example",
        reply_to="contact@todoku.example",
        unsubscribe_base_url="https://todoku.example/u/",
        batches=0,
        to_send=0,
        not_sendable=0,
        content_hash="",
    )


def _audience(messages: int) -> Iterator[Any]:
    from todoku.delivery.types import SealChunk
    from todoku.kernel.ids import new_id

    for first in range(0, messages, 500):
        numbers = range(first, min(first + 500, messages))
        yield SealChunk([_recipient(number, str(new_id())) for number in numbers])


def _recipient(number: int, guest_id: str) -> Any:
    from todoku.delivery.types import Recipient

    name = f"見本 {number} 郎"
    values = {
        "guest_name": name,
        "shop_name": "とどく食堂 渋谷店",
        "visits": number % 20,
        "sender_name": "とどく食堂",
        "postal_address": "東京都架空区見本町1-2-3",
        "contact": "03-0000-0000",
        "unsubscribe_url": f"https://todoku.example/u/{number:060d}",
    }
    return Recipient(0, guest_id, f"guest.{number}@example.com", name, values)


def _message_bytes(order: Any) -> int:
    from todoku.content.rendering import make_renderer
    from todoku.delivery.engine.preparing import MessageMaker
    from todoku.kernel.clock import SystemClock

    renderer = make_renderer(order.subject_template, order.html_template, order.text_template)
    prepared = MessageMaker(order, renderer).make(0, _recipient(7, ""), SystemClock().now_utc(), eight_bit=True)
    return len(prepared.content)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


if __name__ == "__main__":
    main()
