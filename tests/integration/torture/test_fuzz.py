"""Hypothesis on the way from bytes to state; `make fuzz` goes on as long as one likes (tests/torture/fuzzing.py)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.torture.mutations import MOST_BYTES, harmless, make_mail, mutated, repeat_much, samples
from tests.torture.path import End, follow

from todoku.extraction.types import Facts

pytestmark = pytest.mark.timeout(180)  # a guard against hanging, no promise
several = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
randoms = st.randoms(use_true_random=False)


@several
@given(randoms)
def test_a_sample_with_things_wrong_has_a_state(random: Random) -> None:
    follow(mutated(random))


@several
@given(st.integers(0, 2**64))
def test_every_seed_of_the_long_runner_has_a_state(seed: int) -> None:
    follow(make_mail(str(seed)))


@several
@given(st.binary(max_size=3_000), st.booleans())
def test_bytes_that_were_never_a_mail_have_a_state(data: bytes, with_header: bool) -> None:
    follow(b"From: plan-reserve@gnavi.co.jp\nSubject: x\n" + data if with_header else data)


@settings(several, max_examples=40)
@given(st.integers(0, 2**32))
def test_what_is_said_a_hundred_thousand_times_has_an_end(seed: int) -> None:
    random = Random(seed)
    follow(repeat_much(random, random.choice(samples()))[:MOST_BYTES])


@several
@given(randoms)
def test_what_is_written_in_another_way_is_read_the_same(random: Random) -> None:
    raw = random.choice(samples())
    before, after = follow(raw), follow(harmless(random, raw))
    assert (after.state, after.reason) == (before.state, before.reason)
    assert _facts(after) == _facts(before)
    assert after.reading.subject == before.reading.subject
    assert after.reading.issued_at == before.reading.issued_at


def test_a_seed_makes_the_same_mail_again() -> None:
    assert [make_mail(str(seed)) for seed in range(50)] == [make_mail(str(seed)) for seed in range(50)]


def _facts(end: End) -> Facts | None:
    return end.reading.facts
