"""Campaigns: the list by what needs a person first, one campaign, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from todoku.campaigns import queries, services
from todoku.campaigns.errors import CampaignsError, NotSchedulable
from todoku.campaigns.types import CampaignRow, CampaignState, RunState
from todoku.guests import queries as guests
from todoku.guests.errors import GuestMissing
from todoku.projects.signatures import same_person
from todoku.projects.types import Right
from todoku.web import words
from todoku.web.campaign_form import criteria
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub
from todoku.web.ports import ports
from todoku.web.readiness import GROUPS, Group, in_groups, late_by, standing, waits_for_approval
from todoku.web.schedule_words import KINDS, localized, plan_lines, repeat_words
from todoku.web.timeline_words import detail_words
from todoku.web.views.editor import find, shown_subject

MOST_OVER = 20  # campaigns that are over, shown before somebody asks for all
ACTIONS: dict[str, tuple[Callable[..., object], Right]] = {
    "pause": (services.pause, Right.SEND_CAMPAIGNS),
    "resume": (services.resume, Right.SEND_CAMPAIGNS),
    "stop": (services.stop, Right.SEND_CAMPAIGNS),
    "draft": (services.back_to_draft, Right.EDIT_CAMPAIGNS),
}


@needs(Right.SEE_CAMPAIGNS)
def campaigns(request: MemberRequest) -> HttpResponse:
    """List campaigns by group, those that need a person first; `?group=` shows one group whole."""
    now_utc = ports().clock.now_utc()
    away = queries.while_away(request.project.id, clock=ports().clock)
    unanswered = {one.run.campaign_id for one in away if one.what in {"held", "missed"}}
    groups = in_groups(queries.list_campaigns(request.project.id), now_utc, unanswered)
    chosen = request.GET.get("group", "")
    shown = [
        {
            "key": group.value,
            "title": GROUPS[group],
            "count": len(members),
            "members": members if chosen else members[:MOST_OVER] if group is Group.OVER else members,
            "more": not chosen and group is Group.OVER and len(members) > MOST_OVER,
            "current": group.value == chosen,
        }
        for group, members in groups.items()
        if members
    ]
    values = {
        "tabs": shown,
        "groups": [one for one in shown if not chosen or one["current"]],
        "chosen": chosen,
        "total": sum(len(members) for members in groups.values()),
        "away": len(away),
    }
    moving = request.headers.get("HX-Target") == "list"
    return render(request, "web/_campaigns.html" if moving else "web/campaigns.html", values)


@needs(Right.SEE_CAMPAIGNS)
def campaign(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Show one campaign: what it says, whom it reaches, when and how it leaves, its runs, who did what."""
    row = find(request, campaign_id)
    if row.run is not None and row.state is not CampaignState.DRAFT and request.GET.get("show") != "campaign":
        return redirect("run", run_id=row.run.id)
    return _page(request, row)


@needs(Right.SEE_CAMPAIGNS, "POST")
def act(request: MemberRequest, campaign_id: UUID, action: str) -> HttpResponse:
    """Pause, resume, stop, back to draft, duplicate."""
    project_id, by, clock = request.project.id, request.member.signature, ports().clock
    right = ACTIONS[action][1] if action in ACTIONS else Right.EDIT_CAMPAIGNS
    if action not in {*ACTIONS, "duplicate"}:
        raise Http404
    if not request.member.may(right):
        return render(request, "web/403.html", status=403)
    find(request, campaign_id)
    try:
        if action == "duplicate":
            made = services.duplicate(project_id, campaign_id, by=by, clock=clock)
            return redirect("campaign_edit", campaign_id=made)
        ACTIONS[action][0](project_id, campaign_id, by=by, reason=request.POST.get("reason", "")[:200], clock=clock)
    except CampaignsError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error})
    hub.publish(project_id, "run", {"campaign_id": str(campaign_id)})
    return redirect("campaign", campaign_id=campaign_id)


@needs(Right.SEND_CAMPAIGNS, "POST")
def approve(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Give the second person's word."""
    find(request, campaign_id)
    try:
        services.approve(request.project.id, campaign_id, by=request.member.signature, clock=ports().clock)
        messages.success(request, _("Approved."))
    except CampaignsError as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error})
    hub.publish(request.project.id, "run", {"campaign_id": str(campaign_id)})
    return redirect("campaign", campaign_id=campaign_id)


@needs(Right.SEND_CAMPAIGNS, "POST")
def send_test(request: MemberRequest, campaign_id: UUID) -> HttpResponse:
    """Send the message as it is now to a few typed addresses."""
    row = find(request, campaign_id)
    typed, guest = request.POST.get("addresses", ""), request.POST.get("guest", "")
    try:
        run_id = services.test_send(
            request.project.id,
            campaign_id,
            addresses=typed.replace(",", " ").replace("、", " ").split(),
            guest_id=UUID(guest) if guest and request.member.may(Right.SEE_GUESTS) else None,
            by=request.member.signature,
            clock=ports().clock,
            language=get_language() or "ja",
        )
    except NotSchedulable as error:
        problem = " ".join(localized(one) for one in error.obstacles)
    except (CampaignsError, GuestMissing, ValueError) as error:
        problem = str(error)
    else:
        messages.success(request, _("The test is on its way."))
        hub.publish(request.project.id, "run", {"run_id": str(run_id)})
        return redirect("run", run_id=run_id)
    return _page(request, row, test={"problem": problem, "addresses": typed}, status=422)


def waiting_banner(request: MemberRequest, row: CampaignRow) -> dict[str, Any]:
    """Return what the banner about approval needs; `may` is False for those who asked for it."""
    waits = waits_for_approval(row)
    asked_by = row.approval.asked_by if row.approval is not None else ""
    may = request.member.may(Right.SEND_CAMPAIGNS) and not same_person(asked_by, request.member.signature)
    return {"waits": waits, "asked_by": asked_by, "may": may}


def _page(
    request: MemberRequest, row: CampaignRow, test: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    now_utc = ports().clock.now_utc()
    runs = queries.runs(request.project.id, row.id)
    may_see_guests = request.member.may(Right.SEE_GUESTS)
    values = {
        "row": row,
        "standing": standing(row, now_utc),
        "audience": guests.count_audience(request.project.id, row.audience),
        "criteria": criteria(request.project.id, row.audience),
        "repeat": repeat_words(row.plan),
        "plan_lines": plan_lines(row.plan),
        "runs": [history_entry(run, now_utc) for run in runs],
        "audit": [
            {"line": one, "detail": detail_words(one.detail)} for one in queries.audit(request.project.id, row.id)
        ],
        "subject": shown_subject(request, row),
        "approval": waiting_banner(request, row),
        "test": test or {"problem": "", "addresses": request.member.email},
        "sample_guests": guests.search(request.project.id, "", limit=20) if may_see_guests else [],
    }
    return render(request, "web/campaign.html", values, status=status)


def history_entry(run: Any, now_utc: Any) -> dict[str, Any]:
    """Return one run as a line of the history shows it."""
    return {"run": run, "word": words.RUNS[RunState(run.state)], "kind": KINDS[run.kind], "late": late_by(run, now_utc)}
