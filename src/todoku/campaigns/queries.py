"""Reads of the campaigns room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import QuerySet

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
    """Return the project's campaigns, newest first, each with its newest run; three statements for any number."""
    campaigns = list(Campaign.objects.filter(project_id=project_id).order_by("-created_at", "-id"))
    newest = (
        Run.objects.filter(project_id=project_id)
        .order_by("campaign_id", "-created_at", "-id")
        .distinct("campaign_id")
        .defer("order")
    )
    rows = {row.campaign_id: row for row in _run_rows(project_id, list(newest))}
    return [_campaign_row(campaign, rows.get(campaign.id)) for campaign in campaigns]


def get(project_id: str, campaign_id: UUID) -> CampaignRow:
    """Return one campaign with its newest run; raises CampaignMissing."""
    campaign = find_campaign(project_id, campaign_id)
    rows = _run_rows(project_id, list(_runs_of(campaign)[:1]))
    return _campaign_row(campaign, rows[0] if rows else None)


def runs(project_id: str, campaign_id: UUID) -> list[RunRow]:
    """Return the campaign's runs, newest first; raises CampaignMissing."""
    return _run_rows(project_id, list(_runs_of(find_campaign(project_id, campaign_id))))


def get_run(project_id: str, run_id: UUID) -> RunRow:
    """Return one run with its balance as of now; raises CampaignMissing."""
    found = list(Run.objects.filter(project_id=project_id, id=run_id).defer("order"))
    if not found:
        raise CampaignMissing(f"there is no run {run_id} in this project")
    return _run_rows(project_id, found)[0]


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


def _campaign_row(campaign: Campaign, run: RunRow | None) -> CampaignRow:
    return CampaignRow(
        id=campaign.id,
        project_id=campaign.project_id,
        name=campaign.name,
        state=CampaignState(campaign.state),
        content=CampaignContent(campaign.subject, campaign.html, campaign.text),
        audience=audiences.from_json(campaign.audience),
        due_at_utc=campaign.due_at,
        run=run,
        created_by=campaign.created_by,
        version=campaign.version,
    )


def _runs_of(campaign: Campaign) -> QuerySet[Run]:
    rows = Run.objects.filter(project_id=campaign.project_id, campaign=campaign)
    return rows.order_by("-created_at", "-id").defer("order")


def _run_rows(project_id: str, runs: Sequence[Run]) -> list[RunRow]:
    """Return the rows with their balances: closed ones from the run itself, those under way from the ledger."""
    under_way = [run.id for run in runs if run.tallies is None and run.sealed_at is not None]
    tallies = ledger.tallies(project_id, under_way) if under_way else {}
    return [_run_row(run, run.tallies or tallies.get(run.id, {})) for run in runs]


def _run_row(run: Run, tallies: Mapping[str, int]) -> RunRow:
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
        balance=RunBalance(planned=run.planned, **tallies),
        reason_ja=run.reason_ja,
        order_confirmed=run.sealed_at is None or run.order_version >= run.version,
    )
