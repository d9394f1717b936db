"""The pace as pure arithmetic: what any number of senders may send together in any stretch of time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.engine.pace import (
    LATE_SECONDS,
    Slice,
    domain_limit,
    end_of,
    next_slice,
    run_limit,
    transport_limit,
)


@dataclass
class Board:
    """What KV `paces` holds for one limit."""

    given_until: float = 0.0


@dataclass
class Player:
    """A sender that asks for slices when it has none, and uses what it may, eagerly or not."""

    board: Board
    rate: float
    slices: list[Slice] = field(default_factory=list)

    def send(self, now: float, wish: int) -> int:
        if not any(one.left for one in self.slices):
            found = next_slice(self.board.given_until, self.rate, now)
            if found.begin_seconds <= now + 0.5:
                self.board.given_until = end_of(found)
                self.slices = [found]
        sent = 0
        for one in self.slices:
            count = min(one.usable(now), wish - sent)
            one.used += count
            sent += count
        return sent


@given(
    st.floats(0.2, 5_000),
    st.integers(1, 6),
    st.integers(0, 2**32),
    st.lists(st.floats(0.0, 0.4), min_size=5, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_its_pace_and_half_a_second(
    rate: float, players: int, seed: int, steps: list[float]
) -> None:
    randomness = random.Random(seed)
    board = Board()
    senders = [Player(board, rate) for _ in range(players)]
    now, sent = 1_000.0, []
    for step in steps:
        now += step
        sender = randomness.choice(senders)
        sent.append((now, sender.send(now, randomness.randrange(1, 2_000))))
    for first, (begin, _) in enumerate(sent):
        count = 0
        for moment, number in sent[first:]:
            count += number
            assert count <= rate * (moment - begin + LATE_SECONDS) + 1 + 1e-3


@given(st.floats(0.5, 2_000), st.integers(1, 4))
def test_eager_senders_come_close_to_the_pace(rate: float, players: int) -> None:
    board = Board()
    senders = [Player(board, rate) for _ in range(players)]
    total, seconds = 0, 10
    for tick in range(seconds * 20):
        now = 1_000.0 + tick / 20
        total += sum(sender.send(now, 10**6) for sender in senders)
    assert total >= 0.75 * rate * seconds - 2


def test_a_message_that_is_too_late_is_forfeited() -> None:
    given_to_us = Slice(100.0, 10.0, 10)
    assert given_to_us.usable(100.0) == 1
    assert given_to_us.usable(100.25) == 3
    assert given_to_us.usable(100.75) == 5  # those of 100.0, 100.1 and 100.2 are gone
    assert given_to_us.left == 7
    assert given_to_us.usable(102.0) == given_to_us.left == 0


def test_slices_follow_each_other_without_overlap() -> None:
    first = next_slice(0.0, 100.0, 50.0)
    second = next_slice(end_of(first), 100.0, 50.0)
    assert (first.begin_seconds, first.count) == (50.0, 25)
    assert second.begin_seconds == pytest.approx(50.25)


@pytest.mark.parametrize("jump", [10.0, 3_600.0])
def test_a_moment_that_a_wrong_clock_wrote_holds_nobody_up(jump: float) -> None:
    ahead = end_of(next_slice(0.0, 10.0, 1_000.0 + jump))
    assert next_slice(ahead, 10.0, 1_000.0).begin_seconds == 1_000.0


def test_a_slow_pace_is_not_taken_for_a_wrong_clock() -> None:
    hourly = next_slice(0.0, 1 / 3600, 1_000.0)
    assert next_slice(end_of(hourly), 1 / 3600, 1_001.0).begin_seconds == 1_000.0 + 3600


def test_keys_can_be_keys_whatever_the_name() -> None:
    assert run_limit("0198", 1.0).key == "run.0198"
    assert transport_limit("", 1.0).key == "transport.default"
    assert domain_limit("Docomo.ne.jp", 1.0).key == "domain.docomo.ne.jp"
    odd = domain_limit("日本.example *", 1.0).key
    assert odd.isascii()
    assert not set(odd) & set(" *>")
