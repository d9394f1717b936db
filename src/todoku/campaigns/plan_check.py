"""What is wrong with a plan, and what to know about it; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import isfinite
from zoneinfo import ZoneInfo

from todoku.campaigns.occurrences import next_due
from todoku.campaigns.policies import leaves_at_utc
from todoku.campaigns.repeat_check import problems as repeat_problems
from todoku.campaigns.types import Notice, Obstacle, Plan, Repeat, RepeatKind

__all__ = ["first_due", "notices", "plan_problems", "repeat_problems"]

LONGEST_START_WITHIN = timedelta(days=7)
_DAY_MINUTES = 24 * 60


def plan_problems(plan: Plan) -> list[Obstacle]:
    """Return what is wrong with the plan's figures, its repetition left aside; [] when nothing is."""
    found: list[Obstacle] = []
    within = plan.late.start_within_seconds
    if not 0 <= within <= LONGEST_START_WITHIN.total_seconds():
        found.append(
            Obstacle(
                "start_within",
                "the latest start is 0 seconds to 7 days after the due time",
                "開始期限は配信日時から7日以内にしてください",
            )
        )
    if not (plan.pace_per_second >= 0 and isfinite(plan.pace_per_second)):
        found.append(
            Obstacle("pace", "the pace is 0 (no limit) or messages a second", "配信ペースは0（制限なし）以上です")
        )
    if plan.guard_factor != 0 and not (plan.guard_factor > 1 and isfinite(plan.guard_factor)):
        found.append(
            Obstacle(
                "guard_factor",
                "the audience guard is a factor above 1, or 0 for none",
                "宛先数の急変の目安は1より大きい倍率、または0（なし）です",
            )
        )
    if plan.quiet is not None and not all(
        0 <= minute < _DAY_MINUTES for minute in (plan.quiet.begin_minute, plan.quiet.end_minute)
    ):
        found.append(
            Obstacle("quiet", "quiet hours are times of the day, 00:00 to 23:59", "配信しない時間帯は0:00から23:59です")
        )
    return found


def first_due(repeat: Repeat, begins_utc: datetime) -> datetime:
    """Return the first start at or after the moment; for a rule without problems there is one."""
    return next_due(repeat, begins_utc - timedelta(microseconds=1)) or begins_utc


def notices(plan: Plan, due_at_utc: datetime, project_time_zone: str) -> Iterator[Notice]:
    """Yield what a person should know about a plan whose (first) start is then."""
    zone = ZoneInfo(project_time_zone)
    leaves_at = leaves_at_utc(plan.quiet, project_time_zone, due_at_utc)
    if leaves_at > due_at_utc:
        due, real = f"{due_at_utc.astimezone(zone):%m-%d %H:%M}", f"{leaves_at.astimezone(zone):%m-%d %H:%M}"
        yield Notice(
            "quiet_hours",
            f"due {due}, but inside quiet hours: the first message leaves {real} ({project_time_zone})",
            f"配信日時 {due} は配信しない時間帯です。実際には {real} から送ります（{project_time_zone}）",
        )
    if plan.recipient_zone:
        yield Notice(
            "recipient_zone",
            f"each recipient gets it when their own clock shows {due_at_utc.astimezone(zone):%H:%M}: some before the "
            "due time, some up to a day after it; people of an unknown zone by the business's clock",
            f"お客様ごとの現地時刻 {due_at_utc.astimezone(zone):%H:%M} に届きます。"
            "配信日時より前に届く方も、最大1日ほど後に届く方もいます。地域が不明な方には店舗の時刻で送ります",
        )
    repeat = plan.repeat
    if repeat is not None and repeat.kind is RepeatKind.MONTHLY and repeat.month_day > 28:
        yield Notice(
            "short_months",
            f"months without a day {repeat.month_day} are left out; choose the last day to send in every month",
            f"{repeat.month_day}日がない月は送りません。毎月送るには「末日」を選んでください",
        )
