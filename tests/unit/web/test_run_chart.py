"""The small picture of a run's pace holds every message, whatever its length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.ledger.types import MinuteCount
from todoku.web.run_chart import HEIGHT, MOST_BARS, WIDTH, chart

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def _counts(minutes: dict[int, tuple[int, int]]) -> list[MinuteCount]:
    return [MinuteCount(START + timedelta(minutes=at), *pair) for at, pair in sorted(minutes.items())]


@pytest.mark.parametrize("minutes", [{}, {0: (5, 0)}])
def test_less_than_two_minutes_are_no_picture(minutes: dict[int, tuple[int, int]]) -> None:
    assert chart(_counts(minutes)) is None


def test_a_pause_is_a_gap() -> None:
    made = chart(_counts({0: (100, 0), 3: (50, 50)}))
    assert made is not None
    assert [bar.sent for bar in made.bars] == [100, 0, 0, 50]
    assert made.bars[3].top == 0
    assert (made.most, made.minutes) == (100, 1)
    assert made.last_utc == START + timedelta(minutes=4)


@given(
    st.dictionaries(
        st.integers(0, 3_000), st.tuples(st.integers(0, 10_000), st.integers(0, 100)), min_size=2, max_size=50
    )
)
def test_it_fits_its_frame_and_loses_nobody(minutes: dict[int, tuple[int, int]]) -> None:
    made = chart(_counts(minutes))
    assert made is not None
    assert 1 <= len(made.bars) <= MOST_BARS
    for bar in made.bars:
        assert 0 <= bar.x < WIDTH
        assert bar.x + bar.width <= WIDTH + 1
        assert -0.01 <= bar.top <= HEIGHT
    heights = sum(bar.sent + bar.others for bar in made.bars)
    assert heights * made.most / HEIGHT == pytest.approx(sum(map(sum, minutes.values())), rel=0.02, abs=made.most)
