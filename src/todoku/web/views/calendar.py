"""The calendar of starts: a month or a week, past runs and future occurrences of all campaigns."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from todoku.campaigns import queries
from todoku.campaigns.occurrences import is_holiday
from todoku.campaigns.types import CalendarEntry, RunState
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.ports import ports
from todoku.web.schedule_words import EXPECTED, WEEKDAYS

MOST_A_DAY = 5  # entries of a day in the month's grid; the week shows all
EARLIEST, LATEST = date(2000, 1, 1), date(2099, 12, 1)


@needs(Right.SEE_CAMPAIGNS)
def calendar(request: MemberRequest) -> HttpResponse:
    """Show the month or week of a day; today's when none, or no day, is asked for."""
    today = timezone.localtime(ports().clock.now_utc()).date()
    day = _day(request.GET.get("day", ""), today)
    week = request.GET.get("view") == "week"
    first, last = _week(day) if week else _month(day)
    entries = queries.calendar(request.project.id, first, last, clock=ports().clock)
    by_day: defaultdict[date, list[CalendarEntry]] = defaultdict(list)
    for one in entries:
        by_day[timezone.localtime(one.due_at_utc).date()].append(one)
    values = {
        "week": week,
        "day": day,
        "first": first,
        "last": last,
        "weekdays": WEEKDAYS,
        "days": [_cell(one, by_day[one], today, whole=week) for one in _days(first, last)],
        "before": first - timedelta(days=1),
        "after": last + timedelta(days=1),
        "count": len(entries),
    }
    moving = request.headers.get("HX-Target") == "calendar"
    return render(request, "web/_calendar.html" if moving else "web/calendar.html", values)


def _cell(day: date, entries: list[CalendarEntry], today: date, *, whole: bool) -> dict[str, Any]:
    shown = entries if whole else entries[:MOST_A_DAY]
    return {
        "day": day,
        "column": day.weekday() + 1,
        "today": day == today,
        "holiday": is_holiday(day),
        "weekday": WEEKDAYS[day.weekday()],
        "entries": [{"entry": one, "word": _word(one)} for one in shown],
        "more": len(entries) - len(shown),
    }


def _word(entry: CalendarEntry) -> words.Word:
    return words.RUNS[RunState(entry.state)] if entry.run_id is not None else EXPECTED


def _day(text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return today
    return min(max(day, EARLIEST), LATEST)


def _week(day: date) -> tuple[date, date]:
    monday = day - timedelta(days=day.weekday())
    return monday, monday + timedelta(days=6)


def _month(day: date) -> tuple[date, date]:
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
