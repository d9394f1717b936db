"""Many seeds, on all cores."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from todoku.delivery.simulation.bugs import BUGS, SOUND
from todoku.delivery.simulation.play import Result, play

_AT_A_TIME = 40
_AT_A_TIME_WHEN_SEARCHING = 8


@dataclass(slots=True)
class Tally:
    """What many seeds came to. failed: those with violations, the lowest seeds first."""

    seeds: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)


def play_many(
    first: int,
    seeds: int,
    *,
    bug: str = "",
    jobs: int = 0,
    stop_at_failure: bool = False,
    on_progress: Callable[[Tally, list[Result]], None] | None = None,
) -> Tally:
    """Play so many seeds from the first on. jobs: processes, 0 = one a core. bug: name of one to plant.

    on_progress: told of the tally so far, and of the seeds that failed since it was told last.
    """
    jobs = jobs or os.cpu_count() or 1
    began = time.monotonic()
    tally = Tally()
    share = _AT_A_TIME_WHEN_SEARCHING if stop_at_failure else _AT_A_TIME
    starts = iter(range(first, first + seeds, share))
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[list[Result]]] = set()
        while True:
            for start in starts:
                end = min(start + share, first + seeds)
                running.add(pool.submit(_play_some, start, end, bug))
                if len(running) >= jobs * 2:
                    break
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            known = len(tally.failed)
            for one in done:
                _add(tally, one.result())
            tally.seconds = time.monotonic() - began
            if on_progress is not None:
                on_progress(tally, tally.failed[known:])
            if stop_at_failure and tally.failed:
                starts = iter(())
    tally.failed.sort(key=lambda result: result.seed)
    return tally


@contextmanager
def quiet() -> Iterator[None]:
    """Let the code under simulation log nothing: half of what it says would be about faults we made."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _play_some(first: int, end: int, bug: str) -> list[Result]:
    """Play some seeds in a process of the pool."""
    planted = BUGS[bug] if bug else SOUND
    gc.disable()  # worlds are full of circles; collecting them once is a fifth of the cost
    try:
        with quiet():
            return [play(seed, bug=planted) for seed in range(first, end)]
    finally:
        gc.enable()
        gc.collect()


def _add(tally: Tally, results: list[Result]) -> None:
    for result in results:
        tally.seeds += 1
        tally.counts.update(result.counts)
        if result.violations:
            tally.failed.append(result)
