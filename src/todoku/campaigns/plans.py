"""A campaign's plan as the database keeps it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from todoku.campaigns.types import HolidayRule, LateChoice, LatePolicy, PileUp, Plan, Repeat, RepeatKind
from todoku.delivery.types import QuietHours


def to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON; days and moments as ISO 8601."""
    late = plan.late
    return {
        "repeat": _repeat_to_json(plan.repeat) if plan.repeat is not None else None,
        "late": {
            "start_within_seconds": late.start_within_seconds,
            "then": late.then.value,
            "pile_up": late.pile_up.value,
            "older_seal": late.older_seal,
        },
        "quiet": [plan.quiet.begin_minute, plan.quiet.end_minute] if plan.quiet is not None else None,
        "recipient_zone": plan.recipient_zone,
        "pace_per_second": plan.pace_per_second,
        "transport": plan.transport,
        "guard_factor": plan.guard_factor,
    }


def from_json(kept: dict[str, Any]) -> Plan:
    """Return the plan that `to_json` wrote; {} is the plan of campaigns from before there were any."""
    if not kept:
        return Plan()
    late, quiet, repeat = kept["late"], kept["quiet"], kept["repeat"]
    return Plan(
        repeat=_repeat_from_json(repeat) if repeat is not None else None,
        late=LatePolicy(
            float(late["start_within_seconds"]), LateChoice(late["then"]), PileUp(late["pile_up"]), late["older_seal"]
        ),
        quiet=QuietHours(quiet[0], quiet[1]) if quiet is not None else None,
        recipient_zone=kept["recipient_zone"],
        pace_per_second=float(kept["pace_per_second"]),
        transport=kept["transport"],
        guard_factor=float(kept["guard_factor"]),
    )


def _repeat_to_json(repeat: Repeat) -> dict[str, Any]:
    return {
        "kind": repeat.kind.value,
        "at_minute": repeat.at_minute,
        "every": repeat.every,
        "weekdays": list(repeat.weekdays),
        "month_day": repeat.month_day,
        "cron": repeat.cron,
        "time_zone": repeat.time_zone,
        "until": repeat.until.isoformat() if repeat.until is not None else None,
        "count": repeat.count,
        "holidays": repeat.holidays.value,
        "starts_at_utc": repeat.starts_at_utc.isoformat() if repeat.starts_at_utc is not None else None,
    }


def _repeat_from_json(kept: dict[str, Any]) -> Repeat:
    until, starts_at = kept["until"], kept["starts_at_utc"]
    return Repeat(
        kind=RepeatKind(kept["kind"]),
        at_minute=kept["at_minute"],
        every=kept["every"],
        weekdays=tuple(kept["weekdays"]),
        month_day=kept["month_day"],
        cron=kept["cron"],
        time_zone=kept["time_zone"],
        until=date.fromisoformat(until) if until is not None else None,
        count=kept["count"],
        holidays=HolidayRule(kept["holidays"]),
        starts_at_utc=datetime.fromisoformat(starts_at) if starts_at is not None else None,
    )
