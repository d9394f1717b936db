"""From what a program or a person wrote to a Plan; shared by the api and the command line."""

from __future__ import annotations

import re
from datetime import datetime

from todoku.api.errors import RequestInvalid
from todoku.api.shapes import PlanDoc, RepeatDoc
from todoku.campaigns.types import HolidayRule, LateChoice, LatePolicy, PileUp, Plan, Repeat, RepeatKind
from todoku.delivery.types import QuietHours
from todoku.projects import queries as projects

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def to_plan(document: PlanDoc, project_id: str) -> Plan:
    """Return the plan that a document describes; an empty time zone is the project's. Raises RequestInvalid.

    Only the form is looked at here; what never fires or ends before it starts is found when scheduling.
    """
    quiet, late = document.quiet, document.late
    return Plan(
        repeat=None if document.repeat is None else _repeat(document.repeat, project_id),
        late=LatePolicy(late.start_within_seconds, LateChoice(late.then), PileUp(late.pile_up), late.older_seal),
        quiet=None
        if quiet is None
        else QuietHours(minute_of(quiet.begin, "plan.quiet.begin"), minute_of(quiet.end, "plan.quiet.end")),
        recipient_zone=document.recipient_zone,
        pace_per_second=document.pace_per_second,
        transport=document.transport,
        guard_factor=document.guard_factor,
    )


def minute_of(text: str, field: str) -> int:
    """Return the minute of the day that "10:30" names; raises RequestInvalid with the field's name."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise RequestInvalid(field, f"{text!r} is no time of day: write it like 10:30")
    return int(found[1]) * 60 + int(found[2])


def require_zoned(moment: datetime, field: str) -> datetime:
    """Return a moment that says its offset from UTC; raises RequestInvalid, because a guess would be hours wrong."""
    if moment.tzinfo is None:
        raise RequestInvalid(field, f"{moment.isoformat()} says no time zone: add +09:00 or Z")
    return moment


def _repeat(document: RepeatDoc, project_id: str) -> Repeat:
    kind = RepeatKind(document.kind)
    if document.at is None and kind is not RepeatKind.CRON:
        raise RequestInvalid("plan.repeat.at", f"a {kind.value} repetition needs a time of day, like 10:30")
    return Repeat(
        kind=kind,
        at_minute=None if document.at is None else minute_of(document.at, "plan.repeat.at"),
        every=document.every,
        weekdays=tuple(sorted(set(document.weekdays))),
        month_day=document.month_day,
        cron=document.cron,
        time_zone=document.time_zone or projects.get_project(project_id).time_zone,
        until=document.until,
        count=document.count,
        holidays=HolidayRule(document.holidays),
    )
