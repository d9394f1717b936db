"""Repeating campaigns: each occurrence one run, whoever plans it, whatever was away, whatever people change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from todoku.campaigns import following, occurrence_desk, queries, services
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.occurrences import occurrences_between
from todoku.campaigns.policies import Verdict
from todoku.campaigns.transitions import Act
from todoku.campaigns.types import (
    CampaignState,
    LateChoice,
    LatePolicy,
    PileUp,
    Plan,
    Repeat,
    RepeatKind,
    RunKind,
    RunState,
)
from todoku.kernel.clock import VirtualClock

Draft = Callable[..., UUID]
Invite = Callable[..., None]
BY = "marketer@example.com"
DAILY = Repeat(RepeatKind.DAILY, 18 * 60)  # the clock begins at 12:00 in Tokyo
Make = Callable[..., UUID]


def at(day: int, hour: int = 9, minute: int = 0) -> datetime:
    return datetime(2026, 11, 20, hour, minute, tzinfo=UTC) + timedelta(days=day - 20)


def states(project: str, campaign_id: UUID) -> list[tuple[int, str]]:
    rows = sorted(queries.runs(project, campaign_id), key=lambda row: row.occurrence)
    return [(row.occurrence, row.state.value) for row in rows]


def end(run_id: UUID, clock: VirtualClock) -> None:
    """Do what planner and senders do with a run: it begins and ends."""
    run = Run.objects.get(id=run_id)
    now = clock.now_utc()
    Run.objects.filter(id=run_id).update(
        state="finished", started_at=run.due_at, finished_at=now, closed_at=now, sealed_at=run.due_at, planned=2
    )
    following.run_began(run.project_id, run.campaign_id, RunKind.CAMPAIGN)
    following.run_ended(run.project_id, run.campaign_id, RunKind.CAMPAIGN, Act("run.finished", "planner", now))


def test_runs_are_made_two_days_ahead_and_counted_from_one(project: str, make: Make) -> None:
    campaign_id = make()
    rows = sorted(queries.runs(project, campaign_id), key=lambda row: row.occurrence)
    assert [(row.occurrence, row.due_at_utc) for row in rows] == [(1, at(21)), (2, at(22))]
    campaign = queries.get(project, campaign_id)
    assert (campaign.state, campaign.due_at_utc, campaign.next_due_at_utc) == (
        CampaignState.SCHEDULED,
        at(21),
        at(21),
    )
    assert campaign.run is not None
    assert campaign.run.due_at_utc == at(21)


def test_a_monthly_campaign_has_its_next_run_though_that_is_far(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(Repeat(RepeatKind.MONTHLY, 600, month_day=1))
    assert [row.due_at_utc for row in queries.runs(project, campaign_id)] == [datetime(2026, 12, 1, 1, tzinfo=UTC)]
    assert occurrence_desk.plan_ahead(clock.now_utc() + timedelta(days=1)).made == 0


def test_it_goes_on_for_weeks_with_one_run_for_each_occurrence(project: str, make: Make, clock: VirtualClock) -> None:
    weekdays = Repeat(RepeatKind.WEEKLY, 18 * 60, weekdays=(0, 2, 4))
    campaign_id = make(weekdays)
    start = clock.now_utc()
    for _ in range(4 * 7 * 4):
        clock.advance(6 * 3600)
        occurrence_desk.plan_ahead(clock.now_utc())
        for run in Run.objects.filter(campaign_id=campaign_id, state="planned", due_at__lte=clock.now_utc()):
            end(run.id, clock)
    rows = sorted(queries.runs(project, campaign_id), key=lambda row: row.occurrence)
    horizon = rows[-1].due_at_utc
    assert [row.due_at_utc for row in rows] == occurrences_between(
        replace(weekdays, starts_at_utc=start), start - timedelta(seconds=1), horizon
    )
    assert [row.occurrence for row in rows] == list(range(1, len(rows) + 1))
    assert queries.get(project, campaign_id).state is CampaignState.ACTIVE


def test_after_the_last_occurrence_the_campaign_is_finished(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(replace(DAILY, count=3))
    for number in range(1, 4):
        clock.advance(24 * 3600)
        occurrence_desk.plan_ahead(clock.now_utc())
        end(Run.objects.get(campaign_id=campaign_id, occurrence=number).id, clock)
        expected = CampaignState.FINISHED if number == 3 else CampaignState.ACTIVE
        assert queries.get(project, campaign_id).state is expected
    clock.advance(7 * 24 * 3600)
    assert occurrence_desk.plan_ahead(clock.now_utc()).made == 0
    assert len(queries.runs(project, campaign_id)) == 3


def test_an_end_date_ends_it_too(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(replace(DAILY, until=date(2026, 11, 22)))
    assert len(queries.runs(project, campaign_id)) == 2
    for number in (1, 2):
        end(Run.objects.get(campaign_id=campaign_id, occurrence=number).id, clock)
    clock.advance(3 * 24 * 3600)
    occurrence_desk.plan_ahead(clock.now_utc())
    assert queries.get(project, campaign_id).state is CampaignState.FINISHED


def test_planners_at_once_make_each_occurrence_once(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make(Repeat(RepeatKind.CRON, cron="0 * * * *"))
    clock.advance(20 * 3600)
    now = clock.now_utc()
    together = threading.Barrier(4)
    made: list[int] = []

    def plan() -> None:
        try:
            together.wait()
            made.append(occurrence_desk.plan_ahead(now).made)
        finally:
            connection.close()

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    dues = [row.due_at_utc for row in queries.runs(project, campaign_id)]
    assert len(dues) == len(set(dues))
    assert sorted(dues) == [at(21, 3) + timedelta(hours=number) for number in range(len(dues))]
    assert max(dues) >= now + timedelta(hours=48) - timedelta(hours=1)


def test_looking_when_there_is_nothing_to_do_costs_two_statements(make: Make, clock: VirtualClock) -> None:
    make()
    make(Repeat(RepeatKind.MONTHLY, 600))
    with CaptureQueriesContext(connection) as counted:
        occurrence_desk.plan_ahead(clock.now_utc() + timedelta(minutes=1))
    assert len(counted) == 2


@pytest.mark.parametrize(
    ("pile_up", "expected"),
    [
        (PileUp.NEWEST, ["missed", "missed", "missed", "missed", "planned"]),
        (PileUp.ALL, ["planned", "planned", "planned", "planned", "planned"]),
        (PileUp.ASK, ["held", "held", "held", "held", "held"]),
    ],
)
def test_after_days_without_a_planner_the_policy_says_what_leaves(
    pile_up: PileUp, expected: list[str], project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make(late=LatePolicy(pile_up=pile_up))
    clock.advance(4 * 24 * 3600 + 7 * 3600)  # five were due
    done = occurrence_desk.plan_ahead(clock.now_utc())
    overdue = [state for number, state in states(project, campaign_id) if number <= 5]
    assert overdue == expected
    assert (done.missed, done.held) == (expected.count("missed"), expected.count("held"))
    assert states(project, campaign_id)[5:] == [(6, "planned"), (7, "planned")]
    for row in queries.runs(project, campaign_id):
        if row.state in (RunState.MISSED, RunState.HELD):
            assert row.reason
            assert row.reason_ja
            assert [line.what for line in queries.timeline(project, row.id)].count(f"run.{row.state}") == 1
    assert occurrence_desk.plan_ahead(clock.now_utc()) == occurrence_desk.PlannedAhead()


def test_three_weeks_away_from_a_frequent_campaign_is_history_not_a_flood(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make(Repeat(RepeatKind.CRON, cron="*/10 * * * *"))
    clock.advance(20 * 24 * 3600)
    for _ in range(3):  # 2,000 at once, so that one campaign's past does not hold up all others
        occurrence_desk.plan_ahead(clock.now_utc())
    overdue = Run.objects.filter(campaign_id=campaign_id, due_at__lte=clock.now_utc())
    assert overdue.count() == 20 * 24 * 6 + 1
    assert list(overdue.exclude(state="missed").values_list("due_at", flat=True)) == [clock.now_utc()]


def test_a_run_that_senders_have_in_hand_is_asked_about_before_it_is_let_go(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    clock.advance(30 * 3600 + 60)  # two were due
    first, second = Run.objects.filter(campaign_id=campaign_id).order_by("occurrence")[:2]
    Run.objects.filter(id__in=[first.id, second.id]).update(
        state="sealed", order={"to_send": 2}, sealed_at=clock.now_utc(), planned=2
    )
    assert occurrence_desk.plan_ahead(clock.now_utc()).missed == 0
    now = clock.now_utc()
    decision = occurrence_desk.decision_for_unbegun(project, first.id, now)
    assert decision.verdict is Verdict.MISS
    assert occurrence_desk.decision_for_unbegun(project, second.id, now).verdict is Verdict.GO
    assert occurrence_desk.apply(project, first.id, decision, now)
    assert not occurrence_desk.apply(project, first.id, decision, now)
    assert [state for _number, state in states(project, campaign_id)[:2]] == ["missed", "sealed"]
    assert Run.objects.get(id=first.id).closed_at is None  # the bus is still to be cleared of it


def test_latest_start_holds_or_skips_as_the_campaign_says(project: str, make: Make, clock: VirtualClock) -> None:
    asks = make(late=LatePolicy(start_within_seconds=60.0))
    skips = make(late=LatePolicy(start_within_seconds=60.0, then=LateChoice.SKIP))
    clock.advance(6 * 3600 + 61)
    now = clock.now_utc()
    for campaign_id, verdict in ((asks, Verdict.HOLD), (skips, Verdict.MISS)):
        run = Run.objects.get(campaign_id=campaign_id, occurrence=1)
        decision = occurrence_desk.decision_for_unbegun(project, run.id, now)
        assert decision.verdict is verdict
        assert decision.reason is not None
        assert "2026-11-21 09:01 UTC" in decision.reason.en


def test_a_paused_campaign_plans_no_start_and_catches_up_by_its_policy(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    services.pause(project, campaign_id, by=BY, clock=clock)
    clock.advance(4 * 24 * 3600 + 7 * 3600)
    assert occurrence_desk.plan_ahead(clock.now_utc()) == occurrence_desk.PlannedAhead()
    assert states(project, campaign_id) == [(1, "paused"), (2, "paused")]
    services.resume(project, campaign_id, by=BY, clock=clock)
    assert states(project, campaign_id) == [
        *((number, "missed") for number in range(1, 5)),
        *((number, "planned") for number in (5, 6, 7)),
    ]


def test_pausing_and_resuming_before_anything_is_due_changes_nothing(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    before = [(row.due_at_utc, row.latest_start_at_utc) for row in queries.runs(project, campaign_id)]
    services.pause(project, campaign_id, by=BY, clock=clock)
    clock.advance(3600)
    services.resume(project, campaign_id, by=BY, clock=clock)
    assert [(row.due_at_utc, row.latest_start_at_utc) for row in queries.runs(project, campaign_id)] == before
    assert states(project, campaign_id) == [(1, "planned"), (2, "planned")]


def test_rescheduling_keeps_what_left_and_replaces_what_is_to_come(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    clock.advance(7 * 3600)
    occurrence_desk.plan_ahead(clock.now_utc())
    end(Run.objects.get(campaign_id=campaign_id, occurrence=1).id, clock)
    plan = Plan(repeat=replace(DAILY, at_minute=20 * 60))
    services.reschedule(project, campaign_id, plan=plan, by=BY, clock=clock)
    rows = sorted(queries.runs(project, campaign_id), key=lambda row: row.occurrence)
    assert [(row.state.value, row.due_at_utc) for row in rows] == [
        ("finished", at(21)),
        ("stopped", at(22)),
        ("stopped", at(23)),
        ("planned", at(21, 11)),
        ("planned", at(22, 11)),
        ("planned", at(23, 11)),
    ]
    row = queries.get(project, campaign_id)
    assert (row.state, row.next_due_at_utc) == (CampaignState.ACTIVE, at(21, 11))
    assert [line.action for line in queries.audit(project, campaign_id)].count("run.stopped") == 2


def test_an_edit_in_between_keeps_the_history(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make()
    clock.advance(7 * 3600)
    occurrence_desk.plan_ahead(clock.now_utc())
    end(Run.objects.get(campaign_id=campaign_id, occurrence=1).id, clock)
    services.back_to_draft(project, campaign_id, by=BY, clock=clock)
    assert occurrence_desk.plan_ahead(clock.now_utc() + timedelta(days=3)).made == 0
    services.schedule(project, campaign_id, by=BY, clock=clock)
    kept = [(number, state) for number, state in states(project, campaign_id) if state != "stopped"]
    assert kept == [(1, "finished"), (4, "planned"), (5, "planned")]


def test_a_stopped_campaign_plans_no_more(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make()
    services.stop(project, campaign_id, by=BY, reason="closed for good", clock=clock)
    clock.advance(5 * 24 * 3600)
    assert occurrence_desk.plan_ahead(clock.now_utc()).made == 0
    assert {state for _number, state in states(project, campaign_id)} == {"stopped"}


def test_one_occurrence_is_skipped_or_sent_now_and_the_others_stay(
    project: str, make: Make, clock: VirtualClock
) -> None:
    campaign_id = make()
    first, second = Run.objects.filter(campaign_id=campaign_id).order_by("occurrence")
    services.skip_run(project, first.id, by=BY, reason="holiday at the shop", clock=clock)
    services.send_run_now(project, second.id, by=BY, clock=clock)
    assert states(project, campaign_id) == [(1, "missed"), (2, "planned")]
    assert queries.get_run(project, second.id).due_at_utc == clock.now_utc()
    assert queries.get(project, campaign_id).state is CampaignState.SCHEDULED
    occurrence_desk.plan_ahead(clock.now_utc() + timedelta(hours=12))
    assert Run.objects.get(campaign_id=campaign_id, occurrence=3).due_at == at(23)


def test_a_rule_that_cannot_be_followed_makes_no_other_late(project: str, make: Make, clock: VirtualClock) -> None:
    broken, fine = make(), make()
    campaign = Campaign.objects.get(id=broken)
    campaign.plan["repeat"]["time_zone"] = "Asia/Nowhere"
    campaign.save(update_fields=["plan"])
    clock.advance(24 * 3600)
    assert occurrence_desk.plan_ahead(clock.now_utc()).made == 1
    assert len(queries.runs(project, fine)) == 3


def test_an_audience_is_expected_as_large_as_it_was_last_time(project: str, make: Make, clock: VirtualClock) -> None:
    campaign_id = make()
    runs = Run.objects.filter(campaign_id=campaign_id)
    assert set(runs.values_list("expected_planned", flat=True)) == {2}
    clock.advance(7 * 3600)
    end(runs.get(occurrence=1).id, clock)
    runs.filter(occurrence=1).update(planned=7)
    clock.advance(18 * 3600)
    occurrence_desk.plan_ahead(clock.now_utc())
    assert runs.get(occurrence=3).expected_planned == 7
