"""Plans of repeating campaigns: what is refused, what one is told, what the calendar shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from todoku.campaigns import occurrence_desk, queries, services
from todoku.campaigns.errors import NotSchedulable, WrongState
from todoku.campaigns.models import Run
from todoku.campaigns.types import (
    LatePolicy,
    Plan,
    Repeat,
    RepeatKind,
)
from todoku.delivery.types import QuietHours
from todoku.kernel.clock import VirtualClock

Draft = Callable[..., UUID]
Invite = Callable[..., None]
BY = "marketer@example.com"
DAILY = Repeat(RepeatKind.DAILY, 18 * 60)  # the clock begins at 12:00 in Tokyo
Make = Callable[..., UUID]


def at(day: int, hour: int = 9, minute: int = 0) -> datetime:
    return datetime(2026, 11, 20, hour, minute, tzinfo=UTC) + timedelta(days=day - 20)


def codes(caught: pytest.ExceptionInfo[NotSchedulable]) -> list[str]:
    assert all(one.message and one.message_ja for one in caught.value.obstacles)
    return [one.code for one in caught.value.obstacles]


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (Plan(repeat=Repeat(RepeatKind.CRON, cron="0 9 31 2 *")), "cron_never"),
        (Plan(repeat=Repeat(RepeatKind.CRON, cron="* * * * *")), "cron_too_often"),
        (Plan(repeat=replace(DAILY, until=date(2026, 11, 1))), "ends_before_start"),
        (Plan(repeat=replace(DAILY, count=0)), "count"),
        (Plan(pace_per_second=-1.0), "pace"),
        (Plan(guard_factor=0.5), "guard_factor"),
        (Plan(quiet=QuietHours(-1, 1440)), "quiet"),
        (Plan(late=LatePolicy(start_within_seconds=-1.0)), "start_within"),
        (Plan(late=LatePolicy(start_within_seconds=8 * 86400.0)), "start_within"),
    ],
)
def test_a_plan_that_is_refused_leaves_everything_as_it_was(
    plan: Plan, code: str, project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    before = queries.get(project, campaign_id)
    due = None if plan.repeat is not None else clock.now_utc() + timedelta(hours=1)
    with pytest.raises(NotSchedulable) as caught:
        services.reschedule(project, campaign_id, due_at_utc=due, plan=plan, by=BY, clock=clock)
    assert codes(caught) == [code]
    assert queries.get(project, campaign_id) == before


def test_a_single_start_needs_its_time(project: str, draft: Draft, invite: Invite, clock: VirtualClock) -> None:
    invite(1)
    with pytest.raises(NotSchedulable) as caught:
        services.schedule(project, draft(), by=BY, clock=clock)
    assert codes(caught) == ["due_missing"]


def test_a_repeating_campaign_is_not_sent_now_as_a_whole(project: str, make: Make, clock: VirtualClock) -> None:
    with pytest.raises(WrongState, match="rule"):
        services.send_now(project, make(), by=BY, clock=clock)


def test_quiet_hours_over_the_due_time_are_told_and_counted_from_their_end(
    project: str, make: Make, clock: VirtualClock
) -> None:
    plan = Plan(quiet=QuietHours(17 * 60, 20 * 60))
    campaign_id = make(quiet=plan.quiet)
    notice = queries.notices(project, campaign_id, clock=clock)
    assert [one.code for one in notice] == ["quiet_hours"]
    assert "leaves 11-21 20:00" in notice[0].message
    assert "11-21 20:00" in notice[0].message_ja
    run = Run.objects.get(campaign_id=campaign_id, occurrence=1)
    assert run.latest_start_at == at(21, 15)  # 20:00 in Tokyo and four hours
    clock.advance(7 * 3600)
    assert queries.while_away(project, clock=clock) == []  # inside quiet hours it is not late


def test_recipients_zones_are_told_and_give_the_last_ones_time(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(recipient_zone=True)
    assert [one.code for one in queries.notices(project, campaign_id, clock=clock)] == ["recipient_zone"]
    run = Run.objects.get(campaign_id=campaign_id, occurrence=1)
    assert run.latest_finish_at - run.due_at == timedelta(hours=50)


def test_a_lead_longer_than_the_interval_is_fine(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(Repeat(RepeatKind.CRON, cron="*/5 * * * *"))
    due_within_the_lead = Run.objects.filter(
        campaign_id=campaign_id, state="planned", due_at__lte=clock.now_utc() + timedelta(minutes=15)
    )
    assert due_within_the_lead.count() == 4  # now and the next three, each its own run and seal
    assert occurrence_desk.plan_ahead(clock.now_utc()).missed == 0


def test_the_calendar_shows_runs_and_what_is_to_come(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make()
    entries = queries.calendar(project, date(2026, 11, 21), date(2026, 11, 25), clock=clock)
    assert [(entry.due_at_utc, entry.state, entry.run_id is None, entry.planned) for entry in entries] == [
        (at(21), "planned", False, 2),
        (at(22), "planned", False, 2),
        (at(23), "expected", True, None),
        (at(24), "expected", True, None),
        (at(25), "expected", True, None),
    ]
    assert {entry.campaign_id for entry in entries} == {campaign_id}
    services.pause(project, campaign_id, by=BY, clock=clock)
    assert len(queries.calendar(project, date(2026, 11, 21), date(2026, 11, 25), clock=clock)) == 2
