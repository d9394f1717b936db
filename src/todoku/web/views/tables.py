"""The book as a plan: who sits where and when on a day, a week at a glance, and what does not fit together."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date

from todoku.projects import queries as projects
from todoku.projects.types import Right
from todoku.reservations import queries
from todoku.reservations.conflicts import Clash, Conflict, conflicts
from todoku.reservations.types import ReservationRow
from todoku.web import words
from todoku.web.guards import MemberRequest, needs
from todoku.web.ports import ports
from todoku.web.present import party
from todoku.web.table_plan import make_plan

EARLIEST, LATEST = date(2000, 1, 1), date(2099, 12, 1)
DAYS = 7


@needs(Right.SEE_BOOK)
def tables(request: MemberRequest) -> HttpResponse:
    """Show the plan of a day or the seven days from it on; only the plan when htmx asks."""
    today = timezone.localtime(ports().clock.now_utc()).date()
    day = _day(request.GET.get("day", ""), today)
    week = request.GET.get("view") == "week"
    shops = projects.list_shops(request.project.id)
    shop = next((one.code for one in shops if one.code == request.GET.get("shop")), None)
    last = day + timedelta(days=DAYS - 1) if week else day
    rows = queries.coming(request.project.id, (day, last), time_zone=request.project.time_zone, shop_code=shop)
    step = timedelta(days=DAYS if week else 1)
    values = {
        "day": day,
        "last": last,
        "today": today,
        "week": week,
        "shop": shop,
        "shops": shops,
        "before": day - step,
        "after": day + step,
        "count": len(rows),
        "people": party(sum(row.party_size or 0 for row in rows)) if rows else "",
        "conflicts": [_conflict(one) for one in conflicts(rows)],
        "days": _days(rows, day) if week else [],
        "plans": [] if week else _plans(rows, day, ZoneInfo(request.project.time_zone)),
    }
    moving = request.headers.get("HX-Target") == "plan"
    return render(request, "web/_tables.html" if moving else "web/tables.html", values)


def _plans(rows: list[ReservationRow], day: date, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Return the plan of each shop that has somebody; the shop that the book does not know comes last."""
    by_shop: defaultdict[str, list[ReservationRow]] = defaultdict(list)
    for row in rows:
        by_shop[row.shop_name or ""].append(row)
    plans = [(name, make_plan(by_shop[name], day, zone)) for name in sorted(by_shop, key=lambda name: (not name, name))]
    return [{"shop": name, "plan": plan, "count": len(by_shop[name])} for name, plan in plans if plan is not None]


def _days(rows: list[ReservationRow], first: date) -> list[dict[str, Any]]:
    by_day: defaultdict[date, list[ReservationRow]] = defaultdict(list)
    for row in rows:
        if row.start is not None:
            by_day[timezone.localtime(row.start).date()].append(row)
    days = [first + timedelta(days=number) for number in range(DAYS)]
    return [
        {
            "day": day,
            "rows": [
                {"row": row, "party": party(row.party_size), "word": words.RESERVATIONS[row.state]} for row in there
            ],
            "people": party(sum(row.party_size or 0 for row in there)) if there else "",
        }
        for day in days
        for there in [by_day[day]]
    ]


def _conflict(found: Conflict) -> dict[str, Any]:
    return {
        "same_table": found.clash is Clash.SAME_TABLE,
        "tables": "、".join(found.tables),
        "two": (found.first, found.second),
    }


def _day(text: str, today: date) -> date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    return min(max(day or today, EARLIEST), LATEST)
