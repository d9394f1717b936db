"""A repeating rule in words, as pages, commands and the audit log say it."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from todoku.campaigns.types import HolidayRule, Repeat, RepeatKind

_DAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAYS_JA = "月火水木金土日"
_HOLIDAYS_EN = {
    HolidayRule.SKIP: "not on Japanese holidays",
    HolidayRule.BEFORE: "on the day before when it is a Japanese holiday",
    HolidayRule.AFTER: "on the day after when it is a Japanese holiday",
}
_HOLIDAYS_JA = {
    HolidayRule.SKIP: "祝日は休み",
    HolidayRule.BEFORE: "祝日にあたるときは前の日",
    HolidayRule.AFTER: "祝日にあたるときは次の日",
}


def describe(repeat: Repeat, language: str) -> str:
    """Return the rule as one line; language "ja" (or "ja-..."), anything else is English. Raises nothing."""
    if language.startswith("ja"):
        ends = [f"{repeat.until:%Y年%-m月%-d日}まで"] if repeat.until is not None else []
        ends += [f"{repeat.count}回まで"] if repeat.count is not None else []
        more = [*ends, *([_HOLIDAYS_JA[repeat.holidays]] if repeat.holidays in _HOLIDAYS_JA else [])]
        return "、".join([f"{_days_ja(repeat)}（{repeat.time_zone}）", *more])
    ends = [f"until {repeat.until.isoformat()}"] if repeat.until is not None else []
    ends += [f"{repeat.count} time{'s' if repeat.count != 1 else ''}"] if repeat.count is not None else []
    more = [*ends, *([_HOLIDAYS_EN[repeat.holidays]] if repeat.holidays in _HOLIDAYS_EN else [])]
    return ", ".join([f"{_days_en(repeat)} ({repeat.time_zone})", *more])


def _days_en(repeat: Repeat) -> str:
    every = repeat.every
    if repeat.kind is RepeatKind.CRON:
        return _cron_en(repeat.cron)
    if repeat.kind is RepeatKind.DAILY:
        days = "every day" if every == 1 else f"every {every} days"
    elif repeat.kind is RepeatKind.WEEKLY:
        names = " and ".join(_DAYS_EN[day] for day in sorted(set(repeat.weekdays)) if 0 <= day <= 6)
        days = f"every {names}" if every == 1 else f"{names} of every {every} weeks"
    else:
        which = "the last day" if repeat.month_day == -1 else f"day {repeat.month_day}"
        days = f"{which} of every month" if every == 1 else f"{which} of every {every} months"
        if repeat.month_day > 28:
            days += f" (months without a day {repeat.month_day} are left out)"
    return f"{days} at {_clock(repeat.at_minute)}"


def _days_ja(repeat: Repeat) -> str:
    every = repeat.every
    if repeat.kind is RepeatKind.CRON:
        return f"cron「{repeat.cron}」"
    if repeat.kind is RepeatKind.DAILY:
        days = "毎日" if every == 1 else f"{every}日ごと"
    elif repeat.kind is RepeatKind.WEEKLY:
        names = "・".join(_DAYS_JA[day] for day in sorted(set(repeat.weekdays)) if 0 <= day <= 6)
        days = f"毎週{names}曜日" if every == 1 else f"{every}週間ごとの{names}曜日"
    else:
        which = "末日" if repeat.month_day == -1 else f"{repeat.month_day}日"
        days = f"毎月{which}" if every == 1 else f"{every}か月ごとの{which}"
        if repeat.month_day > 28:
            days += f"（{repeat.month_day}日がない月は休み）"
    return f"{days} {_clock(repeat.at_minute)}"


def _cron_en(cron: str) -> str:
    try:
        words = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)).explain()
    except CronSimError:
        return f"cron {cron!r}"
    return f"{words} (cron {cron})"


def _clock(minute: int | None) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}" if minute is not None else "--:--"
