"""Fuzz the way of a mail from its bytes to its state for some time.

Purpose: `make fuzz SECONDS=600` makes wrong mails out of the samples of all sites, one a seed, and follows each to its
state as the role `read` does. It looks for crashes of the reader, states without a name, texts that nobody can store,
and work that grows faster than the bytes.
Reads: the samples under src/todoku/extraction/sites. A seed makes the same bytes as long as they stay the same.
Writes: a line for each seed that broke a promise, with the command that plays it again; `--show` writes its bytes.
Guarantees: ends with 1 when a promise was broken, else 0. A seed that hangs is left after 20 seconds of processor
time, and named.
Known limits: time is measured on this machine, so work is suspected at 0.3 s and 3 µs for each byte of processor
time, and called too much only when it is so three times. Bus, vault and database have no part in it; they have a test
of their own (tests/integration/intake/test_torture.py).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from types import FrameType
from typing import Any

import structlog
from tests.torture.mutations import make_mail
from tests.torture.path import follow

HANG_SECONDS = 20
SLOW_SECONDS, SLOW_SECONDS_PER_BYTE = 0.3, 3e-6


class Hanging(BaseException):
    """No end after HANG_SECONDS of processor time; no Exception, because the reader takes those for itself."""


def main() -> int:
    """Return 1 when a promise was broken."""
    arguments = _arguments()
    if arguments.seed is not None:
        return _replay(arguments.seed, show=arguments.show)
    until = time.time() + arguments.seconds
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        orders = [(arguments.first + job, arguments.jobs, until) for job in range(arguments.jobs)]
        played = pool.starmap(_play_until, orders, chunksize=1)
    counts = sum((states for states, _ in played), Counter[str]())
    broken = sum(count for _, count in played)
    sys.stdout.write(f"{counts.total():,} mails from seed {arguments.first} on, {broken} broke a promise\n")
    sys.stdout.writelines(f"{count:>10,} {state}\n" for state, count in counts.most_common())
    return int(bool(broken))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Fuzz the reading of mails.")
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="play this seed alone and say what comes of it")
    parser.add_argument("--show", action="store_true", help="with --seed: write its bytes instead")
    return parser.parse_args()


def _replay(seed: int, *, show: bool) -> int:
    if show:
        sys.stdout.buffer.write(make_mail(str(seed)))
        return 0
    signal.signal(signal.SIGPROF, _ring)
    state, problem = _play(seed)
    sys.stdout.write(f"{state} {problem}\n")
    return int(bool(problem))


def _play_until(first: int, step: int, until: float) -> tuple[Counter[str], int]:
    """Play every so many seeds until the time is over; a line is written as soon as a promise is broken."""
    structlog.configure(processors=[_drop])
    signal.signal(signal.SIGPROF, _ring)
    states: Counter[str] = Counter()
    broken = 0
    seed = first
    while time.time() < until:
        state, problem = _play(seed)
        states[state] += 1
        if problem:
            broken += 1
            sys.stdout.write(f"{problem}: python -m tests.torture --seed {seed}\n")
            sys.stdout.flush()
        seed += step
    return states, broken


def _play(seed: int) -> tuple[str, str]:
    """Follow the mail of one seed; return its state and the promise that it broke, "" for none."""
    raw = make_mail(str(seed))
    allowed = SLOW_SECONDS + SLOW_SECONDS_PER_BYTE * len(raw)
    needed = []
    try:
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        for _ in range(3):
            began = time.thread_time()
            end = follow(raw)
            needed.append(time.thread_time() - began)
            if needed[-1] <= allowed:
                break
    except Hanging:
        return "hanging", f"no end after {HANG_SECONDS} s of processor time ({len(raw):,} bytes)"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return "broken", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if min(needed) > allowed:
        return "slow", f"{min(needed):.1f} s for {len(raw):,} bytes"
    return f"{end.state.value} {end.reason}".strip(), ""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Hanging


def _drop(_logger: Any, _method: str, _entry: Any) -> Any:
    raise structlog.DropEvent
