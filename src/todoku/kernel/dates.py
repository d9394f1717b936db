"""Read dates, times and durations as Japanese and English notifications write them.

Pure and without a clock: what a text does not say is None, and a year that nothing decides is a DateProblem, never a
guess. Spans are offsets into the text as given (folding keeps lengths). Source: facts of Japanese mail, section 3.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple

from todoku.kernel.folding import fold_for_matching

MOST_HOURS = 29


class DateProblem(ValueError):
    """A date or time that is written but can't be meant; `word` is stable.

    "no_such_date" (31 June, a 29 February in a common year), "weekday_mismatch" (no year near fits the weekday),
    "no_such_time" (outside 0:00 to 29:59).
    """

    def __init__(self, word: str, written: str) -> None:
        super().__init__(f"{word}: {written}")
        self.word = word


class WrittenDate(NamedTuple):
    """A date as it stands in a text. year: None when it is not written. weekday: 0 is Monday, None when not written."""

    year: int | None
    month: int
    day: int
    weekday: int | None
    start: int
    end: int


class HourMinute(NamedTuple):
    """A time of the business day: hour 0 to 29, where 24 and more belong to the day before."""

    hour: int
    minute: int
    start: int
    end: int


_MONTH_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAY_NAMES = "mon tue wed thu fri sat sun"
_MONTHS_EN = {name: number for number, name in enumerate(_MONTH_NAMES.split(), start=1)}
_WEEKDAYS = {name: number for names in (_WEEKDAY_NAMES.split(), "月火水木金土日") for number, name in enumerate(names)}
_YEAR_BEFORE_ERA = {"令和": 2018, "㋿": 2018, "R": 2018, "平成": 1988, "㍻": 1988, "H": 1988, "昭和": 1925, "㍼": 1925}

_ERA = r"(?P<{0}>令和|平成|昭和|㋿|㍻|㍼|(?<![A-Za-z])[RH])[ \t]?(?P<{0}_year>元|\d{{1,2}})"
_WEEKDAY_JA = r"(?:[ \t]?[(\[<〈【][ \t]?(?P<{0}>[月火水木金土日])(?:曜日?)?(?:[・,/ ]?[祝休]日?)?[ \t]?[)\]>〉】])?"
_WEEKDAY_EN = (
    r"(?:(?<![a-z])(?P<{0}>Mon(?:day)?|Tue(?:s|sday)?|Wed(?:nesday)?|Thu(?:rs?|rsday)?|Fri(?:day)?|Sat(?:urday)?"
    r"|Sun(?:day)?)\.?,?[ ]{{1,3}})?"
)
_MONTH_EN = (
    r"(?P<{0}>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)(?![a-z])\.?"
)
# 2026年8月30日(日), 令和8年8月30日, 8月30日
_KANJI_FORM = (
    r"(?:(?:(?<!\d)(?P<y1>\d{4})|" + _ERA.format("e1") + r")[ \t]*年[ \t]*)?"
    r"(?<!\d)(?P<m1>\d{1,2})[ \t]*月[ \t]*(?P<d1>\d{1,2})[ \t]*日" + _WEEKDAY_JA.format("w1")
)
# 2026/08/30, 2026-8-30, 2026.8.30, R8.8.30
_NUMBER_FORM = (
    r"(?:(?<![\d/.-])(?P<y2>\d{4})|" + _ERA.format("e2") + r")[ ]?(?P<separator>[/.-])[ ]?"
    r"(?P<m2>\d{1,2})[ ]?(?P=separator)[ ]?(?P<d2>\d{1,2})(?!\d)" + _WEEKDAY_JA.format("w2")
)
# 08/30(日)
_SHORT_FORM = r"(?<![\d/.-])(?P<m3>\d{1,2})/(?P<d3>\d{1,2})(?![\d/]|\.\d)" + _WEEKDAY_JA.format("w3")
# Saturday, 10 October 2026; 3rd May 2026; 10 Oct
_DAY_FIRST_FORM = (
    _WEEKDAY_EN.format("w4") + r"(?<![\d./-])(?P<d4>\d{1,2})(?:st|nd|rd|th)?\.?[ ]{1,3}(?:of )?"
    + _MONTH_EN.format("m4") + r"(?:,?[ ]{1,3}(?P<y4>\d{4})(?!\d))?"
)  # fmt: skip
# October 10, 2026; Sat, Oct 10
_MONTH_FIRST_FORM = (
    _WEEKDAY_EN.format("w5") + r"(?<![A-Za-z])" + _MONTH_EN.format("m5")
    + r"[ ]{1,3}(?P<d5>\d{1,2})(?:st|nd|rd|th)?(?![\d:])(?:,?[ ]{1,3}(?P<y5>\d{4})(?![\d:]))?"
)  # fmt: skip
# 30.08.2026: with dots the year can only be last
_DOTTED_FORM = r"(?<![\d.])(?P<d6>\d{1,2})\.(?P<m6>\d{1,2})\.(?P<y6>\d{4})(?!\d)"
_DATE = re.compile(
    "|".join((_KANJI_FORM, _NUMBER_FORM, _SHORT_FORM, _DAY_FIRST_FORM, _MONTH_FIRST_FORM, _DOTTED_FORM)), re.IGNORECASE
)

# The three usual ways to write it, and only where nothing stands around them that the whole pattern would read
# otherwise: a tenth of its time, and no folding. A property test holds both equal.
_USUAL_DATE = re.compile(
    r"(?:(?:([0-9]{4})年)?([0-9]{1,2})月([0-9]{1,2})日|([0-9]{4})([/-])([0-9]{1,2})\5([0-9]{1,2})|([0-9]{1,2})/([0-9]{1,2}))"
    r"(?:\(([月火水木金土日])\)(?=\Z|[ ]?[0-9])|(?=\Z|[ ][0-9]))"
)


def read_date(text: str, position: int = 0) -> WrittenDate | None:
    """Return the first date at or after the position, None when there is none.

    Read: `2026年08月30日(日)`, `2026 年 7 月 5 日`, `8月3日`, `令和8年…`, `㋿8年…`, `R8.8.30`, `2026/8/30`,
    `2026-08-30`, `2026.8.30`, `08/30`, `Saturday, 10 October 2026`, `October 10, 2026`, `Sat, Oct 10`, `30.08.2026`,
    all in full-width too.
    Not read: `10/11/2026` (two countries read it differently) and two-digit years.
    A month above 12 or a day above 31 is no date and is passed over.
    """
    usual = _USUAL_DATE.match(text) if not position else None
    written = _as_usual(usual) if usual is not None else None
    if written is not None:
        return written
    for found in _DATE.finditer(fold_for_matching(text), position):
        written = _as_written(found)
        if written is not None:
            return written
    return None


def _as_usual(found: re.Match[str]) -> WrittenDate | None:
    year, month, day = found.group(1, 2, 3) if found[2] else found.group(4, 6, 7) if found[4] else found.group(4, 8, 9)
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    weekday = _WEEKDAYS.get(found[10] or "")
    return WrittenDate(int(year) if year else None, int(month), int(day), weekday, 0, found.end())


def read_dates(text: str) -> list[WrittenDate]:
    """Return all dates of the text in order."""
    matches = _DATE.finditer(fold_for_matching(text))
    return [written for written in map(_as_written, matches) if written is not None]


def _as_written(found: re.Match[str]) -> WrittenDate | None:
    form = next(form for form in "123456" if found[f"m{form}"])
    month_text, day = found[f"m{form}"], int(found[f"d{form}"])
    month = int(month_text) if month_text.isdecimal() else _MONTHS_EN[month_text[:3].lower()]
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    weekday = found[f"w{form}"] if form != "6" else None
    number = _WEEKDAYS[weekday[:3].lower()] if weekday else None
    return WrittenDate(_year(found, form), month, day, number, found.start(), found.end())


def _year(found: re.Match[str], form: str) -> int | None:
    year = found[f"y{form}"] if form != "3" else None
    if year:
        return int(year)
    if form not in "12" or not found[f"e{form}"]:
        return None
    number = found[f"e{form}_year"]
    return _YEAR_BEFORE_ERA[found[f"e{form}"].upper()] + (1 if number == "元" else int(number))


_TIME = re.compile(
    r"(?:(?P<before>午前|午後|(?<![a-z])[ap]\.?m\.?)[ \t]{0,2})?(?<![\d.,/])(?P<hour>\d{1,2})[ \t]?"
    r"(?::[ \t]?(?P<minute>\d{2})(?::\d{2})?(?![\d:])"
    r"|時(?!間)(?:[ \t]?(?P<minute_ja>\d{1,2})[ \t]?分|[ \t]?(?P<half>半))?"
    r"|(?=[ ]?[ap]\.?m\b))"
    r"(?:[ \t]?(?P<after>[ap])\.?m\b\.?)?"
    r"|(?<=\dT)(?P<iso_hour>\d{2}):(?P<iso_minute>\d{2})",
    re.IGNORECASE,
)
# As _USUAL_DATE: only after nothing, a blank, a parenthesis or a wave, and only before the end or what makes a range.
_USUAL_TIME = re.compile(r"[ ]?(?<![^ )~-])([0-9]{1,2})(?::([0-9]{2})|時([0-9]{1,2})分)(?=\Z|[ ]?[~〜～-])")


def read_time(text: str, position: int = 0) -> HourMinute | None:
    """Return the first time at or after the position, None when there is none.

    Read: `18:30`, `18：30`, `18時30分`, `18時`, `18時半`, `午後6:30`, `7:30 PM`, `7 pm`, `25:30`, `18:30:00` (seconds
    are passed over). Durations (`2時間`) are no times. Raises DateProblem("no_such_time") for `30:00`, `18:75`,
    `25:30 PM`.
    """
    usual = _usual_time(text, position)
    if usual is not None:
        return usual
    found = _TIME.search(fold_for_matching(text), position)
    return _as_time(found) if found is not None else None


def _usual_time(text: str, position: int) -> HourMinute | None:
    found = _USUAL_TIME.match(text, position)
    if found is None:
        return None
    hour, minute = int(found[1]), int(found[2] or found[3])
    return HourMinute(hour, minute, found.start(1), found.end()) if hour <= MOST_HOURS and minute <= 59 else None


def read_times(text: str) -> list[HourMinute]:
    """Return all times of the text in order; raises DateProblem as read_time does."""
    return [_as_time(found) for found in _TIME.finditer(fold_for_matching(text))]


def _as_time(found: re.Match[str]) -> HourMinute:
    hour = int(found["iso_hour"] or found["hour"])
    minute = 30 if found["half"] else int(found["iso_minute"] or found["minute"] or found["minute_ja"] or 0)
    half_of_day = (found["before"] or found["after"] or "").lower()
    if half_of_day and hour <= 12:
        hour = hour % 12 + (12 if half_of_day[0] == "p" or half_of_day == "午後" else 0)
    elif half_of_day[:1] in ("a", "p"):
        raise DateProblem("no_such_time", found.group())
    if hour > MOST_HOURS or minute > 59:
        raise DateProblem("no_such_time", found.group())
    return HourMinute(hour, minute, found.start(), found.end())


_BETWEEN_RANGE = re.compile(r"[ \t]*(?:~|-|から|より|to|until)[ \t]*", re.IGNORECASE)


def read_time_range(text: str, position: int = 0) -> tuple[HourMinute, HourMinute | None] | None:
    """Return the first time and, when a wave, a dash or から follows it directly, the time that ends the range."""
    first = read_time(text, position)
    if first is None:
        return None
    if first.end == len(text):
        return first, None
    folded = fold_for_matching(text)
    between = _BETWEEN_RANGE.match(folded, first.end)
    if between is None:
        return first, None
    usual = _usual_time(folded, between.end())
    if usual is not None:
        return first, usual
    second = _TIME.match(folded, between.end())
    return first, _as_time(second) if second is not None else None


def read_date_range(text: str, position: int = 0) -> tuple[WrittenDate, WrittenDate | None] | None:
    """Return the first date and the end of its range: `2026年7月18日～20日` takes year and month from the first."""
    first = read_date(text, position)
    if first is None:
        return None
    folded = fold_for_matching(text)
    between = _BETWEEN_RANGE.match(folded, first.end)
    if between is None:
        return first, None
    whole = _DATE.match(folded, between.end())
    second = _as_written(whole) if whole is not None else None
    if second is not None:
        return first, second
    day_only = _DAY_ONLY.match(folded, between.end())
    if day_only is None or not 1 <= int(day_only["day"]) <= 31:
        return first, None
    weekday = _WEEKDAYS.get(day_only["w"] or "")
    return first, WrittenDate(first.year, first.month, int(day_only["day"]), weekday, day_only.start(), day_only.end())


_DAY_ONLY = re.compile(r"(?P<day>\d{1,2})[ \t]*日" + _WEEKDAY_JA.format("w"))

_INSTANT = re.compile(
    r"(?<!\d)(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,]\d{1,9})?)?"
    r"[ ]?(?:(Z)|([+-]\d{2}):?(\d{2})?)(?!\d)"
)


def read_instant(text: str, position: int = 0) -> datetime | None:
    """Return the first ISO 8601 moment with an offset, `2026-10-10T19:30:00+09:00` or `…Z`, as an aware datetime.

    One without an offset is no instant: read it with read_date and read_time. Raises DateProblem for impossible ones.
    """
    found = _INSTANT.search(text, position)
    if found is None:
        return None
    year, month, day, hour, minute = (int(found[group]) for group in range(1, 6))
    offset = timedelta()
    if not found[7]:
        sign = -1 if found[8][0] == "-" else 1
        offset = sign * timedelta(hours=int(found[8][1:]), minutes=int(found[9] or 0))
    try:
        return datetime(year, month, day, hour, minute, int(found[6] or 0), tzinfo=timezone(offset))
    except ValueError as impossible:
        raise DateProblem("no_such_date", found.group()) from impossible


def resolve_year(written: WrittenDate, *, on_or_after: date) -> date:
    """Return the date that is meant.

    A written year counts, whatever the weekday says (see weekday_agrees). Without one: the weekday, when written,
    decides between the years within one year of `on_or_after` (the day of the mail, in the shop's zone), later first;
    without it the first such date on or after that day. Raises DateProblem: "no_such_date", "weekday_mismatch".
    """
    if written.year is not None:
        return _require_date(written.year, written)
    if written.weekday is None:
        return _first_on_or_after(written, on_or_after)
    near = [_date_or_none(year, written) for year in range(on_or_after.year - 1, on_or_after.year + 2)]
    matching = [day for day in near if day is not None and day.weekday() == written.weekday]
    later = [day for day in matching if day >= on_or_after]
    if later:
        return later[0]
    if matching:
        return matching[-1]
    raise DateProblem("weekday_mismatch", f"{written.month}/{written.day} weekday {written.weekday}")


def weekday_agrees(written: WrittenDate, meant: date) -> bool:
    """Tell whether the weekday, when one is written, is that of the date."""
    return written.weekday is None or written.weekday == meant.weekday()


def _first_on_or_after(written: WrittenDate, day: date) -> date:
    for year in range(day.year, day.year + 9):  # a 29 February is at most eight years away
        meant = _date_or_none(year, written)
        if meant is not None and meant >= day:
            return meant
    raise DateProblem("no_such_date", f"{written.month}/{written.day}")


def _date_or_none(year: int, written: WrittenDate) -> date | None:
    try:
        return date(year, written.month, written.day)
    except ValueError:
        return None


def _require_date(year: int, written: WrittenDate) -> date:
    meant = _date_or_none(year, written)
    if meant is None:
        raise DateProblem("no_such_date", f"{year}-{written.month}-{written.day}")
    return meant


def combine(day: date, at: HourMinute, zone: tzinfo) -> datetime:
    """Return the aware moment; hour 24 to 29 is on the next calendar day, so 25:30 on D is 01:30 on D+1."""
    days, hour = divmod(at.hour, 24)
    return datetime.combine(day + timedelta(days=days), time(hour, at.minute), tzinfo=zone)


_DURATION = re.compile(
    r"(?<![\d.時])(?<!時[ ])"
    r"(?:(?P<hours>\d{1,3})(?P<half_decimal>\.5)?[ \t]?(?:時間|hours?\b|hrs?\b|h(?![a-z]))(?P<half>半)?)?[ \t]?"
    r"(?:(?P<minutes>\d{1,4})[ \t]?(?:分|minutes?\b|mins?\b|m(?![a-z])))?",
    re.IGNORECASE,
)
_USUAL_DURATION = re.compile(r"(?:([0-9]{1,3})時間(?:([0-9]{1,4})分)?|([0-9]{1,4})分)\Z")


def read_duration_minutes(text: str, position: int = 0) -> int | None:
    """Return the first duration in minutes: `1時間`, `2時間30分`, `2時間半`, `1.5時間`, `150分`, `50 分`, `2 hours`."""
    if not position and (usual := _USUAL_DURATION.match(text)) is not None:
        return int(usual[1] or 0) * 60 + int(usual[2] or usual[3] or 0)
    for found in _DURATION.finditer(fold_for_matching(text), position):
        hours, minutes = found["hours"], found["minutes"]
        if hours or minutes:
            half = 30 if found["half"] or found["half_decimal"] else 0
            return int(hours or 0) * 60 + half + int(minutes or 0)
    return None
