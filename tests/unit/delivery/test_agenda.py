from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from todoku.delivery.engine.agenda import Agenda, RetryRules
from todoku.delivery.engine.journal import Rest
from todoku.kernel.retry import BackOff

NOON = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RULES = RetryRules(2, BackOff(1.0, 4.0), BackOff(30.0, 900.0), random.Random(1))


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_one_who_rests_holds_up_nobody_else() -> None:
    agenda = Agenda(range(4), (), RULES, NOON)
    agenda.take(1)
    agenda.rest(0, NOON)
    assert list(agenda.ready) == [1, 2, 3]
    assert agenda.seconds_until_next(NOON) == 0.0
    assert agenda.take(9) == [1, 2, 3]
    assert 0.5 <= agenda.seconds_until_next(NOON) <= 1.0
    assert agenda
    agenda.wake(later(1.0))
    assert list(agenda.ready) == [0]


def test_each_has_a_back_off_of_their_own_that_grows() -> None:
    agenda = Agenda([7], (), RULES, NOON)
    waits = []
    for _ in range(6):
        assert agenda.take(1) == [7]
        agenda.rest(7, NOON)
        waits.append((agenda.rests[0].until_utc - NOON).total_seconds())
        agenda.wake(later(10_000))
    assert [one.tries for one in agenda.rests] == [6]
    ceilings = [1.0, 2.0, 30.0, 60.0, 120.0, 240.0]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_what_was_about_the_relay_does_not_count() -> None:
    agenda = Agenda([7], (), RULES, NOON)
    agenda.rest(7, NOON, counted=False)
    assert agenda.rests[0].tries == 0


def test_a_successor_goes_on_with_the_same_rests() -> None:
    agenda = Agenda(range(3), (Rest(1, 4, later(50)),), RULES, NOON)
    assert list(agenda.ready) == [0, 2]
    agenda.take(2)
    assert agenda.seconds_until_next(NOON) == 50.0
    agenda.wake(later(50))
    agenda.take(1)
    agenda.rest(1, later(50))
    assert agenda.rests[0].tries == 5


def test_a_rest_that_a_wrong_clock_wrote_is_no_longer_than_the_longest() -> None:
    agenda = Agenda([0], (Rest(0, 1, later(3600 * 24)),), RULES, NOON)
    assert agenda.seconds_until_next(NOON) == 900.0


def test_who_is_settled_is_forgotten() -> None:
    agenda = Agenda([0], (Rest(0, 1, NOON),), RULES, NOON)
    agenda.wake(NOON)
    assert agenda.take(1) == [0]
    agenda.settle([0])
    assert not agenda
    assert agenda.rests == []
