"""When a repeating campaign leaves: pure calendar arithmetic by the wall clock of one time zone.

A wall-clock time that does not exist (the hour that summer time skips) means the first moment after the gap; one that
exists twice means the first of the two, once. Both rules keep the order of wall-clock times, so occurrences never
change places and never double. Days are named by the rule, then moved by holidays, then counted.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

import holidays
from cronsim import CronSim

from todoku.campaigns.repeat_words import describe
from todoku.campaigns.types import HolidayRule, Repeat, RepeatKind

__all__ = [
    "LAST_YEAR",
    "describe",
    "dues_after",
    "first_dues",
    "is_holiday",
    "next_due",
    "occurrences_between",
    "wall_clock_utc",
]

LAST_YEAR = 2099  # as far as the holiday calendar reaches
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


def next_due(repeat: Repeat, after_utc: datetime) -> datetime | None:
    """Return the first occurrence later than after_utc, in UTC; None when there is none left.

    Without `starts_at_utc` the campaign is thought to begin at after_utc. Raises ValueError for a rule in which
    `repeat_check.problems` finds something.
    """
    return next(_later_than(repeat, after_utc), None)


def occurrences_between(repeat: Repeat, after_utc: datetime, until_utc: datetime) -> list[datetime]:
    """Return the occurrences in (after_utc, until_utc], in UTC, each once, in order."""
    found: list[datetime] = []
    for due_utc in _later_than(repeat, after_utc):
        if due_utc > until_utc:
            break
        found.append(due_utc)
    return found


def dues_after(repeat: Repeat, after_utc: datetime) -> Iterator[datetime]:
    """Yield the occurrences later than after_utc, in UTC, as long as the rule goes on (2099 at most)."""
    return _later_than(repeat, after_utc)


def first_dues(repeat: Repeat, after_utc: datetime, number: int) -> list[datetime]:
    """Return the next occurrences, at most that many; for pages that show what a rule means."""
    return list(islice(_later_than(repeat, after_utc), number))


def wall_clock_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment of a naive wall-clock time: after the gap when it does not exist, the first when twice."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    return _end_of_gap(wall, zone)


def is_holiday(day: date) -> bool:
    """Tell whether the day is a Japanese public holiday, substitutes included; nothing is known after 2099."""
    return day in _japan(day.year)


def _later_than(repeat: Repeat, after_utc: datetime) -> Iterator[datetime]:
    zone = ZoneInfo(repeat.time_zone)
    starts_utc = repeat.starts_at_utc
    if starts_utc is None:
        starts_utc = after_utc.astimezone(UTC) + timedelta(microseconds=1)
    counted = repeat.count is not None
    from_utc = starts_utc if counted else max(starts_utc, after_utc)  # counting needs the beginning
    number = 0
    last_utc: datetime | None = None
    for wall in _walls(repeat, starts_utc, from_utc, zone):
        day = _moved(wall.date(), repeat.holidays)
        if day is None:
            continue
        if repeat.until is not None and day > repeat.until:
            return
        due_utc = wall_clock_utc(datetime.combine(day, wall.time()), zone)
        if due_utc < starts_utc or (last_utc is not None and due_utc <= last_utc):
            continue
        last_utc = due_utc
        number += 1
        if repeat.count is not None and number > repeat.count:
            return
        if due_utc > after_utc:
            yield due_utc


def _walls(repeat: Repeat, starts_utc: datetime, from_utc: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the rule's naive wall-clock times in order, from the first one on or from about from_utc on."""
    begin = starts_utc.astimezone(zone).replace(tzinfo=None) - _DAY
    # two days before are enough, for a gap of up to a day; and those that a row of holidays moves onto them
    resume = datetime.combine(from_utc.astimezone(zone).date() - 2 * _DAY, datetime.min.time())
    while repeat.holidays is HolidayRule.AFTER and is_holiday(resume.date() - _DAY):
        resume -= _DAY
    resume = max(begin, resume)
    if repeat.kind is RepeatKind.CRON:
        yield from _cron_walls(repeat.cron, resume)
        return
    if repeat.at_minute is None:
        raise ValueError("a time of the day is needed")
    at = timedelta(minutes=repeat.at_minute)
    midnight = datetime.min.time()
    first = next(
        (
            day
            for day in _days(repeat, begin.date(), 1)
            if wall_clock_utc(datetime.combine(day, midnight) + at, zone) >= starts_utc
        ),
        None,
    )
    if first is None:
        return
    for day in _days(repeat, first, repeat.every, resume.date()):
        yield datetime.combine(day, midnight) + at


def _cron_walls(cron: str, from_wall: datetime) -> Iterator[datetime]:
    for wall in CronSim(cron, from_wall - _SECOND):
        if wall.year > LAST_YEAR:
            return
        yield wall


def _days(repeat: Repeat, first: date, every: int, resume: date | None = None) -> Iterator[date]:
    """Yield the days of the rule from `first` on, each `every` counted from there; from about `resume` on."""
    resume = max(first, resume or first)
    if repeat.kind is RepeatKind.DAILY:
        day = first + _DAY * ((resume - first).days // every * every)
        while day.year <= LAST_YEAR:
            yield day
            day += _DAY * every
    elif repeat.kind is RepeatKind.WEEKLY:
        yield from _weekly(repeat.weekdays, first, every, resume)
    else:
        yield from _monthly(repeat.month_day, first, every, resume)


def _weekly(weekdays: tuple[int, ...], first: date, every: int, resume: date) -> Iterator[date]:
    if not weekdays:
        raise ValueError("a weekly campaign needs at least one weekday")
    monday = first - _DAY * first.weekday()
    monday += timedelta(weeks=(resume - monday).days // 7 // every * every)
    while monday.year < LAST_YEAR:
        for weekday in sorted(set(weekdays)):
            day = monday + _DAY * weekday
            if day >= first:
                yield day
        monday += timedelta(weeks=every)


def _monthly(month_day: int, first: date, every: int, resume: date) -> Iterator[date]:
    month = first.year * 12 + first.month - 1
    month += ((resume.year * 12 + resume.month - 1) - month) // every * every
    while month // 12 <= LAST_YEAR:
        year, number = month // 12, month % 12 + 1
        length = calendar.monthrange(year, number)[1]
        wanted = length if month_day == -1 else month_day
        if wanted <= length and (day := date(year, number, wanted)) >= first:
            yield day
        month += every


def _moved(day: date, rule: HolidayRule) -> date | None:
    if rule is HolidayRule.SEND or not is_holiday(day):
        return day
    if rule is HolidayRule.SKIP:
        return None
    step = -_DAY if rule is HolidayRule.BEFORE else _DAY
    while is_holiday(day):
        day += step
    return day


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment after the gap in which the wall-clock time lies, to the second."""
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


@lru_cache(maxsize=256)
def _japan(year: int) -> frozenset[date]:
    if year > LAST_YEAR:
        return frozenset()
    return frozenset(holidays.country_holidays("JP", years=year))
