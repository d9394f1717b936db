"""Make runs: numbered occurrences, resends, tests; inside this room only, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from todoku.campaigns import plans, policies
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.transitions import change_campaign
from todoku.campaigns.types import Plan, RunState
from todoku.kernel.ids import new_id
from todoku.projects import queries as project_queries


def plan_of(campaign: Campaign) -> Plan:
    """Return how the campaign leaves."""
    return plans.from_json(campaign.plan)


def awaits_approval(campaign: Campaign) -> bool:
    """Tell whether a second person has still to say yes."""
    return campaign.approval_asked_at is not None and campaign.approval_given_at is None


def add_occurrences(
    campaign: Campaign, dues: Sequence[datetime], now_utc: datetime, *, expected_planned: int | None, **changes: Any
) -> list[Run]:
    """Make one planned run per due time, numbered on; `changes` are written to the campaign with the count.

    One statement for all runs. Raises Raced when somebody changed the campaign meanwhile.
    """
    first = campaign.occurrences + 1
    runs = [
        new_run(campaign, due, now_utc, occurrence=first + place, expected_planned=expected_planned)
        for place, due in enumerate(dues)
    ]
    change_campaign(campaign, occurrences=campaign.occurrences + len(dues), **changes)
    Run.objects.bulk_create(runs)
    return runs


def new_run(campaign: Campaign, due_at_utc: datetime, now_utc: datetime, **fields: Any) -> Run:
    """Return a planned run of the campaign, not saved yet."""
    plan = plan_of(campaign)
    moments = times_of(campaign, plan, due_at_utc)
    return Run(
        id=new_id(),
        project_id=campaign.project_id,
        campaign=campaign,
        state=RunState.PLANNED,
        created_at=now_utc,
        changed_at=now_utc,
        due_at=moments.due_at,
        latest_start_at=moments.latest_start_at,
        latest_finish_at=moments.latest_finish_at,
        late_then=plan.late.then,
        **({"awaits_approval": awaits_approval(campaign)} | fields),
    )


def times_of(campaign: Campaign, plan: Plan, due_at_utc: datetime) -> policies.Times:
    """Return due, latest start and latest finish of a run of this campaign."""
    return policies.times(plan, due_at_utc, zone_of(campaign))


def zone_of(campaign: Campaign) -> str:
    """Return the project's time zone."""
    return project_queries.get_project(campaign.project_id).time_zone


def revived_times(run: Run, plan: Plan, now_utc: datetime) -> dict[str, datetime]:
    """Return the limits of a run that a person lets go on now; its due time stays, so that it shows how late it is."""
    start_by = policies.times(plan, now_utc, zone_of(run.campaign))
    return {
        "latest_start_at": max(run.latest_start_at, start_by.latest_start_at),
        "latest_finish_at": max(run.latest_finish_at, start_by.latest_finish_at),
    }
