"""`/api/v1/campaigns`: plan, change, send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Header, Router, Schema

from todoku.api.calls import MAY_READ, MAY_WRITE, asker, moved, once
from todoku.api.plans import require_zoned, to_plan
from todoku.api.shapes import AudienceDoc, CampaignOut, ObstacleOut, PlanDoc, RunOut, TimelineOut
from todoku.campaigns import queries, services
from todoku.campaigns.types import CampaignContent, CampaignState

router = Router(tags=["campaigns"], auth=MAY_READ)
Once = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


class CampaignIn(Schema):
    """What to say, to whom, how."""

    name: str
    subject: str
    html: str
    text: str
    audience: AudienceDoc = AudienceDoc()
    plan: PlanDoc = PlanDoc()

    def content(self) -> CampaignContent:
        """Return the words."""
        return CampaignContent(self.subject, self.html, self.text)


class CampaignChange(CampaignIn):
    """A draft as it shall be. version: the one that was read."""

    version: int


class ScheduleIn(Schema):
    """When it leaves; due_at with its offset from UTC, null for a repeating campaign."""

    due_at: datetime | None = None


class RescheduleIn(ScheduleIn):
    """When, and how, it leaves instead. plan null: as it was."""

    plan: PlanDoc | None = None


class ReasonIn(Schema):
    """A person's words, for the audit log."""

    reason: str = ""


class SendTestIn(Schema):
    """To whom a test message goes; guest_id: whose values it shows."""

    addresses: list[str]
    guest_id: UUID | None = None


def due(document: ScheduleIn) -> datetime | None:
    """Return when it is due; raises RequestInvalid when the time says no zone."""
    return None if document.due_at is None else require_zoned(document.due_at, "due_at")


@router.get("", response=list[CampaignOut], summary="List campaigns")
def list_all(request: HttpRequest, state: CampaignState | None = None) -> Any:
    """All campaigns of the project, newest first; only those in one state when it is given."""
    rows = queries.list_campaigns(asker(request)[0].project_id)
    return [CampaignOut.of(row) for row in rows if state is None or row.state is state]


@router.post("", response={201: CampaignOut}, auth=MAY_WRITE, summary="Create a draft")
def create(request: HttpRequest, document: CampaignIn, idempotency_key: Once = None) -> Any:
    """Make a draft. Templates may still be wrong: `obstacles` names what is."""
    key, clock = asker(request)

    def work() -> CampaignOut:
        campaign_id = services.create(
            key.project_id,
            name=document.name,
            content=document.content(),
            audience=document.audience.to_audience(),
            plan=to_plan(document.plan, key.project_id),
            by=key.by,
            clock=clock,
        )
        moved(request, campaign_id=campaign_id)
        return _out(request, campaign_id)

    return once(request, idempotency_key, work, 201)


@router.get("/{campaign_id}", response=CampaignOut, summary="Read one campaign")
def read(request: HttpRequest, campaign_id: UUID) -> Any:
    """One campaign with the run that matters now."""
    return _out(request, campaign_id)


@router.put("/{campaign_id}", response=CampaignOut, auth=MAY_WRITE, summary="Change a draft")
def update(request: HttpRequest, campaign_id: UUID, document: CampaignChange, idempotency_key: Once = None) -> Any:
    """Replace a draft. 409 when somebody changed it since `version` was read, or it is no draft any more."""
    key, clock = asker(request)
    return _act(
        request,
        campaign_id,
        idempotency_key,
        lambda: services.update(
            key.project_id,
            campaign_id,
            name=document.name,
            content=document.content(),
            audience=document.audience.to_audience(),
            plan=to_plan(document.plan, key.project_id),
            version=document.version,
            by=key.by,
            clock=clock,
        ),
    )


@router.get("/{campaign_id}/obstacles", response=list[ObstacleOut], summary="What speaks against sending")
def obstacles(request: HttpRequest, campaign_id: UUID) -> Any:
    """Everything that speaks against sending it now; empty when nothing does."""
    key, clock = asker(request)
    return [ObstacleOut.of(one) for one in queries.obstacles(key.project_id, campaign_id, clock=clock)]


@router.get("/{campaign_id}/runs", response=list[RunOut], summary="The runs of a campaign")
def runs(request: HttpRequest, campaign_id: UUID) -> Any:
    """All runs, newest first, each with its balance."""
    return [RunOut.of(row) for row in queries.runs(asker(request)[0].project_id, campaign_id)]


@router.get("/{campaign_id}/audit", response=list[TimelineOut], summary="Who did what")
def audit(request: HttpRequest, campaign_id: UUID) -> Any:
    """The audit log of a campaign, newest first."""
    return [TimelineOut.of(one) for one in queries.audit(asker(request)[0].project_id, campaign_id)]


@router.post("/{campaign_id}/schedule", response=CampaignOut, auth=MAY_WRITE, summary="Schedule a draft")
def schedule(request: HttpRequest, campaign_id: UUID, document: ScheduleIn, idempotency_key: Once = None) -> Any:
    """Plan a draft: once at due_at, or as its plan repeats. 422 lists everything that speaks against it."""
    key, clock = asker(request)
    moment = due(document)
    return _act(
        request,
        campaign_id,
        idempotency_key,
        lambda: services.schedule(key.project_id, campaign_id, due_at_utc=moment, by=key.by, clock=clock),
    )


@router.post("/{campaign_id}/reschedule", response=CampaignOut, auth=MAY_WRITE, summary="Move a scheduled campaign")
def reschedule(request: HttpRequest, campaign_id: UUID, document: RescheduleIn, idempotency_key: Once = None) -> Any:
    """Give a scheduled or paused campaign another time or plan; past occurrences stay as they are."""
    key, clock = asker(request)
    moment = due(document)
    plan = None if document.plan is None else to_plan(document.plan, key.project_id)
    return _act(
        request,
        campaign_id,
        idempotency_key,
        lambda: services.reschedule(key.project_id, campaign_id, due_at_utc=moment, plan=plan, by=key.by, clock=clock),
    )


@router.post("/{campaign_id}/duplicate", response={201: CampaignOut}, auth=MAY_WRITE, summary="Copy into a new draft")
def duplicate(request: HttpRequest, campaign_id: UUID, idempotency_key: Once = None) -> Any:
    """Make a new draft with the same words, audience and plan."""
    key, clock = asker(request)

    def work() -> CampaignOut:
        return _out(request, services.duplicate(key.project_id, campaign_id, by=key.by, clock=clock))

    return once(request, idempotency_key, work, 201)


@router.post("/{campaign_id}/test-send", response={202: RunOut}, auth=MAY_WRITE, summary="Send a test")
def send_test(request: HttpRequest, campaign_id: UUID, document: SendTestIn, idempotency_key: Once = None) -> Any:
    """Send the message as it is now to a few addresses; it counts nowhere but in its own run."""
    key, clock = asker(request)

    def work() -> RunOut:
        run_id = services.test_send(
            key.project_id,
            campaign_id,
            addresses=document.addresses,
            guest_id=document.guest_id,
            by=key.by,
            clock=clock,
        )
        moved(request, campaign_id=campaign_id)
        return RunOut.of(queries.get_run(key.project_id, run_id))

    return once(request, idempotency_key, work, 202)


@router.post("/{campaign_id}/send-now", response=CampaignOut, auth=MAY_WRITE, summary="Send at once")
def send_now(request: HttpRequest, campaign_id: UUID, idempotency_key: Once = None) -> Any:
    """Seal at once and send."""
    return _simple(request, campaign_id, idempotency_key, services.send_now)


@router.post("/{campaign_id}/pause", response=CampaignOut, auth=MAY_WRITE, summary="Pause")
def pause(request: HttpRequest, campaign_id: UUID, document: ReasonIn, idempotency_key: Once = None) -> Any:
    """Keep it from going on; senders obey within one window."""
    return _simple(request, campaign_id, idempotency_key, services.pause, reason=document.reason)


@router.post("/{campaign_id}/resume", response=CampaignOut, auth=MAY_WRITE, summary="Resume")
def resume(request: HttpRequest, campaign_id: UUID, document: ReasonIn, idempotency_key: Once = None) -> Any:
    """Let it go on; what became late by the pause leaves at once."""
    return _simple(request, campaign_id, idempotency_key, services.resume, reason=document.reason)


@router.post("/{campaign_id}/stop", response=CampaignOut, auth=MAY_WRITE, summary="Stop for good")
def stop(request: HttpRequest, campaign_id: UUID, document: ReasonIn, idempotency_key: Once = None) -> Any:
    """End it; whoever was not sent to stays `pending` in the balance."""
    return _simple(request, campaign_id, idempotency_key, services.stop, reason=document.reason)


@router.post("/{campaign_id}/back-to-draft", response=CampaignOut, auth=MAY_WRITE, summary="Back to draft")
def back_to_draft(request: HttpRequest, campaign_id: UUID, document: ReasonIn, idempotency_key: Once = None) -> Any:
    """Make it editable again; 409 once it is leaving."""
    return _simple(request, campaign_id, idempotency_key, services.back_to_draft, reason=document.reason)


def _simple(
    request: HttpRequest, campaign_id: UUID, idempotency_key: str | None, act: Callable[..., object], **words: str
) -> Any:
    key, clock = asker(request)
    return _act(
        request,
        campaign_id,
        idempotency_key,
        lambda: act(key.project_id, campaign_id, by=key.by, clock=clock, **words),
    )


def _act(request: HttpRequest, campaign_id: UUID, idempotency_key: str | None, act: Callable[[], object]) -> Any:
    def work() -> CampaignOut:
        act()
        moved(request, campaign_id=campaign_id)
        return _out(request, campaign_id)

    return once(request, idempotency_key, work, 200)


def _out(request: HttpRequest, campaign_id: UUID) -> CampaignOut:
    return CampaignOut.of(queries.get(asker(request)[0].project_id, campaign_id))
