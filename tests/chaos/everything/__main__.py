"""Play the rounds; see the package's page."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.chaos.everything.role_process import CONNECTIONS, WINDOW
from tests.chaos.everything.world import Fault, World

RUNS = 20
GUESTS = 120
PROJECT = "chaos"
DEPTH = 8  # messages on their way on one connection, at most
VISITS = 24  # batches that one sender may have in hand: one for each run, and some more
ANSWER_DELAY_SECONDS = 0.02
LONGEST_ROUND_SECONDS = 150.0
TEXT = "{{ guest_name }} {{ sender_name }} {{ postal_address }} {{ contact }} {{ unsubscribe_url }}"
HTML = "<p>{{ guest_name }} {{ sender_name }} {{ postal_address }} {{ contact }} {{ unsubscribe_url }}</p>"


@dataclass(slots=True)
class Round:
    """What one round showed. violations: empty when the books balance."""

    seed: int
    faults: list[Fault]
    seconds: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    at_sink: int = 0
    most_unknown: int = 0
    violations: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="seed of the first round")
    parser.add_argument("--same", action="store_true", help="play the first seed again and again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="todoku-chaos-"))
    home.chmod(0o755)  # the embedded PostgreSQL may run as another user
    world = World(home)
    rounds: list[Round] = []
    try:
        world.start(ANSWER_DELAY_SECONDS)
        _prepare()
        world.start_roles()
        for number in range(options.rounds):
            seed = options.first + (0 if options.same else number)
            if number == options.rounds // 2 > 0:
                world.start_partners()
            rounds.append(_round(world, seed))
            _tell(rounds[-1])
            if rounds[-1].violations:
                for name in ("send-1", "send-2", "plan", "book"):
                    print(f"--- {name}\n{world.logs(name)}", file=sys.stderr)  # noqa: T201
                break
    finally:
        world.stop()
        if rounds and rounds[-1].violations:
            print(f"databases, streams and logs are kept in {home}", file=sys.stderr)  # noqa: T201
        else:
            shutil.rmtree(home, ignore_errors=True)
    verdict = _verdict(rounds)
    print(json.dumps(verdict) if options.json else verdict)  # noqa: T201
    return 0 if not verdict["violations"] else 1


def _prepare() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "todoku.config.django_settings"
    import django
    from django.core.management import call_command

    from todoku.config.logging import set_up_logging

    set_up_logging(level=logging.ERROR)
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from todoku.guests import services as guests
    from todoku.kernel.clock import SystemClock
    from todoku.projects import services as projects
    from todoku.projects.types import ProjectInfo

    clock = SystemClock()
    info = ProjectInfo(PROJECT, "見本食堂", "Asia/Tokyo", "見本食堂", "shop@chaos.example", "架空区1-2", "03-0000-0000")
    projects.save_project(info, clock=clock)
    now_utc = clock.now_utc()
    guests.import_people(PROJECT, [_person(number, now_utc) for number in range(GUESTS)])


def _person(number: int, now_utc: datetime) -> Any:
    from todoku.guests.types import PersonImport

    agreed = number % 10 != 0  # who did not ends as suppressed, and the balance has them
    return PersonImport(
        name=f"見本 {number}",
        email=f"guest.{number}@chaos.example",
        consent_source="chaos" if agreed else "",
        consent_given_at_utc=now_utc if agreed else None,
    )


# --- one round ---


def _round(world: World, seed: int) -> Round:
    randomness = random.Random(seed)
    played = Round(seed, [Fault.by(randomness) for _ in range(randomness.randrange(2, 6))])
    world.forget()
    began = time.monotonic()
    runs = _send_all(seed)
    for fault in played.faults:
        world.play(fault)
        played.most_unknown += _in_flight(fault)
    unfinished = _until_finished(runs)
    played.seconds = time.monotonic() - began
    _judge(played, world.taken(), runs, unfinished)
    return played


def _in_flight(fault: Fault) -> int:
    """Return how many messages one fault may leave without a known answer (I3).

    A killed sender leaves what was written and not answered. One that was paused beyond its lease is not dead: who
    takes over can't look into it, so its open windows count whole. So do those of both senders when it was the bus
    that stood still beyond their leases; one that is killed and started again costs nothing.
    """
    paused_beyond_lease = fault.pause_seconds > 1.5
    if fault.target == "nats":
        return 2 * VISITS * WINDOW if paused_beyond_lease else 0
    if fault.target.startswith("send"):
        return VISITS * WINDOW if paused_beyond_lease else CONNECTIONS * DEPTH
    return 0


def _send_all(seed: int) -> list[UUID]:
    from todoku.campaigns import queries, services
    from todoku.campaigns.types import CampaignContent
    from todoku.guests.types import Audience
    from todoku.kernel.clock import SystemClock

    clock, runs = SystemClock(), []
    for number in range(RUNS):
        content = CampaignContent(f"{seed} {number}", HTML, TEXT)
        campaign_id = services.create(
            PROJECT, name=f"round {seed}, {number}", content=content, audience=Audience(), by="chaos", clock=clock
        )
        services.send_now(PROJECT, campaign_id, by="chaos", clock=clock)
        run = queries.get(PROJECT, campaign_id).run
        assert run is not None, "a campaign that was sent has a run"
        runs.append(run.id)
    return runs


def _until_finished(runs: list[UUID]) -> list[str]:
    """Wait for the end of all runs; return those that did not come to it, in words."""
    from django.db import Error, connection

    from todoku.campaigns import queries
    from todoku.campaigns.types import RunState

    deadline = time.monotonic() + LONGEST_ROUND_SECONDS
    while True:
        try:
            rows = [queries.get_run(PROJECT, run_id) for run_id in runs]
        except Error:
            connection.close()
            time.sleep(0.2)
            continue
        late = [f"{row.id.hex} is {row.state}: {row.balance}" for row in rows if row.state is not RunState.FINISHED]
        if not late or time.monotonic() > deadline:
            return late
        time.sleep(0.1)


def _judge(played: Round, taken: Counter[tuple[str, str]], runs: list[UUID], unfinished: list[str]) -> None:
    wrong = played.violations
    wrong += [f"not finished: {words}" for words in unfinished]
    ledger = _ledger(runs)
    twice = [pair for pair, times in taken.items() if times > 1]
    if twice:
        wrong.append(f"I1: {len(twice)} got it twice, first {twice[0]}")
    strangers = {run for run, _ in taken} - {run.hex for run in runs}
    if strangers:
        wrong.append(f"I1: the sink has messages of runs that are over: {sorted(strangers)[:3]}")
    at_sink: defaultdict[str, set[str]] = defaultdict(set)
    for run, recipient in taken:
        at_sink[run].add(recipient)
    for run_id in runs:
        rows = ledger[run_id.hex]
        states = Counter(state for _, state in rows)
        played.states += states
        if len(rows) != GUESTS or len({recipient for recipient, _ in rows}) != GUESTS:
            wrong.append(f"I2: run {run_id.hex} has {len(rows)} rows for {GUESTS} people: {dict(states)}")
        sent = {recipient for recipient, state in rows if state == "sent"}
        unknown = {recipient for recipient, state in rows if state == "unknown"}
        if not sent <= at_sink[run_id.hex] <= sent | unknown:
            wrong.append(f"run {run_id.hex}: sent {len(sent)}, sink {len(at_sink[run_id.hex])}, {len(unknown)} unknown")
    played.at_sink = sum(taken.values())
    if played.states["unknown"] > played.most_unknown:
        wrong.append(f"I3: {played.states['unknown']} unknown, {played.most_unknown} may have been in flight")


def _ledger(runs: list[UUID]) -> defaultdict[str, list[tuple[str, str]]]:
    from django.db import connection

    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id, address, state FROM delivery WHERE run_id = ANY(%s)", [runs])
        for run_id, address, state in cursor.fetchall():
            found[run_id.hex].append((address.casefold(), state))
    return found


def _kind(fault: Fault) -> str:
    return f"paused {fault.pause_seconds} s" if fault.pause_seconds else "killed"


def _tell(played: Round) -> None:
    faults = ", ".join(
        f"{one.target} {f'paused {one.pause_seconds}' if one.pause_seconds else 'killed'}" for one in played.faults
    )
    verdict = "; ".join(played.violations) or "balanced"
    print(  # noqa: T201
        f"seed {played.seed:4} {played.seconds:5.1f} s  {dict(played.states)}  [{faults}]  {verdict}", file=sys.stderr
    )


def _verdict(rounds: list[Round]) -> dict[str, Any]:
    faults = Counter(
        f"{fault.target.split('-')[0]} {'paused' if fault.pause_seconds else 'killed'}"
        for one in rounds
        for fault in one.faults
    )
    states: Counter[str] = Counter()
    for one in rounds:
        states += one.states
    return {
        "rounds": len(rounds),
        "runs": RUNS * len(rounds),
        "faults": dict(faults),
        "states": dict(states),
        "at_sink": sum(one.at_sink for one in rounds),
        "most_unknown_allowed": sum(one.most_unknown for one in rounds),
        "seconds": round(sum(one.seconds for one in rounds), 1),
        "violations": [f"seed {one.seed}: {words}" for one in rounds for words in one.violations],
    }


if __name__ == "__main__":
    sys.exit(main())
