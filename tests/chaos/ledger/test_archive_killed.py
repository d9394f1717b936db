"""The archiver killed by SIGKILL after each step it takes, while lines go on coming in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.ledger import queries
from todoku.delivery.ledger.packing import pack_line
from todoku.delivery.ledger.store import LedgerStore
from todoku.delivery.types import Outcome, RecipientState

pytestmark = pytest.mark.usefixtures("database")

PROGRAM = Path(__file__).with_name("archive_process.py")
MADE = datetime(2026, 2, 10, 12, tzinfo=UTC)
KILLS = [
    ("leftovers removed", 1),
    ("file in the vault", 1),
    ("file in the vault", 2),
    ("exported", 1),
    ("about to drop", 1),
    ("dropped", 1),
]


def write(run_id: UUID, line: int, state: RecipientState, project: str) -> None:
    outcomes = tuple(
        Outcome(
            n, str(uuid4()), f"g{line}.{n}@example.com", state, "250 ok", MADE + timedelta(seconds=n), f"<{line}.{n}@x>"
        )
        for n in range(50)
    )
    message = JournalMessage(project, run_id.hex, 1, "0", "s", 1, outcomes, (), b"", None)
    LedgerStore().apply([pack_line(line, message)])


def test_killed_after_each_step_nothing_is_lost_or_doubled(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "TODOKU_HOME", tmp_path)
    monkeypatch.setattr(settings, "TODOKU_VAULT_URL", "")
    milliseconds = int(MADE.timestamp() * 1000)
    runs = {
        project: UUID(int=milliseconds << 80 | 7 << 76 | number << 64 | 2 << 62) for number, project in enumerate("ab")
    }
    told: Counter[tuple[str, str]] = Counter()
    line = 0
    for step, occurrence in [*KILLS, ("", 0)]:
        for project, run_id in runs.items():
            for state in (RecipientState.SENT, RecipientState.UNKNOWN):
                line += 1
                write(run_id, line, state, project)
                told[project, state.value] += 50
        code = run_archiver(database_url, tmp_path, step, occurrence)
        assert code == (-9 if step else 0), f"the archiver ended with {code} at {step!r}"
        for project, run_id in runs.items():
            rows = list(queries.run_rows(project, run_id))
            assert len({row.cursor for row in rows}) == len(rows)
            assert Counter(row.state for row in rows) == {
                state: count for (owner, state), count in told.items() if owner == project
            }, step
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM delivery")
        assert cursor.fetchone()[0] == 0
    connection.close()


def run_archiver(database_url: str, home: Path, step: str, occurrence: int) -> int:
    environment = os.environ | {
        "TODOKU_HOME": str(home),
        "TODOKU_DATABASE_URL": database_url,
        "TODOKU_VAULT_URL": "",
        "DJANGO_SETTINGS_MODULE": "todoku.config.django_settings",
    }
    command = [sys.executable, str(PROGRAM), step, str(occurrence)]
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode
