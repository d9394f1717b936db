"""Reads of the campaigns room."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from todoku.campaigns import audiences, readiness
from todoku.campaigns.errors import CampaignMissing
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.overviews import calendar, names_of_runs, test_runs, timeline, while_away
from todoku.campaigns.readiness import Readiness
from todoku.campaigns.run_making import plan_of
from todoku.campaigns.run_rows import by_what_matters, campaign_row, light, next_dues, rows_of_project, run_rows
from todoku.campaigns.transitions import find_campaign
from todoku.campaigns.types import AuditLine, CampaignContent, CampaignRow, Notice, Obstacle, Plan, RunRow
from todoku.kernel.clock import Clock

__all__ = [
    "audit",
    "calendar",
    "get",
    "get_run",
    "list_campaigns",
    "names_of_runs",
    "notices",
    "obstacles",
    "runs",
    "test_runs",
    "timeline",
    "while_away",
]


def list_campaigns(project_id: str) -> list[CampaignRow]:
    """Return the project's campaigns, newest first, each with the run that matters now; four statements in all."""
    campaigns = list(Campaign.objects.filter(project_id=project_id).order_by("-created_at", "-id"))
    matter = by_what_matters(rows_of_project(project_id)).distinct("campaign_id")
    rows = {row.campaign_id: row for row in run_rows(project_id, list(matter))}
    dues = next_dues(project_id, [campaign.id for campaign in campaigns])
    return [campaign_row(campaign, rows.get(campaign.id), dues.get(campaign.id)) for campaign in campaigns]


def get(project_id: str, campaign_id: UUID) -> CampaignRow:
    """Return one campaign with the run that matters now; raises CampaignMissing."""
    campaign = find_campaign(project_id, campaign_id)
    matter = by_what_matters(rows_of_project(project_id).filter(campaign=campaign))[:1]
    rows = run_rows(project_id, list(matter))
    due = next_dues(project_id, [campaign_id]).get(campaign_id)
    return campaign_row(campaign, rows[0] if rows else None, due)


def runs(project_id: str, campaign_id: UUID, *, limit: int | None = None) -> list[RunRow]:
    """Return the campaign's runs, the latest due first, tests left aside; raises CampaignMissing."""
    rows = rows_of_project(project_id).filter(campaign=find_campaign(project_id, campaign_id))
    return run_rows(project_id, list(rows.order_by("-due_at", "-created_at", "-id")[:limit]))


def get_run(project_id: str, run_id: UUID) -> RunRow:
    """Return one run with its balance as of now, of a test too; raises CampaignMissing."""
    found = list(light(Run.objects.filter(project_id=project_id, id=run_id)))
    if not found:
        raise CampaignMissing(f"there is no run {run_id} in this project")
    return run_rows(project_id, found)[0]


def audit(project_id: str, campaign_id: UUID) -> list[AuditLine]:
    """Return who did what to the campaign, newest first; raises CampaignMissing."""
    find_campaign(project_id, campaign_id)
    rows = Audit.objects.filter(project_id=project_id, campaign_id=campaign_id).order_by("-at", "-id")
    return [AuditLine(row.at, row.by, row.action, row.detail) for row in rows]


def obstacles(
    project_id: str,
    campaign_id: UUID,
    *,
    clock: Clock,
    due_at_utc: datetime | None = None,
    plan: Plan | None = None,
) -> list[Obstacle]:
    """Return what speaks against sending the campaign, for the page that edits it; [] when nothing does.

    As if it were scheduled now with its own plan, unless told otherwise.
    """
    return list(_look(project_id, campaign_id, clock, due_at_utc, plan).obstacles)


def notices(
    project_id: str,
    campaign_id: UUID,
    *,
    clock: Clock,
    due_at_utc: datetime | None = None,
    plan: Plan | None = None,
) -> list[Notice]:
    """Return what a person should know before scheduling: quiet hours at the due time, recipients' zones, short months.

    [] while there are obstacles.
    """
    return list(_look(project_id, campaign_id, clock, due_at_utc, plan).notices)


def _look(
    project_id: str, campaign_id: UUID, clock: Clock, due_at_utc: datetime | None, plan: Plan | None
) -> Readiness:
    campaign = find_campaign(project_id, campaign_id)
    now_utc = clock.now_utc()
    plan = plan or plan_of(campaign)
    return readiness.look(
        project_id,
        CampaignContent(campaign.subject, campaign.html, campaign.text),
        audiences.from_json(campaign.audience),
        plan=plan,
        due_at_utc=due_at_utc or (now_utc if plan.repeat is None else None),
        now_utc=now_utc,
    )
