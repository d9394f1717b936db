"""Kill the whole tree of the main job at random moments; start again; both balances must close.

The count from the other side is the sink's own file, read here without any code of the product.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

ROUNDS = 20


def _start(home: Path, output: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TODOKU_HOME": str(home)}
    for name in ("TODOKU_DATABASE_URL", "TODOKU_NATS_URL", "TODOKU_VAULT_URL"):
        environment.pop(name, None)
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "todoku.cli.main", "demo", "--once", "--json"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _finish(home: Path) -> dict[str, Any]:
    output = home.with_name("report.json")
    process = _start(home, output)
    assert process.wait(timeout=110) == 0, output.read_text(encoding="utf-8")[-3000:]
    report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])
    return report


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for step in (psutil.Process.suspend, psutil.Process.kill):  # all stand still first: one instant for the whole tree
        for member in tree:
            try:
                step(member)
            except psutil.NoSuchProcess:
                continue
    process.wait(timeout=10)
    psutil.wait_procs(tree, timeout=10)


def _at_sink(home: Path) -> Counter[bytes]:
    marks: Counter[bytes] = Counter()
    for segment in sorted((home / "sink").glob("*")):
        for line in segment.read_bytes().split(b"\n"):
            if line.lower().startswith(b"x-todoku-recipient:"):
                marks[line.split(b":", 1)[1].strip()] += 1
    return marks


@pytest.fixture(scope="module")
def prepared(open_folder: Callable[[], Path]) -> tuple[Path, float]:
    """A home in which the engines have run once, and how long the whole job takes in such a home."""
    home = open_folder() / "home"
    process = _start(home, home.with_name("first.log"))
    deadline = time.monotonic() + 60
    while not list(home.glob("vault/**/*")) and process.poll() is None and time.monotonic() < deadline:
        pass
    _kill_tree(process)
    trial = home.with_name("trial")
    subprocess.run(["cp", "-a", str(home), str(trial)], check=True)
    began = time.monotonic()
    _finish(trial)
    return home, time.monotonic() - began


@pytest.mark.timeout(900)
def test_balances_close_after_kills_at_twenty_moments(
    prepared: tuple[Path, float], open_folder: Callable[[], Path]
) -> None:
    """Three homes at a time, because a start after a kill mostly waits for the leases of the dead to run out."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        rounds = {seed: pool.submit(_one_round, prepared, open_folder(), seed) for seed in range(ROUNDS)}
    broken = {seed: str(error) for seed, one in rounds.items() if (error := one.exception()) is not None}
    assert broken == {}


def _one_round(prepared: tuple[Path, float], folder: Path, seed: int) -> None:
    home = _killed_home(prepared, folder, random.Random(seed).uniform(0.2, 1.5))

    report = _finish(home)

    mails, campaign = report["mails"], report["campaign"]
    assert mails["pending"] == 0
    assert mails["arrived"] == sum(count for state, count in mails.items() if state not in {"arrived", "pending"})
    assert campaign["pending"] == 0
    assert campaign["planned"] == sum(count for state, count in campaign.items() if state not in {"planned", "pending"})
    at_sink = _at_sink(home)
    assert max(at_sink.values()) == 1, "somebody got the message twice"
    assert campaign["sent"] <= len(at_sink) <= campaign["sent"] + campaign["unknown"]
    assert report["at_sink"] == len(at_sink)


def _killed_home(prepared: tuple[Path, float], folder: Path, share: float) -> Path:
    """Return a home whose job was killed at this share of its usual time; sooner, when it was quicker than that."""
    template, duration_seconds = prepared
    home = folder / "home"
    while True:
        subprocess.run(["cp", "-a", str(template), str(home)], check=True)
        process = _start(home, folder / "killed.log")
        try:
            process.wait(timeout=share * duration_seconds)
        except subprocess.TimeoutExpired:
            _kill_tree(process)
            return home
        share /= 2
        subprocess.run(["rm", "-rf", str(home)], check=True)
