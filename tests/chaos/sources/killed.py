"""Kill processes of the running program at random moments while mails come from every kind of source.

    python -m tests.chaos.sources.killed --rounds 100 [--seed 1]

Each round delivers mails to a Maildir, IMAP and POP3 (Dovecot), S3, a webhook and the SMTP door, and kills with
kill -9 what chance says: intake, read, web, NATS or PostgreSQL; the supervisor starts them again. Then every mail must
be in the book once: each carries a booking of its own. A round ends when the book has all that were delivered.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from tests.acceptance.conftest import Todoku, free_ports, ready
from tests.chaos.sources.places import FETCHED, PROJECT, Places, all_places
from tests.integration.intake.conftest import write_gnavi

from todoku.config.settings import embedded_database_url

MAILS_OF_A_KIND = 3
SPREAD_SECONDS = 1.5
SETTLED_WITHIN_SECONDS = 180.0  # only a guard against hanging
VICTIMS = {
    "intake": "run intake",
    "read": "run read",
    "web": "run web",
    "nats": "nats-server",
    "postgres": "/bin/postgres",
}


@dataclass
class Report:
    """What came of the rounds."""

    rounds: int = 0
    delivered: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps({**self.__dict__, "delivered": dict(self.delivered), "killed": dict(self.killed)})


class Rounds:
    """The running program, its places, and what is known to have been delivered."""

    def __init__(self, todoku: Todoku, process: psutil.Process, places: Places, randomness: random.Random) -> None:
        self._url = embedded_database_url(todoku.home)
        self._process = process
        self._places = places
        self._randomness = randomness
        self._references: set[str] = set()
        self.report = Report()

    def play(self) -> None:
        """Play one round; what does not come true is a violation."""
        fresh = {
            f"K{self.report.rounds:04d}{kind}{n}": kind for kind in self._places.deliver for n in range(MAILS_OF_A_KIND)
        }
        deliveries = [threading.Thread(target=self._deliver, args=(name, kind)) for name, kind in fresh.items()]
        for delivery in deliveries:
            delivery.start()
        for _ in range(self._randomness.randint(1, 3)):
            self._wait(self._randomness.uniform(0, SPREAD_SECONDS))
            self._kill(self._randomness.choice(list(VICTIMS)))
        deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
        for delivery in deliveries:
            delivery.join(max(0.0, deadline - time.monotonic()))
            if delivery.is_alive():
                self.report.violations.append(f"round {self.report.rounds}: a delivery is never taken")
        self._references |= set(fresh)
        self.report.delivered.update(fresh.values())
        missing = self._missing(deadline)
        if missing:
            self.report.violations.append(f"round {self.report.rounds}: not in the book: {sorted(missing)}")
        self.report.rounds += 1

    def finish(self) -> Report:
        """Count all from the book's side."""
        for source, state, count in self._ask(_STATES, (PROJECT,)):
            self.report.states.setdefault(source, {})[state] = count
        extra = {name for (name,) in self._ask(_BOOKED, (PROJECT,))} - self._references
        if extra:
            self.report.violations.append(f"in the book and never delivered: {sorted(extra)}")
        doubled = self._ask(_DOUBLED, (PROJECT, list(FETCHED)))
        if any(count for (_source, count) in doubled):
            self.report.violations.append(f"applied twice: {doubled}")
        return self.report

    def _deliver(self, name: str, kind: str) -> None:
        self._wait(self._randomness.uniform(0, SPREAD_SECONDS))
        self._places.deliver[kind](write_gnavi(name))

    def _kill(self, victim: str) -> None:
        for child in self._process.children(recursive=True):
            try:
                if VICTIMS[victim] in " ".join(child.cmdline()):
                    child.kill()
                    self.report.killed[victim] += 1
                    return
            except psutil.Error:
                continue

    def _missing(self, deadline: float) -> set[str]:
        missing = set(self._references)
        while missing and time.monotonic() < deadline:
            try:
                missing = self._references - {name for (name,) in self._ask(_BOOKED, (PROJECT,))}
            except psycopg.Error:
                pass  # it was killed just now
            self._wait(0.1)
        return missing

    def _ask(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url, connect_timeout=5) as connection:
            return connection.execute(statement, values).fetchall()

    @staticmethod
    def _wait(seconds: float) -> None:
        threading.Event().wait(seconds)


_BOOKED = "SELECT reference FROM reservations_reservation WHERE project_id = %s AND reference LIKE 'K%%'"
_STATES = "SELECT source, state, count(*) FROM intake_incomingmail WHERE project_id = %s GROUP BY source, state"
_DOUBLED = """
SELECT source, count(*) FROM (
    SELECT source, cursor FROM intake_incomingmail
    WHERE project_id = %s AND source = ANY(%s) AND state = 'applied' GROUP BY source, cursor HAVING count(*) > 1
) AS twice GROUP BY source
"""


@contextmanager
def running(folder: Path, make_folder: Callable[[], Path], seed: int) -> Iterator[Rounds]:
    """Start the program in a home of its own, with a source of each kind."""
    todoku = Todoku(folder / "todoku", *free_ports())
    with todoku.start("demo", "--json", "--no-evening") as process:
        document = ready(process)
        with all_places(todoku, folder, document["smtp"], make_folder) as places:
            yield Rounds(todoku, psutil.Process(process.pid), places, random.Random(seed))


def main() -> None:
    """Play so many rounds and print the report; exit code 1 when something was violated."""
    parser = argparse.ArgumentParser(description="kill -9 while mails come from everywhere")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="todoku-chaos-"))
    folder.chmod(0o755)

    def make_folder() -> Path:
        made = Path(tempfile.mkdtemp(dir=folder))
        made.chmod(0o755)
        return made

    with running(folder, make_folder, options.seed) as rounds:
        for number in range(options.rounds):
            began = time.monotonic()
            rounds.play()
            sys.stdout.write(f"round {number}: {time.monotonic() - began:.1f} s {rounds.report.violations}" + "\n")
            sys.stdout.flush()
        report = rounds.finish()
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(report.as_json() + "\n")
    raise SystemExit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
