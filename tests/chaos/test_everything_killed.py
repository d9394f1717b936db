"""Two rounds of tests/chaos/everything in the suite; `make chaos ROUNDS=200` plays more.

Seeds 15 and 16 hurt senders, planner and projector. A NATS that is killed comes in other seeds (1): about one such
round in four did not close its books when this was written, and that is not understood yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ROUNDS = int(os.environ.get("TODOKU_CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("TODOKU_CHAOS_SEED", "15"))


@pytest.mark.timeout(600)
def test_the_books_balance_whatever_is_killed_or_paused() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TODOKU_")}
    command = [sys.executable, "-m", "tests.chaos.everything", "--rounds", str(ROUNDS), "--first", str(SEED), "--json"]
    played = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert played.stdout, played.stderr[-4000:]
    verdict = json.loads(played.stdout.splitlines()[-1])
    assert not verdict["violations"], f"{verdict['violations']}\n{played.stderr[-4000:]}"
    assert verdict["rounds"] == ROUNDS
    assert verdict["states"]["sent"] > 0
    assert sum(verdict["states"].values()) == verdict["runs"] * 120
