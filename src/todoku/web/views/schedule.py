"""When and how a campaign leaves: send now, schedule, reschedule, with the next starts shown while one types."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from todoku.campaigns import plan_check, queries, services
from todoku.campaigns.errors import CampaignsError, NotSchedulable
from todoku.campaigns.occurrences import first_dues
from todoku.campaigns.types import CampaignRow, CampaignState, Plan, RunState
from todoku.guests import queries as guests
from todoku.projects.types import Right
from todoku.web.campaign_form import criteria
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.plan_form import FIELD_OF, PlanForm, known_zones, plan_values
from todoku.web.ports import ports
from todoku.web.schedule_words import late_words, localized, repeat_words
from todoku.web.views.editor import find

SHOWN_STARTS = 5
_USUAL_HOUR = 10


@needs(Right.SEND_CAMPAIGNS, "GET", "POST")
def send(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Ask once more, saying the number; then send now, once at a moment, or repeating."""
    row = find(request, campaign_id)
    if row.state not in (CampaignState.DRAFT, CampaignState.SCHEDULED):
        return redirect("campaign", campaign_id=campaign_id)
    if request.method == "GET":
        found = queries.obstacles(request.project.id, campaign_id, clock=ports().clock)
        obstacles = [localized(one) for one in found] if row.state is CampaignState.DRAFT else []
        return _send_page(request, row, _form(request, row), obstacles)
    form = _form(request, row, request.POST)
    later = request.POST.get("how") == "later"
    if later and not form.is_valid():
        return _send_page(request, row, form, [], status=422)
    obstacles = []
    try:
        if later:
            _schedule(request, row, form)
            messages.success(request, _("Scheduled. It will be sealed shortly before it leaves."))
        else:
            services.send_now(request.project.id, row.id, by=request.member.signature, clock=ports().clock)
        hub.publish(request.project.id, "run", {"campaign_id": str(row.id)})
        return redirect("campaign", campaign_id=row.id)
    except NotSchedulable as error:
        if later:
            form.say([one for one in error.obstacles if one.code in FIELD_OF], localized)
        obstacles = [localized(one) for one in error.obstacles if one.code not in FIELD_OF or not later]
    except CampaignsError as error:
        obstacles = [str(error)]
    return _send_page(request, row, form, obstacles, status=422)


@needs(Right.SEND_CAMPAIGNS, "GET", "POST")
def reschedule(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Give a scheduled or paused campaign another time or other repetitions; its history stays."""
    row = find(request, campaign_id)
    if row.state is CampaignState.DRAFT:
        return redirect("campaign_send", campaign_id=campaign_id)
    form = _form(request, row, request.POST if request.method == "POST" else None)
    obstacles: list[str] = []
    if request.method == "POST" and form.is_valid():
        try:
            services.reschedule(
                request.project.id,
                row.id,
                due_at_utc=form.due_at_utc,
                plan=_kept_start(form.plan, row.plan),
                by=request.member.signature,
                clock=ports().clock,
            )
        except NotSchedulable as error:
            form.say([one for one in error.obstacles if one.code in FIELD_OF], localized)
            obstacles = [localized(one) for one in error.obstacles if one.code not in FIELD_OF]
        except CampaignsError as error:
            obstacles = [str(error)]
        else:
            messages.success(request, _("Rescheduled."))
            hub.publish(request.project.id, "run", {"campaign_id": str(row.id)})
            return redirect("campaign", campaign_id=row.id)
    values = _form_values(request, row, form) | {"obstacles": obstacles}
    return render(request, "web/campaign_reschedule.html", values, status=422 if request.method == "POST" else 200)


@needs(Right.SEND_CAMPAIGNS, "POST")
def starts(request: MemberRequest) -> HttpResponse:
    """Say what the form means so far: its words, the next starts, and what is wrong beside each field."""
    form = _unbound_form(request, request.POST, strict=False)
    form.is_valid()
    values = _meaning(form) | {"form": form, "live": True}
    return render(request, "web/_starts.html", values)


def _schedule(request: MemberRequest, row: CampaignRow, form: PlanForm) -> None:
    project_id, by, clock = request.project.id, request.member.signature, ports().clock
    if row.state is CampaignState.SCHEDULED:
        plan = _kept_start(form.plan, row.plan)
        services.reschedule(project_id, row.id, due_at_utc=form.due_at_utc, plan=plan, by=by, clock=clock)
        return
    if form.plan != row.plan:
        services.update(
            project_id,
            row.id,
            name=row.name,
            content=row.content,
            audience=row.audience,
            plan=form.plan,
            version=row.version,
            by=by,
            clock=clock,
        )
    services.schedule(project_id, row.id, due_at_utc=form.due_at_utc, by=by, clock=clock)


def _send_page(
    request: MemberRequest, row: CampaignRow, form: PlanForm, obstacles: list[str], status: int = 200
) -> HttpResponse:
    values = _form_values(request, row, form) | {
        "audience": guests.count_audience(request.project.id, row.audience),
        "criteria": criteria(request.project.id, row.audience),
        "obstacles": obstacles,
    }
    return render(request, "web/campaign_send.html", values, status=status)


def _form_values(request: MemberRequest, row: CampaignRow, form: PlanForm) -> dict[str, Any]:
    return _meaning(form) | {
        "row": row,
        "form": form,
        "zones": known_zones(),
        "show_errors": request.method == "POST",
    }


def _meaning(form: PlanForm) -> dict[str, Any]:
    form.is_valid()
    if form.errors:
        return {"late_sentence": late_words(form.plan), "starts": []}
    found: dict[str, Any] = {"late_sentence": late_words(form.plan), "repeat": repeat_words(form.plan), "starts": []}
    if form.plan.repeat is not None:
        found["starts"] = first_dues(form.plan.repeat, form.now_utc, SHOWN_STARTS)
    elif form.due_at_utc is not None:
        found["starts"] = [form.due_at_utc]
    if found["starts"]:
        notices = plan_check.notices(form.plan, found["starts"][0], form.project_zone)
        found["notices"] = [localized(one) for one in notices]
    return found


def _form(request: MemberRequest, row: CampaignRow, data: Any = None) -> PlanForm:
    if data is not None:
        return _unbound_form(request, data)
    run = row.run
    waiting = run is not None and run.state in (RunState.PLANNED, RunState.SEALED, RunState.SEALING, RunState.PAUSED)
    due = row.due_at_utc or (run.due_at_utc if run is not None and waiting else None)
    if due is None:
        due = _usual_time_tomorrow(ports().clock.now_utc(), request.project.time_zone)
    return _unbound_form(request, plan_values(row.plan, due, request.project.time_zone), strict=False)


def _usual_time_tomorrow(now_utc: datetime, time_zone: str) -> datetime:
    """Return tomorrow's 10:00 of the project: nobody wants their mail at whatever hour the page was opened."""
    tomorrow = now_utc.astimezone(ZoneInfo(time_zone)) + timedelta(days=1)
    return tomorrow.replace(hour=_USUAL_HOUR, minute=0, second=0, microsecond=0).astimezone(UTC)


def _unbound_form(request: MemberRequest, data: Any, *, strict: bool = True) -> PlanForm:
    return PlanForm(
        data,
        project_zone=request.project.time_zone,
        now_utc=ports().clock.now_utc(),
        transports=ports().transports,
        strict=strict,
    )


def _kept_start(plan: Plan, before: Plan) -> Plan:
    """Return the plan with the beginning of the rule it had, when the rule itself is the same."""
    if plan.repeat is None or before.repeat is None:
        return plan
    same = replace(before.repeat, starts_at_utc=None) == plan.repeat
    return replace(plan, repeat=before.repeat) if same else plan
