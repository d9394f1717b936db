"""Pause, resume, stop, approve. Use through `campaigns.services`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest

from todoku.campaigns import policies
from todoku.campaigns.errors import ReasonMissing, SecondPersonNeeded, WrongState
from todoku.campaigns.following import open_state
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.occurrence_desk import catch_up
from todoku.campaigns.run_making import plan_of, times_of
from todoku.campaigns.scheduling import stop_rows
from todoku.campaigns.transitions import (
    OVER,
    Act,
    change_campaign,
    change_runs,
    decide,
    find_campaign,
    record,
    require_state,
    rows_of,
)
from todoku.campaigns.types import CampaignState, Plan, RunState
from todoku.kernel.clock import Clock
from todoku.projects.signatures import same_person, shown_name

_OPEN = (CampaignState.SCHEDULED, CampaignState.ACTIVE, CampaignState.PAUSED)


def pause(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Keep a scheduled or active campaign from going on; senders obey within one window. Raises WrongState.

    All its runs that are not over wait; no new ones are made while it is paused.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, CampaignState.SCHEDULED, CampaignState.ACTIVE)
        rows = rows_of(campaign)
        waiting = {"reason": reason, "reason_ja": "", "lease_until": None}
        paused = _only_run(rows)
        changed = 0
        for back, states in (
            (RunState.PLANNED, (RunState.PLANNED, RunState.SEALING)),
            (RunState.SEALED, (RunState.SEALED,)),
            (RunState.SENDING, (RunState.SENDING,)),
        ):
            state = RunState.PAUSED
            changed += change_runs(rows.filter(state__in=states), now_utc, state=state, resume_to=back, **waiting)
        changed += change_runs(rows.filter(state=RunState.HELD), now_utc, state=RunState.PAUSED, **waiting)
        if changed == 0 and campaign.scheduled_through is None:
            raise WrongState("no run of the campaign is left to be paused")
        change_campaign(campaign, state=CampaignState.PAUSED)
        record(Act("campaign.paused", by, now_utc, reason), project_id, campaign_id, paused)

    decide(work)


def resume(project_id: str, campaign_id: UUID, *, by: str, reason: str = "", clock: Clock) -> None:
    """Let a paused campaign, or its held runs, go on. Raises WrongState.

    What became late by it is sent at once; for a repeating campaign the pile-up policy says which of several.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        was_paused = campaign.state == CampaignState.PAUSED
        if not was_paused:
            require_state(campaign, *_OPEN)
        rows = rows_of(campaign).filter(state=RunState.PAUSED if was_paused else RunState.HELD)
        run_id = _only_run(rows)
        plan = plan_of(campaign)
        if _let_go_on(rows, campaign, plan, now_utc) == 0 and not was_paused:
            raise WrongState(f"the campaign is {campaign.state} and no run of it is held; there is nothing to resume")
        change_campaign(campaign, state=open_state(campaign))
        if was_paused and plan.repeat is not None:
            catch_up(campaign, now_utc)
        record(Act("campaign.resumed", by, now_utc, reason), project_id, campaign_id, run_id)

    decide(work)


def stop(project_id: str, campaign_id: UUID, *, by: str, reason: str, clock: Clock) -> None:
    """End a campaign for good; what was not sent stays pending in the balances of its runs.

    Raises WrongState; ReasonMissing without a reason: others will ask why.
    """
    now_utc = clock.now_utc()
    reason = reason.strip()
    if not reason:
        raise ReasonMissing("say why the campaign is stopped", kept="the campaign as it was", todo="give a reason")

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, *_OPEN)
        rows = rows_of(campaign).exclude(state__in=OVER)
        run_id = _only_run(rows)
        stopped = stop_rows(rows, now_utc, reason)
        if not stopped and campaign.scheduled_through is None:
            raise WrongState("no run of the campaign is left to be stopped")
        change_campaign(campaign, state=CampaignState.STOPPED, scheduled_through=None)
        record(Act("campaign.stopped", by, now_utc, reason), project_id, campaign_id, run_id)

    decide(work)


def approve(project_id: str, campaign_id: UUID, *, by: str, clock: Clock) -> None:
    """Say as a second person that the campaign may leave; raises WrongState, SecondPersonNeeded.

    Who asked for the approval or wrote the words last may not give it. Runs that were held for want of it go on,
    within their latest start.
    """
    now_utc = clock.now_utc()

    def work() -> None:
        campaign = find_campaign(project_id, campaign_id)
        require_state(campaign, *_OPEN)
        if campaign.approval_asked_at is None:
            raise WrongState("nobody asked for an approval of this campaign")
        if campaign.approval_given_at is not None:
            raise WrongState(f"{shown_name(campaign.approval_given_by)} has approved it already")
        if same_person(by, campaign.approval_asked_by) or same_person(by, campaign.edited_by):
            raise SecondPersonNeeded(
                "who wrote or scheduled a campaign can't approve it", todo="ask a colleague to approve it"
            )
        rows = rows_of(campaign).filter(awaits_approval=True)
        held = rows.filter(state=RunState.HELD, reason=policies.NOT_APPROVED.en)
        changes = {"state": F("resume_to"), "resume_to": "", "reason": "", "reason_ja": ""}
        change_runs(held, now_utc, awaits_approval=False, **changes)
        change_runs(rows, now_utc, awaits_approval=False)
        change_campaign(campaign, approval_given_by=by, approval_given_at=now_utc)
        record(Act("campaign.approved", by, now_utc), project_id, campaign_id)

    decide(work)


def _let_go_on(rows: QuerySet[Run], campaign: Campaign, plan: Plan, now_utc: datetime) -> int:
    """Bring runs back to where they were. A single start's limits count from now; a repeating one keeps its own."""
    changes = {"state": F("resume_to"), "resume_to": "", "reason": "", "reason_ja": ""}
    moments = times_of(campaign, plan, now_utc)
    later = {
        "latest_start_at": Greatest(F("latest_start_at"), moments.latest_start_at),
        "latest_finish_at": Greatest(F("latest_finish_at"), moments.latest_finish_at),
    }
    fresh = rows.none()
    if plan.repeat is not None and campaign.state == CampaignState.PAUSED:
        fresh = rows.filter(started_at__isnull=True).exclude(resume_to=RunState.SENDING)
    unbegun = list(fresh.values_list("id", flat=True))
    kept = change_runs(rows.filter(id__in=unbegun), now_utc, **changes)
    return kept + change_runs(rows.exclude(id__in=unbegun), now_utc, **changes, **later)


def _only_run(rows: QuerySet[Run]) -> UUID | None:
    """Return the run when it is the only one, so that its own page tells of it too."""
    ids = list(rows.exclude(state__in=OVER).values_list("id", flat=True)[:2])
    return ids[0] if len(ids) == 1 else None
