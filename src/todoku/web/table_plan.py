"""An evening as a table: a lane for each table of a shop, half hours as columns, reservations in between. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from todoku.reservations.conflicts import stay_of, tables_of
from todoku.reservations.types import ReservationRow

SLOT: Final = timedelta(minutes=30)
SLOTS_AN_HOUR: Final = 2
MOST_SLOTS: Final = 36 * SLOTS_AN_HOUR  # whoever stays longer is cut off at noon of the next day
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Cell:
    """So many half hours of a lane that a reservation takes, or one that is free."""

    columns: int
    row: ReservationRow | None = None


@dataclass(slots=True)
class Lane:
    """One row of the plan. name: the table, or the kind of seat; "" without any. again: not its name's first."""

    name: str
    again: bool = False
    taken: list[tuple[int, int, ReservationRow]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A day of one shop. hours: the full hours that the columns show. people: how many are there in each half hour."""

    hours: list[datetime]
    lanes: list[Lane]
    people: list[int]

    @property
    def most_people(self) -> int:
        """Return how many are there at once."""
        return max(self.people, default=0)


def make_plan(rows: Iterable[ReservationRow], day: date, zone: ZoneInfo) -> TablePlan | None:
    """Return the plan of those who come on that day, None when nobody does.

    Two parties at one table at the same time get a lane each, one below the other, so that it is seen.
    """
    midnight = datetime.combine(day, time.min, tzinfo=zone)
    spans = [span for row in rows if (span := _span(row, midnight)) is not None]
    if not spans:
        return None
    begin = min(span[0] for span in spans) // SLOTS_AN_HOUR * SLOTS_AN_HOUR
    end = -(-max(span[1] for span in spans) // SLOTS_AN_HOUR) * SLOTS_AN_HOUR
    lanes = _lanes(sorted(spans, key=lambda span: (span[0], str(span[2].id))))
    for lane in lanes:
        lane.cells = _cells(lane.taken, begin, end)
    people = [
        sum(row.party_size or 0 for first, last, row in spans if first <= slot < last) for slot in range(begin, end)
    ]
    hours = [midnight + slot * SLOT for slot in range(begin, end, SLOTS_AN_HOUR)]
    return TablePlan(hours, lanes, people)


def _span(row: ReservationRow, midnight: datetime) -> tuple[int, int, ReservationRow] | None:
    stay = stay_of(row)
    if stay is None:
        return None
    first = max(0, (stay[0] - midnight) // SLOT)
    last = min(MOST_SLOTS, -((midnight - stay[1]) // SLOT))
    return (first, max(last, first + 1), row)


def _lanes(spans: Sequence[tuple[int, int, ReservationRow]]) -> list[Lane]:
    by_name: dict[tuple[int, str], list[Lane]] = {}
    for first, last, row in spans:
        for key in _places(row):
            lanes = by_name.setdefault(key, [])
            lane = next((one for one in lanes if one.taken[-1][1] <= first), None)
            if lane is None:
                lane = Lane(key[1], again=bool(lanes))
                lanes.append(lane)
            lane.taken.append((first, last, row))
    return [lane for key in sorted(by_name, key=_natural) for lane in by_name[key]]


def _places(row: ReservationRow) -> list[tuple[int, str]]:
    """Return the lanes of a reservation: named tables first, then kinds of seats, then nothing."""
    tables = tables_of(row.seat)
    if tables:
        return [(0, table) for table in tables]
    kind = " ".join((row.seat or "").split("\n")[0].split())[:30]
    return [(1, kind)] if kind else [(2, "")]


def _natural(key: tuple[int, str]) -> tuple[int, list[tuple[int, str]]]:
    """Sort A2 before A10."""
    pieces = [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in _NUMBER.split(key[1])]
    return key[0], pieces


def _cells(taken: Sequence[tuple[int, int, ReservationRow]], begin: int, end: int) -> list[Cell]:
    cells = []
    at = begin
    for first, last, row in taken:
        cells += [Cell(1)] * (first - at)
        cells.append(Cell(last - first, row))
        at = last
    return cells + [Cell(1)] * (end - at)
