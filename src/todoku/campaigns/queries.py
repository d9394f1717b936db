"""Reads of the campaigns room."""

from __future__ import annotations

from uuid import UUID

from todoku.campaigns import audiences, readiness
from todoku.campaigns.errors import CampaignMissing
from todoku.campaigns.models import Audit, Campaign, Run
from todoku.campaigns.transitions import find_campaign
from todoku.campaigns.types import (
    AuditLine,
    CampaignContent,
    CampaignRow,
    CampaignState,
    Obstacle,
    RunRow,
    RunState,
)
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import RunBalance
from todoku.kernel.clock import Clock


def list_campaigns(project_id: str) -> list[CampaignRow]:
    """Return the project's campaigns, newest first, each with its newest run."""
    campaigns = list(Campaign.objects.filter(project_id=project_id).order_by("-created_at", "-id"))
    newest: dict[UUID, Run] = {}
    for run in Run.objects.filter(project_id=project_id).order_by("created_at", "id"):
        newest[run.campaign_id] = run
    return [_campaign_row(campaign, newest.get(campaign.id)) for campaign in campaigns]


def get(project_id: str, campaign_id: UUID) -> CampaignRow:
    """Return one campaign with its newest run; raises CampaignMissing."""
    campaign = find_campaign(project_id, campaign_id)
    run = Run.objects.filter(project_id=project_id, campaign=campaign).order_by("-created_at", "-id").first()
    return _campaign_row(campaign, run)


def runs(project_id: str, campaign_id: UUID) -> list[RunRow]:
    """Return the campaign's runs, newest first; raises CampaignMissing."""
    campaign = find_campaign(project_id, campaign_id)
    rows = Run.objects.filter(project_id=project_id, campaign=campaign).order_by("-created_at", "-id")
    return [_run_row(row) for row in rows]


def get_run(project_id: str, run_id: UUID) -> RunRow:
    """Return one run with its balance as of now; raises CampaignMissing."""
    row = Run.objects.filter(project_id=project_id, id=run_id).first()
    if row is None:
        raise CampaignMissing(f"there is no run {run_id} in this project")
    return _run_row(row)


def audit(project_id: str, campaign_id: UUID) -> list[AuditLine]:
    """Return who did what to the campaign, newest first; raises CampaignMissing."""
    find_campaign(project_id, campaign_id)
    rows = Audit.objects.filter(project_id=project_id, campaign_id=campaign_id).order_by("-at", "-id")
    return [AuditLine(row.at, row.by, row.action, row.detail) for row in rows]


def obstacles(project_id: str, campaign_id: UUID, *, clock: Clock) -> list[Obstacle]:
    """Return what speaks against sending the campaign right now, for the page that edits it; [] when nothing does."""
    campaign = find_campaign(project_id, campaign_id)
    now_utc = clock.now_utc()
    return readiness.obstacles(
        project_id,
        CampaignContent(campaign.subject, campaign.html, campaign.text),
        audiences.from_json(campaign.audience),
        due_at_utc=now_utc,
        now_utc=now_utc,
    )


def _campaign_row(campaign: Campaign, run: Run | None) -> CampaignRow:
    return CampaignRow(
        id=campaign.id,
        project_id=campaign.project_id,
        name=campaign.name,
        state=CampaignState(campaign.state),
        content=CampaignContent(campaign.subject, campaign.html, campaign.text),
        audience=audiences.from_json(campaign.audience),
        due_at_utc=campaign.due_at,
        run=_run_row(run) if run is not None else None,
        created_by=campaign.created_by,
        version=campaign.version,
    )


def _run_row(run: Run) -> RunRow:
    late = max(0.0, (run.started_at - run.due_at).total_seconds()) if run.started_at is not None else None
    return RunRow(
        id=run.id,
        campaign_id=run.campaign_id,
        state=RunState(run.state),
        reason=run.reason,
        due_at_utc=run.due_at,
        sealed_at_utc=run.sealed_at,
        started_at_utc=run.started_at,
        finished_at_utc=run.finished_at,
        seconds_late=late,
        balance=_balance(run),
        reason_ja=run.reason_ja,
        order_confirmed=run.order is None or run.order_version >= run.version,
    )


def _balance(run: Run) -> RunBalance:
    if run.tallies is not None:
        return RunBalance(planned=run.planned, **run.tallies)
    if run.sealed_at is None:
        return RunBalance(planned=0)
    return ledger.balance(run.project_id, run.id, run.planned)
