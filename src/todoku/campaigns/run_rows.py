"""Rows of runs and campaigns as other rooms see them; a constant number of statements for any number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, IntegerField, Min, QuerySet, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Extract

from todoku.campaigns import audiences, plans
from todoku.campaigns.models import Campaign, Run
from todoku.campaigns.transitions import OVER
from todoku.campaigns.types import (
    Approval,
    CampaignContent,
    CampaignRow,
    CampaignState,
    RunKind,
    RunRow,
    RunState,
)
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import RunBalance

_HEAVY = ("order", "content")  # templates of up to 384 KB each


def rows_of_project(project_id: str) -> QuerySet[Run]:
    """Return the project's runs without what is heavy, tests left aside."""
    return light(Run.objects.filter(project_id=project_id).exclude(kind=RunKind.TEST))


def light(rows: QuerySet[Run]) -> QuerySet[Run]:
    """Leave out the templates; `to_send` of the sealed order is kept."""
    return rows.defer(*_HEAVY).annotate(to_send=Cast(KT("order__to_send"), IntegerField()))


def by_what_matters(rows: QuerySet[Run]) -> QuerySet[Run]:
    """Order each campaign's runs: what has begun or waits for a person, then the next due, then the latest over."""
    begun = When(state=RunState.SENDING, then=Value(0))
    paused_half_way = When(state=RunState.PAUSED, started_at__isnull=False, then=Value(0))
    held = When(state=RunState.HELD, then=Value(1))
    over = When(state__in=OVER, then=Value(3))
    epoch = Extract("due_at", "epoch")
    return rows.annotate(
        rank=Case(begun, paused_half_way, held, over, default=Value(2)),
        place=Case(When(state__in=OVER, then=-epoch), default=epoch),
    ).order_by("campaign_id", "rank", "place", F("created_at").desc(), F("id").desc())


def next_dues(project_id: str, campaign_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Return for each campaign when its next start is due, of those that have one; one statement."""
    rows = Run.objects.filter(
        project_id=project_id,
        campaign_id__in=campaign_ids,
        kind=RunKind.CAMPAIGN,
        state__in=(RunState.PLANNED, RunState.SEALING, RunState.SEALED),
        started_at__isnull=True,
    )
    return dict(rows.values_list("campaign_id").annotate(due=Min("due_at")).order_by())


def run_rows(project_id: str, runs: Sequence[Run]) -> list[RunRow]:
    """Return the rows with their balances: closed ones from the run itself, those under way from the ledger."""
    under_way = [run.id for run in runs if run.tallies is None and run.sealed_at is not None]
    tallies = ledger.tallies(project_id, under_way) if under_way else {}
    return [_run_row(run, run.tallies or tallies.get(run.id, {})) for run in runs]


def campaign_row(campaign: Campaign, run: RunRow | None, next_due: datetime | None) -> CampaignRow:
    """Return the campaign as other rooms see it."""
    asked_at = campaign.approval_asked_at
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
        plan=plans.from_json(campaign.plan),
        approval=None
        if asked_at is None
        else Approval(campaign.approval_asked_by, asked_at, campaign.approval_given_by, campaign.approval_given_at),
        next_due_at_utc=next_due,
    )


def _run_row(run: Run, tallies: Mapping[str, int]) -> RunRow:
    late = max(0.0, (run.started_at - run.due_at).total_seconds()) if run.started_at is not None else None
    annotated: Any = run
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
        kind=RunKind(run.kind),
        occurrence=run.occurrence,
        latest_start_at_utc=run.latest_start_at,
        latest_finish_at_utc=run.latest_finish_at,
        cause=run.cause,
        cause_ja=run.cause_ja,
        to_send=annotated.to_send,
        source_run_id=run.source_run,
        pre_sealed=run.pre_sealed_at is not None and run.sealed_at is None,
        awaits_approval=run.awaits_approval,
        sent_at_once=run.created_at >= run.due_at,
    )
