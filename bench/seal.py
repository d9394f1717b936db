"""How fast an audience is sealed, beside a plain COPY of the same audience, in the same run.

    python bench/seal.py [--json] [--recipients N] [--rounds N]

Makes N guests (most have visits, 3 % gave no consent, 1 % are suppressed), schedules a campaign of names, visits,
shops and links for them, and lets one planner process seal it: audience read, values and unsubscribe link of each,
pre-flight of each, batches on SEND, run marked sealed, order in KV `runs`. The clock runs from the planner's start of
sealing to the order. Memory is that of the planner and of the process it makes for a big audience, sampled together.
The reference reads the same rows by the same COPY and throws them away. NATS stores with sync_interval: always. Engines
are started in a temporary home; TODOKU_DATABASE_URL and TODOKU_NATS_URL name others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import uvloop

if TYPE_CHECKING:
    from bench.send import _database, _end, _nats, _report
else:
    from send import _database, _end, _nats, _report  # the same stage as bench/send.py

SUBJECT = "{{ guest_name }} 様へ、秋のお席のご案内"
HTML = (
    "<p>{% if guest_name %}{{ guest_name }} 様{% else %}お客様{% endif %}</p><p>{{ shop_name }} へ {{ visits }} 回、"
    "{{ last_visit_on_ja }} までのご来店、ありがとうございます。</p>"
    "<footer>{{ sender_name }} {{ postal_address }} {{ contact }}"
    '<a href="{{ unsubscribe_url }}">配信停止</a></footer>'
)
TEXT = "{{ guest_name }} 様\n{{ sender_name }} {{ postal_address }} {{ contact }}\n配信停止: {{ unsubscribe_url }}\n"
_MANY = (
    """
    INSERT INTO guests_guest (id, project_id, name, kana, imported_name, imported_kana, time_zone)
    SELECT (lpad(to_hex(1790000000000 + n), 12, '0') || '7' || substr(md5(%(p)s || n), 1, 3) || '8'
            || substr(md5(%(p)s || n), 4, 15))::uuid, %(p)s,
        (ARRAY['佐藤','髙橋','見本','青山','川端','森下','東雲','小田切'])[1 + n %% 8] || ' ' || n, '', '', '', ''
    FROM generate_series(1, %(n)s) n
    """,
    """
    INSERT INTO guests_guestidentity (project_id, guest_id, kind, value, written)
    SELECT %(p)s, id, 'email', 'guest.' || n || '@m' || n %% 50 || '.example.com',
        'guest.' || n || '@m' || n %% 50 || '.example.com'
    FROM (SELECT id, row_number() OVER (ORDER BY id) n FROM guests_guest WHERE project_id = %(p)s) g
    """,
    """
    INSERT INTO guests_consent (project_id, comparable, address, given_at, source, wording)
    SELECT %(p)s, value, written, now(), 'form', 'yes'
    FROM (SELECT value, written, row_number() OVER (ORDER BY id) n FROM guests_guestidentity WHERE project_id = %(p)s) i
    WHERE n %% 33 <> 0
    """,
    """
    INSERT INTO guests_suppression (project_id, comparable, address, reason, evidence, since, lifted_by)
    SELECT %(p)s, value, written, 'bounced', '', now(), ''
    FROM (SELECT value, written, row_number() OVER (ORDER BY id) n FROM guests_guestidentity WHERE project_id = %(p)s) i
    WHERE n %% 100 = 0
    """,
    """
    INSERT INTO guests_visit (reservation_id, project_id, guest_id, site, reference, shop_code, start, party_size,
        counts_as_visit)
    SELECT gen_random_uuid(), %(p)s, id, 'hotpepper', 'R' || n, 'shop' || n %% 12,
        now() - (n %% 700) * interval '1 day', 2, true
    FROM (SELECT id, row_number() OVER (ORDER BY id) n FROM guests_guest WHERE project_id = %(p)s) g WHERE n %% 3 <> 0
    """,
    "ANALYZE guests_guest, guests_guestidentity, guests_consent, guests_suppression, guests_visit",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    _report(_measure(options), as_json=options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="todoku-bench-"))
    home.chmod(0o755)  # the embedded PostgreSQL may run as another user
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        os.environ |= {
            "TODOKU_HOME": str(home),
            "TODOKU_NATS_URL": _nats(home, stack),
            "TODOKU_DATABASE_URL": _database(home, stack),
            "DJANGO_SETTINGS_MODULE": "todoku.config.django_settings",
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        project_id = f"seal-{uuid4().hex[:12]}"
        stack.callback(_forget, project_id)
        _people(project_id, options.recipients)
        rounds = []
        for _ in range(options.rounds):
            reference = _reference(project_id)
            ours = _seal(project_id, stack)
            rounds.append(ours | {"reference": reference, "ratio": ours["recipients_per_second"] / reference})
    return _figures(rounds, options.recipients)


def _figures(rounds: list[dict[str, Any]], recipients: int) -> dict[str, Any]:
    def middle(name: str) -> float:
        return float(statistics.median(one[name] for one in rounds))

    return {
        "recipients_per_second": round(middle("recipients_per_second")),
        "seconds": round(middle("seconds"), 2),
        "reference_recipients_per_second": round(middle("reference")),
        "ratio": round(middle("ratio"), 3),
        "peak_rss_mb": round(max(one["peak_rss_mb"] for one in rounds), 1),
        "planner_rss_mb": round(max(one["planner_rss_mb"] for one in rounds), 1),
        "packer_rss_mb": round(max(one["packer_rss_mb"] for one in rounds), 1),
        "cpu_us_per_recipient": {
            name: round(statistics.median(one["cpu_us"][name] for one in rounds), 1) for name in rounds[0]["cpu_us"]
        },
        "statements": max(one["statements"] for one in rounds),
        "statements_per_1000": round(1000 * max(one["statements"] for one in rounds) / recipients, 3),
        "recipients": recipients,
        "planned": rounds[0]["planned"],
        "to_send": rounds[0]["to_send"],
        "not_sendable": rounds[0]["not_sendable"],
        "batches": rounds[0]["batches"],
        "sealed_mb": round(rounds[0]["sealed_bytes"] / 1e6, 1),
    }


def _people(project_id: str, count: int) -> None:
    from django.db import connection, transaction

    from todoku.kernel.clock import SystemClock
    from todoku.projects import services as projects
    from todoku.projects.types import ProjectInfo

    address = "東京都架空区見本町1-2-3"
    info = ProjectInfo(project_id, "見本", "Asia/Tokyo", "見本食堂", "news@shop.example", address, "03-0000-0000")
    projects.save_project(info, clock=SystemClock())
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in _MANY:
            cursor.execute(statement, {"p": project_id, "n": count})


def _forget(project_id: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for table in ("visit", "suppression", "consent", "guestidentity", "guest"):
            cursor.execute(f"DELETE FROM guests_{table} WHERE project_id = %s", [project_id])  # noqa: S608


def _reference(project_id: str) -> float:
    """Return people per second of the same COPY when nobody looks at what it says."""
    import psycopg

    from todoku.guests import queries
    from todoku.guests.types import Audience
    from todoku.kernel.clock import SystemClock

    clock = SystemClock()
    source = queries.audience_copy(project_id, Audience(), today=clock.now_utc().date(), clock=clock)
    began = time.monotonic()
    with (
        psycopg.connect(source.connection) as connection,
        connection.cursor() as cursor,
        cursor.copy(source.statement.encode()) as copy,
    ):
        people = sum(1 for _ in copy)
    return people / (time.monotonic() - began)


def _seal(project_id: str, stack: ExitStack) -> dict[str, Any]:
    from todoku.campaigns import queries, services
    from todoku.campaigns.types import CampaignContent
    from todoku.guests.types import Audience
    from todoku.kernel.clock import SystemClock

    clock = SystemClock()
    content = CampaignContent(SUBJECT, HTML, TEXT)
    by = "bench@example.com"
    campaign_id = services.create(project_id, name="秋", content=content, audience=Audience(), by=by, clock=clock)
    planner = _child_of_ours(stack)
    watched = psutil.Process(planner.pid)
    done = threading.Event()
    peaks: dict[str, Any] = {}
    watch = threading.Thread(target=_sample, args=(watched, peaks, done))
    watch.start()
    services.send_now(project_id, campaign_id, by="bench@example.com", clock=clock)
    run = queries.get(project_id, campaign_id).run
    assert run is not None
    found = uvloop.run(_until_ordered(run.id.hex))
    spent = watched.cpu_times()
    done.set()
    watch.join()
    planner.send_signal(signal.SIGINT)
    words: dict[str, Any] = json.loads(planner.communicate(timeout=30)[0].splitlines()[-1])
    seconds = found["ordered_at"] - words["began_at"]
    cpu_us = {  # of the packing process once it has ended
        "planner": 1e6 * (spent.user + spent.system) / found["planned"],
        "packer": 1e6 * (spent.children_user + spent.children_system) / found["planned"],
    }
    rate = found["planned"] / seconds
    return peaks | found | words | {"seconds": seconds, "recipients_per_second": rate, "cpu_us": cpu_us}


def _child_of_ours(stack: ExitStack) -> Any:
    here = Path(__file__).resolve().parent
    process = subprocess.Popen([sys.executable, str(here / "seal_planner.py")], stdout=subprocess.PIPE, text=True)
    stack.callback(_end, process)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "ready":
        pass
    return process


def _sample(planner: psutil.Process, peaks: dict[str, Any], done: threading.Event) -> None:
    """Note the largest sizes seen: of the planner, of what it made, and of both together."""
    peaks |= {"peak_rss_mb": 0.0, "planner_rss_mb": 0.0, "packer_rss_mb": 0.0}
    while not done.wait(0.02):
        sizes = [_rss_mb(planner), sum(map(_rss_mb, planner.children()))]
        for name, size in zip(tuple(peaks), (sum(sizes), *sizes), strict=True):
            peaks[name] = max(peaks[name], size)


async def _until_ordered(run_id: str) -> dict[str, Any]:
    from todoku.bus.connection import Bus
    from todoku.bus.streams import RUNS_BUCKET, SEND
    from todoku.delivery.engine.codec import decode_order

    bus = await Bus.connect(os.environ["TODOKU_NATS_URL"], name="bench-seal")
    place = f"KV_{RUNS_BUCKET}", f"$KV.{RUNS_BUCKET}.{run_id}"
    while (posted := await bus.last_message(*place)) is None:  # noqa: ASYNC110 - another process posts it
        await asyncio.sleep(0.02)
    order = decode_order(posted.payload)
    stored = 0
    async for message in bus.messages(SEND, f"send.{run_id}.{order.seal}.*"):
        stored += len(message.payload)
    for token in (run_id, f"{run_id}-out"):
        await bus.purge(SEND, f"send.{token}.>")
    await bus.bucket(RUNS_BUCKET).delete(run_id)
    await bus.close()
    return {
        "ordered_at": posted.published_at_utc.timestamp(),
        "planned": order.to_send + order.not_sendable,
        "to_send": order.to_send,
        "not_sendable": order.not_sendable,
        "batches": order.batches,
        "sealed_bytes": stored,
    }


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


if __name__ == "__main__":
    main()
