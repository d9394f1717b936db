"""When the guest comes: date and time put together, the year by the mail's own evidence, the old time of a change."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

from todoku.extraction.fields import FieldReader
from todoku.extraction.scan import BEFORE, Piece
from todoku.kernel.dates import (
    DateProblem,
    HourMinute,
    WrittenDate,
    combine,
    read_date,
    read_duration_minutes,
    read_time,
    read_time_range,
    resolve_year,
)

LONGEST_STAY_MINUTES = 24 * 60


class DateContradiction(Exception):
    """Two places of one mail name different days for one visit; neither is believed."""


class Visit(NamedTuple):
    """Start and end of the visit, aware; previous: the start before a change, when the mail states it."""

    start: datetime | None
    end: datetime | None
    previous: datetime | None


class _Moment(NamedTuple):
    day: WrittenDate
    at: HourMinute
    until: HourMinute | None


def read_visit(reader: FieldReader) -> Visit:
    """Return the visit as far as the mail states it. Raises DateContradiction.

    A date without year takes that of the field `year_date` (a link), which must name the same day; else the year in
    which the written weekday fits; else the first such date on or after the mail's own Date.
    """
    whole = reader.find("start", _moment)
    if whole is not None:
        moment, before = whole
        start = _resolve(reader, moment.day, moment.at)
        return Visit(start, _end(reader, start, moment.until), _previous(reader, start, before, None))
    day = reader.find("start_date", _day)
    at = reader.find("start_time", _time_range)
    if day is None or at is None:
        return Visit(None, None, None)
    start = _resolve(reader, day[0], at[0][0])
    return Visit(start, _end(reader, start, at[0][1]), _previous(reader, start, day[1], at[1]))


def states_two_visits(reader: FieldReader) -> bool:
    """Tell whether one label of the visit's time stands there twice with different values."""
    return reader.is_ambiguous("start", _same_moment) or reader.is_ambiguous("start_date", _same_day)


def _same_moment(piece: Piece) -> tuple[object, ...] | None:
    moment = _moment(piece)
    return (*_numbers(moment.day), moment.at.hour, moment.at.minute) if moment is not None else None


def _same_day(piece: Piece) -> tuple[object, ...] | None:
    day = _day(piece)
    return _numbers(day) if day is not None else None


def _numbers(day: WrittenDate) -> tuple[int, int]:
    return day.month, day.day  # one of the two may lack its year


def _resolve(reader: FieldReader, written: WrittenDate, at: HourMinute) -> datetime:
    zone = reader.site.zone
    elsewhere = reader.read("year_date", _day)
    if elsewhere is not None:
        same_year = written.year is None or written.year == elsewhere.year
        if not same_year or (written.month, written.day) != (elsewhere.month, elsewhere.day):
            raise DateContradiction
        written = elsewhere
    elif written.year is None and written.weekday is None:
        hint = reader.read("weekday_date", _day)
        if hint is not None and (hint.month, hint.day) == (written.month, written.day):
            written = hint
    try:
        if written.year is not None:
            return combine(date(written.year, written.month, written.day), at, zone)
        return combine(resolve_year(written, on_or_after=reader.letter.date.astimezone(zone).date()), at, zone)
    except (ValueError, OverflowError) as impossible:  # a DateProblem is a ValueError
        raise DateContradiction from impossible


def _end(reader: FieldReader, start: datetime, until: HourMinute | None) -> datetime | None:
    if until is None:
        until = reader.read("end_time", _time)
    if until is not None:
        end = combine(start.date(), until, reader.site.zone)
        return end if end > start else end + timedelta(days=1)
    whole = reader.read("end", _moment)
    if whole is not None:
        return _end_of(whole, start, reader)
    minutes = reader.read("stay", lambda piece: read_duration_minutes(piece.folded))
    if minutes is None or not 0 < minutes <= LONGEST_STAY_MINUTES:
        return None
    return start + timedelta(minutes=minutes)


def _end_of(written: _Moment, start: datetime, reader: FieldReader) -> datetime | None:
    """Return the end that is written with its own date, as of a rented car; None when it is not after the start."""
    try:
        end = combine(resolve_year(written.day, on_or_after=start.date()), written.at, reader.site.zone)
    except (ValueError, OverflowError):
        return None
    return end if end > start else None


def _previous(reader: FieldReader, start: datetime, day: Piece | None, at: Piece | None) -> datetime | None:
    zone = reader.site.zone
    if day is not None or at is not None:
        old_day = _day(day) if day is not None else None
        old_at = _time(at) if at is not None else None
        if old_at is None and day is not None:
            old_at = _time(day)
        moment = old_at or HourMinute(start.hour, start.minute, 0, 0)
        return _nearest(old_day, moment, start, reader) if old_day else combine(start.date(), moment, zone)
    before = reader.read("start", _moment, sections=(BEFORE,))
    if before is not None:
        return _nearest(before.day, before.at, start, reader)
    old = reader.read("start_date", _day, sections=(BEFORE,))
    old_time = reader.read("start_time", _time, sections=(BEFORE,))
    return _nearest(old, old_time, start, reader) if old and old_time else None


def _nearest(written: WrittenDate, at: HourMinute, start: datetime, reader: FieldReader) -> datetime | None:
    """Return the old time: of its own year, else of the year that brings it nearest to the new one."""
    years = [written.year] if written.year else [start.year - 1, start.year, start.year + 1]
    moments = []
    for year in years:
        try:
            moments.append(combine(date(year, written.month, written.day), at, reader.site.zone))
        except (ValueError, OverflowError):
            continue
    return min(moments, key=lambda moment: abs(moment - start), default=None)


def _moment(piece: Piece) -> _Moment | None:
    day = _day(piece)
    if day is None:
        return None
    try:
        times = read_time_range(piece.folded, day.end)
    except DateProblem:
        return None
    return _Moment(day, *times) if times is not None else None


def _day(piece: Piece) -> WrittenDate | None:
    return read_date(piece.folded)


def _time(piece: Piece) -> HourMinute | None:
    try:
        return read_time(piece.folded)
    except DateProblem:
        return None


def _time_range(piece: Piece) -> tuple[HourMinute, HourMinute | None] | None:
    try:
        return read_time_range(piece.folded)
    except DateProblem:
        return None
