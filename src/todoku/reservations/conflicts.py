"""What does not fit together in the book: two parties at one table, one guest who is booked twice. Pure.

It warns and never refuses: what a site has confirmed stands, and a person decides what to do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import combinations, pairwise
from typing import Final
from uuid import UUID

from todoku.kernel.folding import fold_for_matching
from todoku.reservations.types import ReservationRow, ReservationState

USUAL_STAY: Final = timedelta(hours=2)
"""How long a table is kept when no site says so."""

SAME_EVENING: Final = timedelta(hours=3)
COMING: Final = (ReservationState.BOOKED, ReservationState.REQUESTED, ReservationState.TENTATIVE)

# A table has a number or a letter (A, C1, 個室3, 12番); テーブル席 and カウンター are kinds of seats that many share.
_TABLE = re.compile(r"(?:[0-9]{1,3}|(?<![A-Za-z])[A-Za-z](?:-?[0-9]{1,3})?)(?:番|号|卓|番卓|番テーブル)?\Z")
_BEHIND_NAME = re.compile(r"[(\[].*")
_BETWEEN = re.compile(r"[、,\n]")


class Clash(StrEnum):
    """Why two reservations can't both be as they stand."""

    SAME_TABLE = "same_table"
    SAME_GUEST = "same_guest"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two reservations that do not fit together; first begins earlier. tables: at which ones, for SAME_TABLE."""

    clash: Clash
    first: ReservationRow
    second: ReservationRow
    tables: tuple[str, ...] = ()


def stay_of(row: ReservationRow) -> tuple[datetime, datetime] | None:
    """Return from when to when the table is taken; None when the book does not say when they come."""
    if row.start is None:
        return None
    end = row.end if row.end is not None and row.end > row.start else row.start + USUAL_STAY
    return row.start, end


def tables_of(seat: str | None) -> tuple[str, ...]:
    """Return the tables that a seat text names, `テーブルA (テーブル席)[禁煙]、個室1` as テーブルA and 個室1."""
    names = []
    for part in _BETWEEN.split(fold_for_matching(seat or "")):
        name = " ".join(_BEHIND_NAME.sub("", part).split())
        if name and _TABLE.search(name):
            names.append(name)
    return tuple(dict.fromkeys(names))


def conflicts(rows: Iterable[ReservationRow]) -> list[Conflict]:
    """Return what does not fit together among those who come, by start."""
    coming = sorted(
        (row for row in rows if row.state in COMING and row.start is not None), key=lambda row: (row.start, row.id)
    )
    found = [*_same_table(coming), *_same_guest(coming)]
    return sorted(found, key=lambda one: (one.first.start, one.second.start, one.clash))


def _same_table(coming: Sequence[ReservationRow]) -> Iterable[Conflict]:
    by_table: defaultdict[tuple[str, str], list[ReservationRow]] = defaultdict(list)
    for row in coming:
        for table in tables_of(row.seat):
            by_table[_shop(row), table].append(row)
    shared: defaultdict[tuple[UUID, UUID], list[str]] = defaultdict(list)
    pairs: dict[tuple[UUID, UUID], tuple[ReservationRow, ReservationRow]] = {}
    for (_, table), there in by_table.items():
        for first, second in combinations(there, 2):
            if _overlap(first, second):
                pairs[first.id, second.id] = first, second
                shared[first.id, second.id].append(table)
    for key, (first, second) in pairs.items():
        yield Conflict(Clash.SAME_TABLE, first, second, tuple(shared[key]))


def _same_guest(coming: Sequence[ReservationRow]) -> Iterable[Conflict]:
    by_proof: defaultdict[tuple[str, str], list[ReservationRow]] = defaultdict(list)
    for row in coming:
        for proof in _proofs(row):
            by_proof[_shop(row), proof].append(row)
    told = set()
    for there in by_proof.values():
        for first, second in pairwise(there):  # of three, the middle one leads to both others
            assert first.start is not None
            assert second.start is not None
            pair = (first.id, second.id)
            if second.start - first.start <= SAME_EVENING and pair not in told:
                told.add(pair)
                yield Conflict(Clash.SAME_GUEST, first, second)


def _proofs(row: ReservationRow) -> Iterable[str]:
    """Yield what proves who comes: phone or mail address; a name only together with the very same start."""
    if row.guest_phone:
        yield row.guest_phone
    if row.guest_email:
        yield row.guest_email.casefold()
    name = "".join(fold_for_matching(row.guest_name or "").split())
    if name and row.start is not None:
        yield f"{name}@{row.start.timestamp()}"


def _shop(row: ReservationRow) -> str:
    return row.shop_code or row.shop_name or ""


def _overlap(first: ReservationRow, second: ReservationRow) -> bool:
    one, other = stay_of(first), stay_of(second)
    return one is not None and other is not None and one[0] < other[1] and other[0] < one[1]
