"""How fast a run went, minute by minute, as the rectangles of a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from todoku.delivery.ledger.types import MinuteCount

MOST_BARS = 120
WIDTH, HEIGHT = 1_000, 100
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """One span of time. sent, others: heights; top: where the whole bar begins; sent_top: where its sent part does."""

    x: float
    width: float
    sent: float
    others: float
    top: float
    sent_top: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time. most: messages in the busiest span; minutes: how long a span is."""

    bars: tuple[Bar, ...]
    first_utc: datetime
    last_utc: datetime
    most: int
    minutes: int


def chart(counts: Sequence[MinuteCount]) -> Chart | None:
    """Return the picture; None when there is less than two minutes to show. Minutes without messages stay empty."""
    if not counts:
        return None
    first, last = counts[0].minute_utc, counts[-1].minute_utc
    length = round((last - first) / _MINUTE) + 1
    if length < 2:
        return None
    minutes = -(-length // MOST_BARS)
    spans = -(-length // minutes)
    sums = [[0, 0] for _ in range(spans)]
    for one in counts:
        place = sums[round((one.minute_utc - first) / _MINUTE) // minutes]
        place[0] += one.sent
        place[1] += one.others
    most = max(sum(pair) for pair in sums) or 1
    width = WIDTH / spans
    bars = tuple(
        Bar(
            x=round(number * width, 2),
            width=round(max(width - 1, width * 0.7), 2),
            sent=round(HEIGHT * sent / most, 2),
            others=round(HEIGHT * others / most, 2),
            top=round(HEIGHT - HEIGHT * (sent + others) / most, 2),
            sent_top=round(HEIGHT - HEIGHT * sent / most, 2),
        )
        for number, (sent, others) in enumerate(sums)
    )
    return Chart(bars, first, last + _MINUTE, most, minutes)
