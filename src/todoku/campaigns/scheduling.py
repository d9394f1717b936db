"""Say when a campaign leaves, and take it back. Use through `campaigns.services`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from todoku.campaigns import audiences, plans, readiness
from todoku.campaigns.errors import NotSchedulable, WrongState
from todoku.campaigns.following import open_state
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.occurrence_desk import catch_up
from todoku.campaigns.readiness import Readiness
from todoku.campaigns.run_making import add_occurrences, awaits_approval, plan_of, revived_times, times_of
from todoku.campaigns.transitions import (
    Act,
    Raced,
    change_campaign,
    change_run,
    change_runs,
    decide,
    find_campaign,
    may_be_leaving,
    record,
    record_all,
    require_state,
    rows_of,
    runs_not_over,
)
from todoku.campaigns.types import CampaignContent, CampaignState, Plan, RunState
from todoku.kernel.clock import Clock, require_aware
from todoku.projects import queries as project_queries

RESCHEDULED = "rescheduled"
BACK_TO_DRAFT = "back to draft"
_JUST_BEFORE = timedelta(microseconds=1)


def schedule(project_id: str, campaign_id: UUID, *, due_at_utc: datetime | None = None, by: str, clock: Clock) -> None:
    """Plan the draft's start; raises NotSchedulable with all obstacles, WrongState.

    due_at_utc: of the one start; for a repeating campaign the moment before which none is wanted, None = from now on.
    Where the project asks for it, nothing leaves before a second person has approved.
    """
    now_utc = clock.now_utc()
    draft = find_campaign(project_id, campaign_id)
    require_state(draft, CampaignState.DRAFT)
    ready = _require_ready(draft, plan_of(draft), due_at_utc, now_utc)

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        _require_unchanged(campaign, draft)
        _plan(campaign, ready, Act("campaign.scheduled", by, now_utc))

    decide(work)


def reschedule(
    project_id: str,
    campaign_id: UUID,
    *,
    due_at_utc: datetime | None = None,
    plan: Plan | None = None,
    by: str,
    clock: Clock,
) -> None:
    """Give a campaign that has not left, or a repeating one, other times; raises NotSchedulable, WrongState.

    Runs that have not begun end as stopped with the reason "rescheduled", new ones take their place; those that left
    or are leaving stay as they are. A given approval is withdrawn, because what was approved is not what will leave.
    A paused campaign goes on by it.
    """
    now_utc = clock.now_utc()
    seen = find_campaign(project_id, campaign_id)
    require_state(seen, CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)
    ready = _require_ready(seen, plan or plan_of(seen), due_at_utc, now_utc)

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        _require_unchanged(campaign, seen)
        repeats = plan_of(campaign).repeat is not None
        for run in runs_not_over(campaign):
            if run.state == RunState.PAUSED and run.started_at is not None:
                raise WrongState("a run was paused half-way", todo="resume or stop it first")
            if may_be_leaving(run, now_utc) and not repeats:
                raise WrongState("the run is leaving already", todo="pause or stop it")
        withdraw(campaign, now_utc, by, RESCHEDULED)
        if not repeats and runs_not_over(campaign):
            raise Raced  # a planner saw it begin while we wrote
        _plan(campaign, ready, Act("campaign.rescheduled", by, now_utc))

    decide(work)


def send_now(project_id: str, campaign_id: UUID, *, by: str, clock: Clock) -> None:
    """Send a draft, a scheduled campaign or a held run at once; raises NotSchedulable, WrongState.

    One of a repeating campaign's runs is sent by `send_run_now`.
    """
    now_utc = clock.now_utc()
    seen = find_campaign(project_id, campaign_id)
    require_state(seen, CampaignState.DRAFT, CampaignState.SCHEDULED)
    plan = plan_of(seen)
    if plan.repeat is not None:
        raise WrongState("a repeating campaign leaves by its rule", todo="schedule it, or send one of its runs now")
    ready = _require_ready(seen, plan, now_utc, now_utc) if seen.state == CampaignState.DRAFT else None

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        _require_unchanged(campaign, seen)
        act = Act("campaign.sent_now", by, now_utc)
        if ready is not None:
            _plan(campaign, ready, act)
            return
        runs = runs_not_over(campaign)
        if not runs:
            raise WrongState("the run is over", todo="duplicate the campaign")
        hurry(runs[0], plan, now_utc)
        change_campaign(campaign, due_at=runs[0].due_at)
        record(act, project_id, campaign_id, runs[0].id)

    decide(work)


def back_to_draft(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Make a campaign editable again; its runs to come are over. Raises WrongState once one may be leaving.

    A repeating campaign keeps the history of its runs. A stopped one-time campaign that is scheduled again mails
    everybody of its audience again, also those whom the stopped run reached: pages say so.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(
            campaign,
            CampaignState.SCHEDULED,
            CampaignState.ACTIVE,
            CampaignState.PAUSED,
            CampaignState.STOPPED,
        )
        if any(may_be_leaving(run, now_utc) for run in runs_not_over(campaign)):
            raise WrongState("a run is leaving already", todo="let it end, or pause or stop it")
        withdraw(campaign, now_utc, by, BACK_TO_DRAFT)
        if runs_not_over(campaign):
            raise Raced  # a planner saw one begin while we wrote
        change_campaign(
            campaign,
            state=CampaignState.DRAFT,
            due_at=None,
            scheduled_through=None,
            **_approval_asked("", None),
        )
        record(Act("campaign.back_to_draft", by, now_utc, reason), project_id, campaign_id)

    decide(work)


def hurry(run: Run, plan: Plan, now_utc: datetime) -> None:
    """Let a run that waits leave at once; one that is late already keeps its due time, so that it shows how late.

    Within the caller's transaction. Raises Raced.
    """
    held = run.state == RunState.HELD
    moments = times_of(run.campaign, plan, min(now_utc, run.due_at))
    limits = revived_times(run, plan, now_utc)
    change_run(
        run,
        now_utc,
        state=run.resume_to if held else run.state,
        reason="",
        reason_ja="",
        resume_to="" if held else run.resume_to,
        due_at=moments.due_at,
        refresh_at=now_utc if run.pre_sealed_at is not None and run.sealed_at is None else run.refresh_at,
        **limits,
    )


def withdraw(campaign: Campaign, now_utc: datetime, by: str, reason: str) -> int:
    """Stop all runs of the campaign that have not begun, in two statements; those that may be leaving stay."""
    begun = [run.id for run in runs_not_over(campaign) if may_be_leaving(run, now_utc)]
    open_states = (RunState.PLANNED, RunState.SEALING, RunState.SEALED, RunState.HELD, RunState.PAUSED)
    rows = rows_of(campaign).filter(state__in=open_states, started_at__isnull=True).exclude(id__in=begun)
    ids = stop_rows(rows, now_utc, reason)
    record_all(Act("run.stopped", by, now_utc, reason), campaign.project_id, campaign.id, ids)
    return len(ids)


def stop_rows(rows: QuerySet[Run], now_utc: datetime, reason: str) -> list[UUID]:
    """Stop these runs; what is on the bus is cleared by the planner. Three statements for any number."""
    ids = list(rows.values_list("id", flat=True))
    picked = Run.objects.filter(id__in=ids).exclude(state__in=(RunState.FINISHED, RunState.MISSED, RunState.STOPPED))
    changes: dict[str, Any] = {
        "state": RunState.STOPPED,
        "reason": reason,
        "reason_ja": "",
        "resume_to": "",
        "lease_until": None,
    }
    change_runs(picked.filter(order__isnull=True), now_utc, closed_at=now_utc, **changes)
    change_runs(picked.filter(order__isnull=False), now_utc, **changes)
    return ids


def _plan(campaign: Campaign, ready: Readiness, act: Act) -> None:
    """Make the campaign's first run, or its first two days' runs, and let it be scheduled. Raises Raced."""
    now_utc, plan = act.at_utc, ready.plan
    asked = project_queries.get_project(campaign.project_id).requires_approval
    changes = {"plan": plans.to_json(plan), **_approval_asked(act.by if asked else "", now_utc if asked else None)}
    change_campaign(campaign, state=open_state(campaign), due_at=ready.due_at_utc, **changes)
    if plan.repeat is None:
        runs = add_occurrences(campaign, [ready.due_at_utc], now_utc, expected_planned=ready.planned)
        run_id = runs[0].id
    else:
        starts_at = plan.repeat.starts_at_utc or now_utc
        change_campaign(campaign, scheduled_through=starts_at - _JUST_BEFORE)
        catch_up(campaign, now_utc)
        rows_of(campaign).filter(state=RunState.PLANNED, expected_planned=None).update(expected_planned=ready.planned)
        run_id = None
    waits = ", waits for approval" if awaits_approval(campaign) else ""
    detail = f"due {ready.due_at_utc.isoformat()}{waits}"
    record(Act(act.action, act.by, now_utc, detail), campaign.project_id, campaign.id, run_id)


def _approval_asked(by: str, at_utc: datetime | None) -> dict[str, Any]:
    return {
        "approval_asked_by": by,
        "approval_asked_at": at_utc,
        "approval_given_by": "",
        "approval_given_at": None,
    }


def _require_unchanged(campaign: Campaign, seen: Campaign) -> None:
    if campaign.version != seen.version:
        raise WrongState("somebody changed the campaign just now", todo="look at it again, then decide")


def _require_ready(campaign: Campaign, plan: Plan, due_at_utc: datetime | None, now_utc: datetime) -> Readiness:
    if due_at_utc is not None:
        require_aware(due_at_utc)
    if plan.repeat is not None:
        wished = due_at_utc or plan.repeat.starts_at_utc or now_utc
        plan = replace(plan, repeat=replace(plan.repeat, starts_at_utc=max(wished, now_utc)))
    ready = readiness.look(
        campaign.project_id,
        CampaignContent(campaign.subject, campaign.html, campaign.text),
        audiences.from_json(campaign.audience),
        plan=plan,
        due_at_utc=due_at_utc,
        now_utc=now_utc,
    )
    if ready.obstacles:
        raise NotSchedulable(ready.obstacles)
    return ready
