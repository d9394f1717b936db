"""What people do about runs that went wrong, alone and two at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from todoku.campaigns import following, occurrence_desk, queries, services, undelivered
from todoku.campaigns.errors import NotSchedulable, WrongState
from todoku.campaigns.health import facts
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.policies import LateDecision, Verdict
from todoku.campaigns.transitions import Act
from todoku.campaigns.types import CampaignState, Reason, RunKind, RunState
from todoku.content.starters import load_starter
from todoku.kernel.clock import VirtualClock
from todoku.kernel.health import HealthState
from todoku.kernel.ids import new_id

Draft = Callable[..., UUID]
Invite = Callable[..., None]
Scheduled = Callable[..., Run]
Press = Callable[[Callable[[], object]], list[str]]
BY, COLLEAGUE = "marketer@example.com", "owner@example.com"
HOUR = timedelta(hours=1)


def decide(run: Run, verdict: Verdict, clock: VirtualClock) -> None:
    assert occurrence_desk.apply(run.project_id, run.id, LateDecision(verdict, Reason("so", "そう")), clock.now_utc())


def sent(run: Run, clock: VirtualClock, late: timedelta = timedelta(0), **tallies: int) -> Run:
    """Do what sealing, sending and closing do to a run."""
    now = clock.now_utc()
    starter = load_starter("ja")
    state = "stopped" if tallies.pop("stopped", 0) else "finished"
    Run.objects.filter(id=run.id).update(
        state=state,
        planned=3,
        order={
            "to_send": 3,
            "subject_template": "as it was sent",
            "html_template": starter.html,
            "text_template": starter.text,
        },
        sealed_at=run.due_at - HOUR,
        started_at=run.due_at + late,
        finished_at=now,
        closed_at=now,
        tallies=tallies,
    )
    following.run_began(run.project_id, run.campaign_id, run.kind)
    following.run_ended(run.project_id, run.campaign_id, run.kind, Act("run.finished", "planner", now))
    return Run.objects.get(id=run.id)


@pytest.mark.parametrize("verdict", [Verdict.HOLD, Verdict.MISS])
def test_of_four_who_send_the_same_run_now_one_wins(
    verdict: Verdict, project: str, scheduled: Scheduled, clock: VirtualClock, pressed_at_once: Press
) -> None:
    run = scheduled()
    clock.advance(2 * 3600)
    decide(run, verdict, clock)
    results = pressed_at_once(lambda: services.send_run_now(project, run.id, by=BY, clock=clock))
    assert results == ["told"] * 3 + ["won"]
    assert queries.get_run(project, run.id).state is RunState.PLANNED
    assert Audit.objects.filter(run_id=run.id, action="run.sent_now").count() == 1


def test_of_four_who_leave_it_out_one_wins(
    project: str, scheduled: Scheduled, clock: VirtualClock, pressed_at_once: Press
) -> None:
    run = scheduled()
    results = pressed_at_once(lambda: services.skip_run(project, run.id, by=BY, clock=clock))
    assert results == ["told"] * 3 + ["won"]
    assert queries.get(project, run.campaign_id).state is CampaignState.FINISHED


def test_of_four_who_send_to_the_rest_one_makes_a_run(
    project: str, scheduled: Scheduled, clock: VirtualClock, pressed_at_once: Press
) -> None:
    run = sent(scheduled(), clock, sent=2, expired=1)
    press = lambda: services.send_to_not_reached(project, run.id, by=BY, clock=clock)  # noqa: E731
    assert pressed_at_once(press) == ["told"] * 3 + ["won"]
    assert Run.objects.filter(kind="resend").count() == 1


def test_a_resend_goes_with_the_same_words_to_exactly_those(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = sent(scheduled(), clock, sent=1, expired=1, unknown=1)
    made = services.send_to_not_reached(project, run.id, ["expired"], by=BY, clock=clock)
    row = Run.objects.get(id=made)
    assert (row.kind, row.source_run, row.source_states) == ("resend", run.id, ["expired"])
    assert (row.occurrence, row.expected_planned, row.due_at) == (0, 1, clock.now_utc())
    assert row.content is not None
    assert row.content["subject"] == "as it was sent"
    campaign = queries.get(project, run.campaign_id)
    assert campaign.state is CampaignState.ACTIVE
    assert campaign.run is not None
    assert campaign.run.source_run_id == run.id
    Run.objects.filter(id=made).update(state="finished", started_at=clock.now_utc(), planned=1, tallies={"sent": 1})
    following.run_ended(project, run.campaign_id, RunKind.RESEND, Act("x", "planner", clock.now_utc()))
    assert queries.get(project, run.campaign_id).state is CampaignState.FINISHED


def test_nobody_is_sent_to_twice_by_pressing_again_later(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = sent(scheduled(), clock, sent=1, expired=1, unknown=1)
    made = services.send_to_not_reached(project, run.id, ["expired"], by=BY, clock=clock)
    sent(Run.objects.get(id=made), clock, sent=1)
    with pytest.raises(WrongState, match="made already"):
        services.send_to_not_reached(project, run.id, ["expired", "unknown"], by=BY, clock=clock)
    assert services.send_to_not_reached(project, run.id, ["unknown"], by=BY, clock=clock) != made


def test_a_resend_that_never_left_can_be_made_again(project: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    run = sent(scheduled(), clock, sent=2, expired=1)
    services.send_to_not_reached(project, run.id, by=BY, clock=clock)
    services.stop(project, run.campaign_id, by=BY, reason="not yet", clock=clock)
    services.send_to_not_reached(project, run.id, by=BY, clock=clock)
    assert Run.objects.filter(kind="resend", state="planned").count() == 1


@pytest.mark.parametrize(
    ("states", "code"),
    [(["sent"], "states"), ([], "states"), (["nonsense"], "states"), (["refused"], "nobody_left")],
)
def test_states_that_make_no_sense_are_refused(
    states: list[str], code: str, project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = sent(scheduled(), clock, sent=2, expired=1)
    with pytest.raises(NotSchedulable) as caught:
        services.send_to_not_reached(project, run.id, states, by=BY, clock=clock)
    assert [one.code for one in caught.value.obstacles] == [code]
    assert Run.objects.filter(kind="resend").count() == 0


def test_those_whom_a_stop_left_out_are_sent_to_once_their_names_are_kept(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = sent(scheduled(), clock, stopped=1, sent=1)
    with pytest.raises(WrongState, match="gathered"):
        services.send_to_not_reached(project, run.id, ["pending"], by=BY, clock=clock)
    people = [(new_id(), f"p{number}@example.com") for number in range(3)]
    reached = (new_id(), "reached@example.com")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO delivery (run_id, line, place, project_id, guest_id, address, state, answer, at, message_id) "
            "VALUES (%s, 1, 0, %s, %s, %s, 'sent', '250', now(), '<x@example.com>')",
            [run.id, project, *reached],
        )
    assert undelivered.keep(project, run.id, [people[0], reached, *people[1:]]) == 3
    assert undelivered.keep(project, run.id, people) == 0
    assert [one for chunk in undelivered.stream(project, run.id) for one in chunk] == people
    made = services.send_to_not_reached(project, run.id, ["pending"], by=BY, clock=clock)
    assert queries.get_run(project, made).source_run_id == run.id


def test_a_remedy_for_many_helps_each_that_can_be_helped(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    held, missed, planned = scheduled("a"), scheduled("b"), scheduled("c")
    clock.advance(7200)
    decide(held, Verdict.HOLD, clock)
    decide(missed, Verdict.MISS, clock)
    ids = [held.id, missed.id, planned.id, held.id, new_id()]
    results = services.remedy(project, ids, "send_now", by=BY, clock=clock)
    assert [bool(one.problem) for one in results] == [False, False, True, True]
    assert {queries.get_run(project, one.id).state for one in (held, missed)} == {RunState.PLANNED}
    with pytest.raises(ValueError, match="action"):
        services.remedy(project, ids, "explode", by=BY, clock=clock)


def test_while_away_names_what_somebody_should_know(project: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    runs = {name: scheduled(name) for name in ("held", "missed", "late", "started late", "on time", "tomorrow")}
    Run.objects.filter(id=runs["tomorrow"].id).update(due_at=clock.now_utc() + 30 * HOUR)
    clock.advance(2 * 3600)
    decide(runs["held"], Verdict.HOLD, clock)
    decide(runs["missed"], Verdict.MISS, clock)
    sent(runs["started late"], clock, timedelta(seconds=61), sent=2, expired=1)
    sent(runs["on time"], clock, timedelta(seconds=1), sent=3)
    with CaptureQueriesContext(connection) as counted:
        rows = queries.while_away(project, clock=clock)
    assert len(counted) <= 3
    assert [(row.campaign_name, row.what, row.remedies) for row in rows] == [
        ("held", "held", ("send_now", "skip")),
        ("late", "late", ("skip", "acknowledge")),
        ("missed", "missed", ("send_now", "acknowledge")),
        ("started late", "started_late", ("resend", "acknowledge")),
    ]
    ids = [row.run.id for row in rows]
    assert not any(one.problem for one in services.remedy(project, ids[1:], "acknowledge", by=BY, clock=clock))
    assert [row.what for row in queries.while_away(project, clock=clock)] == ["held"]
    services.acknowledge(project, ids[1], by=COLLEAGUE, clock=clock)
    assert Audit.objects.filter(run_id=ids[1], action="run.acknowledged").count() == 1


def test_whoever_sends_one_and_skips_all_others_does_not_skip_it(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    missed, late = scheduled("missed"), scheduled("late")
    clock.advance(2 * 3600)
    decide(missed, Verdict.MISS, clock)
    services.send_run_now(project, missed.id, by=BY, clock=clock)
    assert [row.campaign_name for row in queries.while_away(project, clock=clock)] == ["late"]
    clock.advance(31)
    assert {row.campaign_name for row in queries.while_away(project, clock=clock)} == {"late", "missed"}
    assert {row.run.id for row in queries.while_away(project, clock=clock)} == {missed.id, late.id}


def test_what_is_a_week_old_is_history(project: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    run = scheduled()
    clock.advance(2 * 3600)
    decide(run, Verdict.MISS, clock)
    clock.advance(8 * 24 * 3600)
    assert queries.while_away(project, clock=clock) == []


def test_a_timeline_tells_a_run_from_its_plan_to_its_end(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = scheduled()
    clock.advance(60)
    services.pause(project, run.campaign_id, by=BY, reason="typo?", clock=clock)
    clock.advance(60)
    services.resume(project, run.campaign_id, by=COLLEAGUE, clock=clock)
    clock.advance(2 * 3600)
    decide(run, Verdict.HOLD, clock)
    entries = queries.timeline(project, run.id)
    assert [(entry.what, entry.by) for entry in entries] == [
        ("campaign.created", BY),
        ("campaign.scheduled", BY),
        ("campaign.paused", BY),
        ("campaign.resumed", COLLEAGUE),
        ("run.due", ""),
        ("run.held", "planner"),
    ]
    assert entries[2].detail == "typo?"


def test_a_timeline_of_an_old_run_does_not_tell_of_later_days(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = sent(scheduled(), clock, sent=2, expired=1)
    clock.advance(3600)
    made = services.send_to_not_reached(project, run.id, by=BY, clock=clock)
    services.pause(project, run.campaign_id, by=BY, clock=clock)
    assert "campaign.paused" not in [entry.what for entry in queries.timeline(project, run.id)]
    assert "campaign.paused" in [entry.what for entry in queries.timeline(project, made)]


def test_health_says_what_is_wrong_with_runs_and_planners(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    def troubled() -> dict[str, HealthState]:
        return {fact.name: fact.state for fact in facts(project, clock=clock) if fact.state is not HealthState.OK}

    assert troubled() == {}
    held, missed, late = scheduled("held"), scheduled("missed"), scheduled("late")
    assert troubled() == {"campaigns.planner": HealthState.UNKNOWN}
    occurrence_desk.beat("one", clock.now_utc())
    assert troubled() == {}
    clock.advance(2 * 3600)
    decide(held, Verdict.HOLD, clock)
    decide(missed, Verdict.MISS, clock)
    assert troubled() == {
        "campaigns.sealing": HealthState.LATE,
        "campaigns.starts": HealthState.LATE,
        "campaigns.held": HealthState.FAILING,
        "campaigns.missed": HealthState.FAILING,
        "campaigns.planner": HealthState.FAILING,
    }
    occurrence_desk.beat("two", clock.now_utc())
    services.acknowledge(project, missed.id, by=BY, clock=clock)
    services.skip_run(project, late.id, by=BY, clock=clock)
    services.acknowledge(project, late.id, by=BY, clock=clock)
    assert troubled() == {"campaigns.held": HealthState.FAILING}


def test_the_cause_of_lateness_is_told_as_far_as_it_is_known(
    project: str, scheduled: Scheduled, clock: VirtualClock
) -> None:
    run = scheduled()
    occurrence_desk.beat("one", clock.now_utc())
    clock.advance(2 * 3600)
    occurrence_desk.beat("two", clock.now_utc())  # nobody looked for two hours
    cause = occurrence_desk.note_cause(project, run.id, clock.now_utc())
    assert "no planner could look from 2026-11-21 12:00:00 to 2026-11-21 14:00:00" in cause.en
    assert "計画プロセス" in cause.ja
    row = queries.get_run(project, run.id)
    assert (row.cause, row.cause_ja) == (cause.en, cause.ja)
    sealed = run.due_at - timedelta(minutes=10)
    Run.objects.filter(id=run.id).update(state="sealed", sealed_at=sealed)
    assert "no sender began it" in occurrence_desk.note_cause(project, run.id, clock.now_utc()).en
    services.pause(project, run.campaign_id, by=BY, clock=clock)
    assert "paused by a person" in occurrence_desk.note_cause(project, run.id, clock.now_utc()).en
    services.resume(project, run.campaign_id, by=BY, clock=clock)
    clock.advance(60)
    assert (
        "paused by a person until 2026-11-21 14:00:00"
        in occurrence_desk.note_cause(project, run.id, clock.now_utc()).en
    )


def test_a_run_is_found_by_its_own_project_only(project: str, scheduled: Scheduled, clock: VirtualClock) -> None:
    from todoku.campaigns.errors import CampaignMissing

    run = scheduled()
    for act in (services.send_run_now, services.skip_run, services.acknowledge, services.send_to_not_reached):
        with pytest.raises(CampaignMissing):
            act("somebody-else", run.id, by=BY, clock=clock)
    assert services.remedy("somebody-else", [run.id], "skip", by=BY, clock=clock)[0].problem
    with pytest.raises(CampaignMissing):
        queries.timeline("somebody-else", run.id)
    assert Campaign.objects.get(id=run.campaign_id).state == "scheduled"
